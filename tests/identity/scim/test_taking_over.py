"""A directory means somebody whom a login or an administrator made: taken over where it is proven, asked where not."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from domain.identity_providers import HeldAccount
from domain.people import Person
from identity.grants import GrantDraft, give_grant
from identity.held import DirectoryMakes, LinkedAlready, create_held, link_held
from identity.provisioning import (
    DirectoryShutOut,
    OfAnotherWord,
    PersonDraft,
    deactivate_person,
    reactivate_person,
    update_person,
)
from tests import make, providers
from tests.identity.scim.conftest import Corp, where

pytestmark = pytest.mark.anyio
MAIL = {"emails": [{"value": "nora@corp.example", "primary": True}]}


def known(corp: Corp, name: str, **values: Any) -> Person:
    """Somebody whom an administrator made."""
    person = make.person(corp.tree.tenant, user_name=name, **values)
    make.save(corp.database, person)
    return person


async def held(corp: Corp) -> list[HeldAccount]:
    async with corp.at_work() as (session, _):
        return list(await session.scalars(select(HeldAccount).order_by(HeldAccount.id)))


async def state(corp: Corp, person_id: UUID | str) -> tuple[bool, bool, str]:
    rows = await corp.read(
        "select active, shut_out, source from person where tenant_id = :t and id = :p",
        p=UUID(str(person_id)),
    )
    active, shut_out, source = rows[0]
    return active, shut_out, source


async def switch(corp: Corp, user: dict[str, Any], active: bool) -> None:
    change = {"op": "replace", "value": {"active": active}}
    assert (await corp.patch(where(user), change)).status_code == 200


async def test_whom_nobody_can_tell_an_administrator_is_asked_about(corp: Corp) -> None:
    nora = known(corp, "nora", email="nora@corp.example")
    async with corp.at_work(corp.admin.id) as (session, agent):
        await give_grant(session, agent, GrantDraft(nora.id, "front_desk", corp.tree.clinics[0].id))
    body = {"userName": "nora", "externalId": "E-1", **MAIL}
    for _ in range(2):
        answer = await corp.ask("POST", "/Users", body)
        assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")
        assert "administrator" in answer.json()["detail"]
        assert "nora" not in answer.text, "no value of a row"
    (asked,) = await held(corp)
    assert (asked.identity_provider_id, asked.reason) == (None, "NAME_TAKEN")
    assert (asked.subject, asked.person_id) == ("externalId E-1", nora.id)
    assert asked.asserted["userName"] == ["nora"]
    # An address alone makes nobody somebody: this is a person of their own.
    other = await corp.user("someone", externalId="E-2", **MAIL)
    assert other["id"] != str(nora.id)
    async with corp.at_work(corp.admin.id) as (session, agent):
        with pytest.raises(DirectoryMakes):
            await create_held(session, agent, asked, 1, PersonDraft("nora2", "Nora", "Berg"))
    async with corp.at_work(corp.admin.id) as (session, agent):
        pushed = await session.get_one(Person, (corp.tenant_id, UUID(other["id"])))
        with pytest.raises(LinkedAlready):
            await link_held(session, agent, asked, asked.version, pushed)
    async with corp.at_work(corp.admin.id) as (session, agent):
        here = await session.get_one(Person, (corp.tenant_id, nora.id))
        await link_held(session, agent, asked, asked.version, here)
    taken = await corp.ask("POST", "/Users", body)
    assert (taken.status_code, taken.json()["id"]) == (201, str(nora.id)), taken.text
    assert await state(corp, nora.id) == (True, False, "scim")
    rows = "select role from role_grant where tenant_id = :t and person_id = :p and valid_until is null"
    assert await corp.read(rows, p=nora.id) == [("front_desk",)], "what was given by hand stays"
    told = "select count(*) from audit_event where tenant_id = :t and action = 'scim:take_over'"
    assert await corp.read(told) == [(1,)]
    # From now on the names are the directory's word.
    async with corp.at_work(corp.admin.id) as (session, agent):
        with pytest.raises(OfAnotherWord):
            await update_person(session, agent, nora.id, 1, family_name="Else")


async def test_who_is_proven_to_be_the_same_is_taken_over(corp: Corp) -> None:
    own = providers.provider(corp.tree.tenant, of_directory=True)
    partner = providers.provider(corp.tree.tenant)
    ada, bea, cyd, dee = [known(corp, name) for name in ("ada", "bea", "cyd", "dee")]
    make.save(corp.database, own, partner)
    make.save(
        corp.database,
        providers.link(own, ada, subject="E-1"),
        providers.link(own, bea, subject="b", asserted={"externalId": ["E-2"]}),
        providers.link(partner, cyd, subject="E-3"),
        providers.link(own, cyd, subject="E-4"),
        providers.link(own, dee, subject="d", asserted={"externalId": ["E-4"]}),
    )
    for person, ext in ((ada, "E-1"), (bea, "E-2")):
        made = await corp.user(f"{person.user_name}.new", externalId=ext)
        assert made["id"] == str(person.id)
    rows = "select user_name from person where tenant_id = :t and id = :p"
    assert await corp.read(rows, p=ada.id) == [("ada.new",)]
    # Another provider's word is not the directory's; of two nobody is chosen.
    assert (await corp.user("new", externalId="E-3"))["id"] != str(cyd.id)
    answer = await corp.ask("POST", "/Users", {"userName": "dee", "externalId": "E-4"})
    assert answer.status_code == 409
    assert [one.reason for one in await held(corp)] == ["AMBIGUOUS"]
    # Whom a suspended provider knows is not proven.
    eve = known(corp, "eve")
    make.save(corp.database, providers.link(own, eve, subject="E-5"))
    async with corp.owner.begin() as connection:
        over = "update identity_provider set state = 'suspended' where id = :i"
        await connection.execute(text(over), {"i": own.id})
    assert (await corp.user("eve.new", externalId="E-5"))["id"] != str(eve.id)


async def test_of_many_in_one_request_each_is_asked_about(corp: Corp) -> None:
    known(corp, "nora")
    known(corp, "otto")
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": name, "data": {"userName": name}}
        for name in ("nora", "free", "otto")
    ]
    schema = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
    done = await corp.ask("POST", "/Bulk", {"schemas": [schema], "Operations": operations})
    assert [o["status"] for o in done.json()["Operations"]] == ["409", "201", "409"], done.text
    assert [one.subject for one in await held(corp)] == ["userName nora", "userName otto"]


async def test_two_words_each_shut_out_and_each_lets_in_for_itself(corp: Corp) -> None:
    """Somebody is in while neither the directory nor an administrator shuts them out."""
    nora = await corp.user("nora")
    who = UUID(nora["id"])

    async def by_hand(command: Any) -> None:
        async with corp.at_work(corp.admin.id) as (session, agent):
            await command(session, agent, who)

    await by_hand(deactivate_person)
    assert await state(corp, who) == (False, True, "scim")
    for active in (False, True):  # the directory changes its word twice: the administrator's stands
        await switch(corp, nora, active)
        assert await state(corp, who) == (False, True, "scim")
    await by_hand(reactivate_person)
    assert await state(corp, who) == (True, False, "scim")
    await switch(corp, nora, active=False)
    assert await state(corp, who) == (False, False, "scim")
    with pytest.raises(DirectoryShutOut):
        await by_hand(reactivate_person)
    await switch(corp, nora, active=True)
    assert await state(corp, who) == (True, False, "scim")
    # Whom the directory forgets it says nothing of any more, and returns as it left.
    await by_hand(deactivate_person)
    assert (await corp.ask("DELETE", where(nora))).status_code == 204
    again = await corp.user("nora")
    assert (again["id"], await state(corp, who)) == (nora["id"], (False, True, "scim"))
    assert (await corp.ask("DELETE", where(nora))).status_code == 204
    await by_hand(reactivate_person)
    assert await state(corp, who) == (True, False, "scim")


async def test_who_was_shut_out_by_hand_is_taken_over_and_stays_outside(corp: Corp) -> None:
    own = providers.provider(corp.tree.tenant, of_directory=True)
    nora = known(corp, "nora")
    make.save(corp.database, own)
    make.save(corp.database, providers.link(own, nora, subject="E-1"))
    async with corp.at_work(corp.admin.id) as (session, agent):
        await deactivate_person(session, agent, nora.id)
    made = await corp.user("nora", externalId="E-1")
    assert (made["id"], made["active"]) == (str(nora.id), True), "the directory's own word"
    assert await state(corp, nora.id) == (False, True, "scim")
