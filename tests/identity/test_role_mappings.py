"""Rules from what a source says to roles: what they give, move and take away, and what no rule gives."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.audit import Agent
from domain.identity_providers import IdentityProvider
from domain.model import Base
from domain.organization import Tenant
from domain.people import Person, RoleGrant
from domain.role_mappings import RoleMapping
from identity.assertions import Asserted, asserted
from identity.mapping_plans import Applied
from identity.mapping_sources import SCIM, Source
from identity.role_mappings import apply_mappings, concern
from identity.rule_runs import apply_rules
from identity.sync import cell_session
from tests import make, providers
from tests.database import Database

pytestmark = pytest.mark.anyio


@dataclass
class House:
    """A health system with two providers, an administrator who makes the rules, and Nora."""

    cell: AsyncEngine
    database: Database
    tree: make.Tree = field(init=False)

    def __post_init__(self) -> None:
        self.tree = make.tree()
        system = self.tree.tenant
        self.admin, self.nora = make.person(system), make.person(system)
        self.one, self.other = providers.provider(system), providers.provider(system)
        office = make.grant(self.admin, "system_admin", self.tree.root)
        self.save(*self.tree.rows, self.admin, self.nora, self.one, self.other, office)

    @property
    def agent(self) -> Agent:
        return Agent(tenant_id=self.tree.tenant.tenant_id, now=make.now())

    def save(self, *rows: Base) -> None:
        with self.database.owner_engine.begin() as connection:
            make.save(connection, *rows)

    def rule(self, value: str, role: str, at: Any = None, **more: Any) -> RoleMapping:
        of: IdentityProvider = more.pop("of", self.one)
        author: Person = more.pop("author", self.admin)
        made = providers.rule(author, value, role, at or self.tree.clinics[0], of, **more)
        self.save(made)
        return made

    async def apply(
        self, *groups: str, source: Source | None = None, whom: Person | None = None, **more: Any
    ) -> Applied:
        """What the first provider says of Nora by now."""
        said: Asserted = asserted({"groups": list(groups), **more})
        who = whom or self.nora
        async with cell_session(self.cell, who.tenant_id) as session:
            agent = self.agent
            concerned = await concern(session, agent, source or Source.of(self.one.id), [who.id])
            if concerned is None:
                return Applied()
            done = await apply_mappings(session, agent, concerned, {who.id: said})
            return done.get(who.id, Applied())

    async def held(self, whom: Person | None = None) -> set[tuple[str, UUID, str]]:
        """Role, node and source of what somebody holds now."""
        who, now = whom or self.nora, make.now()
        async with cell_session(self.cell, who.tenant_id) as session:
            found = await session.scalars(select(RoleGrant).filter_by(person_id=who.id))
            return {
                (grant.role, grant.unit_id, grant.source_ref or grant.source)
                for grant in found
                if grant.valid_until is None or grant.valid_until > now
            }

    async def change(self, model: type[Base], **values: Any) -> None:
        here = update(model).where(model.tenant_id == self.nora.tenant_id)
        with self.database.owner_engine.begin() as connection:
            connection.execute(here.values(**values))


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    cell = database.async_engine("caretree_app")
    yield House(cell, database)
    await cell.dispose()


async def test_what_a_group_gives_goes_with_the_group(house: House) -> None:
    house.rule("nurses", "nurse")
    house.rule("desk", "front_desk")
    clinic, ref = house.tree.clinics[0].id, str(house.one.id)
    done = await house.apply("NURSES", "choir")
    assert done.given == [("nurse", clinic)]
    assert await house.held() == {("nurse", clinic, ref)}
    again = await house.apply("nurses")
    assert (again.given, again.ended, again.moved) == ([], [], [])
    done = await house.apply("desk")
    assert (done.given, done.ended) == ([("front_desk", clinic)], [("nurse", clinic)])
    # Nothing said at all takes away all that this source gave.
    await house.apply()
    assert await house.held() == set()
    # And it can come back.
    await house.apply("nurses")
    assert await house.held() == {("nurse", clinic, ref)}


async def test_only_what_the_source_gave_is_its_to_take(house: House) -> None:
    clinic = house.tree.clinics[0]
    house.save(make.grant(house.nora, "nurse", clinic))
    house.rule("nurses", "nurse")
    house.rule("nurses", "nurse", of=house.other)
    await house.apply("nurses")
    await house.apply("nurses", source=Source.of(house.other.id))
    three = {("nurse", clinic.id, r) for r in ("local", str(house.one.id), str(house.other.id))}
    assert await house.held() == three
    await house.apply("choir")
    assert await house.held() == three - {("nurse", clinic.id, str(house.one.id))}
    # A source without rules of its own takes nothing either.
    await house.apply(source=Source(SCIM))
    assert await house.held() == three - {("nurse", clinic.id, str(house.one.id))}


async def test_patterns_and_attributes(house: House) -> None:
    clinic, ward = house.tree.clinics[0], house.tree.departments[0][0]
    house.rule("ward-*-nurse", "nurse", ward, match="pattern")
    house.rule("Cardiology", "provider", attribute="department")
    house.rule("a?[b]*", "biller", match="pattern")
    done = await house.apply("ward-3-nurse", department="cardiology")
    assert set(done.given) == {("nurse", ward.id), ("provider", clinic.id)}
    assert (await house.apply("axb", "ab")).given == []
    assert (await house.apply("A?[B]-1")).given == [("biller", clinic.id)]


async def test_a_rule_lasts_until_its_end_and_the_longest_counts(house: House) -> None:
    soon, late = make.now() + dt.timedelta(days=3), make.now() + dt.timedelta(days=30)
    house.rule("nurses", "nurse", valid_until=soon)
    await house.apply("nurses")

    async def end() -> dt.datetime | None:
        async with cell_session(house.cell, house.nora.tenant_id) as session:
            return await session.scalar(
                select(RoleGrant.valid_until).filter_by(person_id=house.nora.id)
            )

    assert await end() == soon
    house.rule("nurses", "nurse", valid_until=late)
    assert (await house.apply("nurses")).moved
    assert await end() == late
    house.rule("staff", "nurse", valid_until=make.now() - dt.timedelta(seconds=1))
    assert (await house.apply("staff")).given == []


async def test_what_no_rule_gives(house: House) -> None:
    system = house.tree.root
    house.rule("watch", "auditor", system)
    refused = (await house.apply("watch")).refused
    assert [one.code for one in refused] == ["NEEDS_APPROVAL"]
    await house.change(Tenant, second_approval=False)
    assert (await house.apply("watch")).given == [("auditor", system.id)]
    # Who watches is none of the administrators; the rest is given all the same.
    house.rule("bosses", "clinic_admin")
    house.rule("bosses", "nurse")
    done = await house.apply("watch", "bosses")
    assert [one.code for one in done.refused] == ["ROLES_CONFLICT"]
    assert done.given == [("nurse", house.tree.clinics[0].id)]
    # Nobody gives themselves anything by a rule of their own.
    own = await house.apply("bosses", whom=house.admin)
    assert {one.code for one in own.refused} == {"TO_ONESELF"}
    assert own.given == []


async def test_a_closed_unit_gives_nothing(house: House) -> None:
    house.rule("nurses", "nurse", house.tree.departments[0][0])
    with house.database.owner_engine.begin() as connection:
        ward = house.tree.departments[0][0]
        connection.exec_driver_sql("update org_unit set active = false where id = %s", (ward.id,))
    assert [one.code for one in (await house.apply("nurses")).refused] == ["UNIT_CLOSED"]


async def test_who_has_left_holds_nothing_of_it(house: House) -> None:
    house.rule("nurses", "nurse")
    await house.apply("nurses")
    await house.change(Person, active=False)
    assert (await house.apply("nurses")).ended
    assert await house.held() == set()


async def test_the_last_administrator_stays(house: House) -> None:
    await house.change(Tenant, second_approval=False)
    house.rule("it", "system_admin", house.tree.root)
    await house.apply("it")
    with house.database.owner_engine.begin() as connection:
        connection.exec_driver_sql(
            "update role_grant set valid_until = now() where person_id = %s", (house.admin.id,)
        )
    done = await house.apply("choir")
    assert [one.code for one in done.refused] == ["LAST_ADMINISTRATOR"]
    assert ("system_admin", house.tree.root.id, str(house.one.id)) in await house.held()


async def test_a_change_of_the_rules_reaches_everybody_without_a_login(house: House) -> None:
    said = {"groups": ["nurses"]}
    house.save(providers.link(house.one, house.nora, asserted=said))
    rule = house.rule("nurses", "nurse")
    source = Source.of(house.one.id)
    tenant_id = house.nora.tenant_id
    await apply_rules(house.cell, tenant_id, source)
    assert len(await house.held()) == 1
    with house.database.owner_engine.begin() as connection:
        connection.exec_driver_sql(
            "update role_mapping set ended_at = now() where id = %s", (rule.id,)
        )
    await apply_rules(house.cell, tenant_id, source)
    assert await house.held() == set()


async def test_two_logins_at_once_give_each_role_once(house: House) -> None:
    house.rule("nurses", "nurse")
    results = await asyncio.gather(*(house.apply("nurses") for _ in range(6)))
    assert sum(len(done.given) for done in results) == 1
    assert len(await house.held()) == 1


async def test_a_rule_gives_only_what_its_author_may_give_by_now(house: House) -> None:
    """Its author left: whom it gave something keep it, nobody gets more, until somebody answers for it."""
    clinic, soon = house.tree.clinics[0].id, make.now() + dt.timedelta(days=3)
    rule = house.rule("nurses", "nurse", valid_until=soon)
    await house.apply("nurses")
    other = make.person(house.tree.tenant)
    house.save(other)
    for how in ("update role_grant set valid_until = now() where person_id = %s",
                "update person set active = false where id = %s"):  # fmt: skip
        with house.database.owner_engine.begin() as connection:
            connection.exec_driver_sql(how, (house.admin.id,))
        assert (await house.apply("nurses")).ended == []
        done = await house.apply("nurses", whom=other)
        assert (done.given, [one.code for one in done.refused]) == ([], ["AUTHOR_MAY_NOT_GRANT"])
        with house.database.owner_engine.begin() as connection:
            back = "update role_grant set valid_until = null where person_id = %s"
            connection.exec_driver_sql(back, (house.admin.id,))
    # It lasts no longer by it, nor by a rule of somebody who may not give this role.
    with house.database.owner_engine.begin() as connection:
        longer = "update role_mapping set valid_until = null where id = %s"
        connection.exec_driver_sql(longer, (rule.id,))
    house.rule("nurses", "nurse", author=other)
    done = await house.apply("nurses")
    assert (done.moved, done.ended) == ([], [])
    assert {one.code for one in done.refused} == {"AUTHOR_MAY_NOT_GRANT"}
    # An administrator of the clinic may: their rule of the same place gives it.
    boss = make.person(house.tree.tenant)
    house.save(boss, make.grant(boss, "clinic_admin", house.tree.clinics[0]))
    house.rule("nurses", "nurse", author=boss)
    house.rule("nurses", "clinic_admin", author=boss)
    done = await house.apply("nurses", whom=other)
    assert done.refused[0].code == "TO_ONESELF"  # their own rule, beside the one of the boss
    assert done.given == [("nurse", clinic)]
    assert ("clinic_admin", clinic) not in done.given, "not theirs to give"
