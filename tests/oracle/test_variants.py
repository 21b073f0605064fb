"""The tenant's switches and the other health system: the same questions, other answers, again as the oracle says."""

from typing import Any

import pytest

from tests import who
from tests.oracle.documents import LISTS, connection, everything
from tests.oracle.fields import NODE_TYPES
from tests.oracle.stage import Stage
from tests.oracle.table import VARIANTS, Switches
from tests.oracle.test_answers import all_ids

pytestmark = pytest.mark.anyio
SWITCHED = {"clinic_admin", "regional_director", "system_admin", "system_viewer"}
TOUCHED = [one for one in who.CAST if SWITCHED & {held.role for held in one.held}]
"""Those for whom a switch makes a difference, or would if their grants counted."""
under_each_switch = pytest.mark.parametrize(
    "switches", VARIANTS[1:], ids=["inherit+viewer", "break_glass", "break_glass+viewer"]
)


async def ask_all(stage: Stage, one: who.Who, switches: Switches, system: int) -> None:
    """Lists, nodes of all ids, and what may be done at a node."""
    more: dict[str, Any] = {"switches": switches, "system": system}
    for root, type_name in LISTS.items():
        await stage.check(one, f"{{{root}(first:100){connection(type_name, 1)}}}", {}, **more)
    parts = " ".join(f"...on {t.name}{everything(t.name, 0)}" for t in NODE_TYPES)
    text = f"query($ids:[ID!]!){{nodes(ids:$ids){{id __typename {parts}}}}}"
    ids = all_ids(stage)
    for start in range(0, len(ids), 100):
        await stage.check(one, text, {"ids": ids[start : start + 100]}, **more)
    for place in ("system", "north", "n1", "n1a", "s1", "s1b", "lone"):
        node = {"n": stage.unit(place, system)}
        await stage.check(one, "query($n:ID!){viewer{permissions(node:$n)}}", node, **more)


@under_each_switch
@pytest.mark.parametrize("one", TOUCHED, ids=lambda one: one.name)
async def test_switches(stage: Stage, one: who.Who, switches: Switches) -> None:
    await ask_all(stage, one, switches, 0)


@pytest.mark.parametrize("one", who.CAST[::2], ids=lambda one: one.name)
async def test_the_twin(stage: Stage, one: who.Who) -> None:
    await ask_all(stage, one, VARIANTS[0], 1)
