"""A plan takes no more memory than it is taken for: text and small values, nothing of what it was made of."""

import datetime as dt
import gc
import tracemalloc
from typing import Any

import pytest
from graphql import FieldNode, NameNode, parse

from api.context import Context
from api.plan.execute import PassThrough
from api.plan.fetch import PLANS
from api.plan.kept import Kept
from api.plan.run import BYTES, FORMS, Plan, Planned
from api.schema import build_schema
from authz.actor import Actor, Grant, Session
from authz.templates import VARIANTS, load_policy
from authz.tree import Tree
from domain.model import new_id
from domain.organization import OrgUnit
from domain.pipeline import Pipeline
from tests import make

pytestmark = pytest.mark.anyio

SMALL = '{ a%d: patient(id: "Patient:0190f3d0-0000-7000-8000-000000000001") { id mrn givenName } }'
WIDE = """{ a%d: patients(first: 5) { totalCount nodes { id mrn invoices(first: 3) { id }
    encounters(first: 5) { id reason practitioner { id } notes(first: 3) { body author { id } } } } } }"""


def actor() -> Actor:
    """A nurse at one clinic and front desk at another: much is hidden from them, by row."""
    house, now = make.tree(), dt.datetime.now(dt.UTC)
    tenant_id, later = house.tenant.tenant_id, now + dt.timedelta(hours=1)
    held = zip(("nurse", "front_desk"), house.clinics, strict=True)
    return Actor(
        tenant_id=tenant_id,
        person_id=new_id(),
        practitioner_id=None,
        user_name="pat",
        grants=tuple(Grant(new_id(), role, clinic.id, now) for role, clinic in held),
        tree=Tree.build(tenant_id, 1, [r for r in house.rows if isinstance(r, OrgUnit)]),
        policy=load_policy(VARIANTS[0]),
        session=Session("s", now, now, True, later),
        person_version=1,
        tenant_version=1,
        valid_until=later,
    )


async def plan(asker: Actor, pipeline: Pipeline, text: str) -> None:
    """Make the plans of a document; there is no database to run them."""
    context = Context(
        actor=asker,
        pipeline=pipeline,
        keyring=None,  # type: ignore[arg-type]  # nothing comes back that could be opened
        cell=None,  # type: ignore[arg-type]  # no command
        request_id=new_id(),
    )
    executor = PassThrough.build(
        build_schema()._schema,
        parse(text),
        context_value=context,
        raw_variable_values={},
        middleware=None,
    )
    assert not isinstance(executor, list), executor
    result: Any = executor.execute_operation()
    assert (await result).errors


@pytest.mark.parametrize("text", [SMALL, WIDE], ids=["small", "wide"])
async def test_a_plan_weighs_no_less_than_it_takes(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Plans of other tests may fill the process's memory for plans, and would leave it now.
    monkeypatch.setattr(PLANS, "fields", Kept(BYTES))
    asker, nowhere = actor(), Pipeline("postgresql://127.0.0.1:1/none", 1)
    await nowhere.start()
    await plan(asker, nowhere, text % 99)  # what is made once for an actor is not counted
    gc.collect()
    before, number = PLANS.fields.weight, len(PLANS.fields)
    tracemalloc.start()
    for i in range(4):
        await plan(asker, nowhere, text % i)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await nowhere.stop()
    assert len(PLANS.fields) == number + 4
    assert held < PLANS.fields.weight - before


async def test_conditions_do_not_make_one_field_grow_without_end() -> None:
    """Each variable that decides a condition doubles the plans of one document."""
    planned = Planned([FieldNode(name=NameNode(value="patient"))], ("v",))
    one = Plan("x" * 10_000, (), frozenset(), frozenset(), (), (), (), 0)
    weights = [planned.add(("", number), one, 50_000) for number in range(20)]
    assert max(weights) <= 50_000
    assert list(planned.plans) == [("", number) for number in (17, 18, 19)]
    for _ in range(2 * FORMS):
        planned.add(("", 19), one, 10**9)
    assert len(planned.plans["", 19]) == FORMS
