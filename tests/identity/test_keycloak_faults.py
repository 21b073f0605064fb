"""The gateway and a real Keycloak with a line that fails: each call is done, or it is known what became of it."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from identity.keycloak import Account, Realm
from identity.keycloak_failures import Conflict, NotFound, Unavailable
from identity.realm_events import OF_ADMINISTRATORS
from identity.realms import MARKER, SVC_IDENTITY
from tests.identity.conftest import World
from tests.identity.faulty import Fault, Front, before

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
PATIENCE = httpx.Timeout(1.5)
MENDED = (Fault.UNAUTHORIZED, Fault.FORBIDDEN)
"""What a newer token mends; nothing had been done, so it is sent again whatever it is."""

OF_THE_BODY = (Fault.CUT, Fault.NO_JSON)
"""What nobody notices of an answer that has no body."""


def user(name: str) -> dict[str, Any]:
    return {"username": name, "enabled": True, "firstName": "Nora", "lastName": "Nurse"}


async def test_what_becomes_of_each_call_when_the_line_fails(world: World) -> None:
    made = await world.tenant()
    account = Account(SVC_IDENTITY, (await world.secrets(made))[SVC_IDENTITY])
    straight = await world.master(made)
    async with before(world.url(made)) as front:
        realm = Realm(front.url, made.realm, account, timeout=PATIENCE)
        marker = await realm.role(MARKER)
        for fault in Fault:
            name = fault.name.lower().replace("_", "-")
            await creating(front, realm, straight, fault, name)
            found = await straight.find_user(name)
            assert found
            subject = str(found["id"])
            await repeating(front, realm, fault, subject, marker)
            assert [r["name"] for r in await straight.roles_of(subject)].count(MARKER) == 1
            assert (await straight.user(subject))["firstName"] == fault.name
            await deleting(front, realm, straight, fault, subject)
        await realm.close()


async def creating(front: Front, realm: Realm, straight: Realm, fault: Fault, name: str) -> None:
    """Made at most once; where nobody knows whether it was, the next try finds out."""
    await ageing(realm)
    front.asked.clear()
    front.fault = fault
    # Of what was made the answer's place is read, its body is none.
    if fault in (*MENDED, Fault.NO_JSON):
        assert await realm.create_user(user(name)), fault
        assert front.asked["POST"] == (2 if fault in MENDED else 1), fault
        return
    with pytest.raises(Unavailable):
        await realm.create_user(user(name))
    assert front.asked["POST"] == 1, "never sent again by itself"
    assert (await straight.find_user(name) is not None) == fault.is_done, fault
    if fault.is_done:
        with pytest.raises(Conflict):
            await realm.create_user(user(name))
    else:
        assert await realm.create_user(user(name))


async def repeating(
    front: Front, realm: Realm, fault: Fault, subject: str, marker: dict[str, Any]
) -> None:
    """What may be sent twice is, and is done then."""
    known = await realm.user(subject)

    async def events() -> list[Any]:
        return [e async for e in realm.events("admin-events", 0, 1000, OF_ADMINISTRATORS)]

    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "read": realm.read,
        "find": lambda: realm.find_user(known["username"]),
        "update": lambda: realm.update_user({**known, "firstName": fault.name}),
        "role": lambda: realm.give_role(subject, marker),
        "sessions": lambda: realm.end_sessions(subject),
        "events": events,
    }
    for name, call in calls.items():
        await ageing(realm)
        front.asked.clear()
        front.fault = fault
        await call()
        silent = fault in OF_THE_BODY and name in ("update", "role", "sessions")
        assert front.asked.total() == (1 if silent else 2), (fault, name)


async def deleting(front: Front, realm: Realm, straight: Realm, fault: Fault, subject: str) -> None:
    """Gone either way; whose first answer was lost reads that there is nobody."""
    await ageing(realm)
    front.fault = fault
    if fault.is_done and fault not in OF_THE_BODY:
        with pytest.raises(NotFound):
            await realm.delete_user(subject)
    else:
        await realm.delete_user(subject)
    with pytest.raises(NotFound):
        await straight.user(subject)


async def ageing(realm: Realm) -> None:
    """Let the token be one of before."""
    realm._connection._renewed -= 10
