"""Each wall alone: the predicates without row-level security, row-level security without the predicates."""

import dataclasses
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import orjson
import pytest

from api.context import Context, Place
from authz.actor import Actor
from authz.guard import settings_for
from authz.templates import Policy, Variant, load_policy
from domain.pipeline import Lane, Row, Statement
from identity.actors import stamp
from tests import who
from tests.database import Database
from tests.oracle.documents import LISTS, connection
from tests.oracle.fields import NODE_TYPES
from tests.oracle.generate import Generator
from tests.oracle.rules import Sight
from tests.oracle.shapes import Type
from tests.oracle.stage import Recorder, Stage, difference, make_actor

pytestmark = pytest.mark.anyio
of_the_cast = pytest.mark.parametrize("one", who.CAST, ids=lambda one: one.name)
NODES = "query($ids:[ID!]!){nodes(ids:$ids){id __typename}}"


@pytest.fixture(scope="module")
async def owners(database: Database) -> AsyncIterator[Recorder]:
    """A pipeline whose role is exempt from row-level security."""
    pipeline = Recorder(database.owner_url)
    await pipeline.start()
    yield pipeline
    await pipeline.stop()


@of_the_cast
async def test_the_predicates_alone_give_the_same_answers(
    stage: Stage, owners: Recorder, one: who.Who
) -> None:
    made = Generator(77, stage.rows)
    documents = [made.document() for _ in range(30)]
    documents += [(f"{{{root}(first:100){connection(t, 1)}}}", {}) for root, t in LISTS.items()]
    for text, variables in documents:
        said = await stage.ask(stage.actor(one), text, variables, pipeline=owners)
        found = difference(said, stage.expect(stage.sight(one), text, variables))
        assert not found, f"{one.name}: {found}\n{text}\n{variables}"


class Narrow(Context):
    """A request whose statements are planned for somebody who may everything, under the settings of another."""

    settings_of: Actor

    async def read(
        self,
        resources: frozenset[str],
        statement: Statement,
        lane: Lane,
        place: Place | None = None,
    ) -> Row | None:
        asker = self.settings_of
        settings = settings_for(asker, resources, places=() if place is None else (place,))
        _, rows = await self.pipeline.unit(settings, stamp(asker), statement, lane=lane)
        return rows[0] if rows else None


def everywhere() -> Policy:
    """Wall 2 removed: system administrators may read everything, under no condition."""
    policy = load_policy(Variant(viewer_clinical=True))
    permissions = {
        name: dataclasses.replace(t, roles={"system_admin": (frozenset(),)})
        for name, t in policy.permissions.items()
    }
    return dataclasses.replace(policy, permissions=permissions, version="everything")


def without_wall_two(stage: Stage, one: who.Who, planned_in: int) -> Narrow:
    """Planned for an almighty person of a health system, run under the settings of `one` of the first."""
    rows, admin = stage.rows[planned_in], stage.systems[planned_in].people["system_admin"]
    mighty = make_actor(rows, admin.id, everywhere())
    plain = stage.context(mighty)
    context = Narrow(
        actor=mighty,
        pipeline=plain.pipeline,
        keyring=plain.keyring,
        request_id=plain.request_id,
        cell=plain.cell,
    )
    context.settings_of = stage.actor(one)
    return context


def ids(stage: Stage, system: int) -> Iterator[list[str]]:
    """The ids of all rows of a health system, in portions."""
    rows = stage.rows[system]
    every = [f"{t.name}:{row.id}" for t in NODE_TYPES for row in rows.all(t.table or "")]
    for start in range(0, len(every), 100):
        yield every[start : start + 100]


async def shown(stage: Stage, context: Context, system: int) -> dict[str, set[UUID]]:
    """The ids of each type that come back."""
    out: dict[str, set[UUID]] = defaultdict(set)
    for some in ids(stage, system):
        result = await stage.run(context, NODES, {"ids": some})
        assert not result.errors, result.errors
        assert result.data
        for row in unpacked(result.data["nodes"]):
            if row is not None:
                out[row["__typename"]].add(UUID(row["id"].partition(":")[2]))
    return out


def unpacked(fragment: Any) -> list[Any]:
    """The rows of a finished answer."""
    rows: list[Any] = orjson.loads(orjson.dumps(fragment))
    return rows


PLACED = {"patient", "encounter", "note", "observation", "condition", "appointment"} | {
    *("charge", "invoice", "posting", "allergy", "medication_request", "medication_statement"),
    *("procedure", "immunization", "claim", "coverage", "daily_close"),
}


def within(sight: Sight, type_: Type, row: Any) -> bool:
    """Whether the row lies where the table may be read at all, its own conditions aside."""
    if type_.resource not in PLACED:
        return True  # row-level security says the health system only
    permission = f"{type_.resource}:read"
    if type_.resource == "patient":
        return sight.place_of_patient(permission, row.id)
    return sight.at(permission, row.unit_id)


@of_the_cast
async def test_row_level_security_alone_shows_the_read_scope_and_no_more(
    stage: Stage, one: who.Who
) -> None:
    sight = stage.sight(one)
    said = await shown(stage, without_wall_two(stage, one, 0), 0)
    for type_ in NODE_TYPES:
        rows = stage.rows[0].all(type_.table or "")
        scope = {row.id for row in rows if within(sight, type_, row)}
        seen = {row.id for row in rows if sight.may(type_.permission or "", row)}
        assert seen <= said[type_.name] <= scope, type_.name


@of_the_cast
async def test_row_level_security_alone_shows_nothing_of_another_system(
    stage: Stage, one: who.Who
) -> None:
    said = await shown(stage, without_wall_two(stage, one, 1), 1)
    assert not said
