"""What somebody changes by hand in Keycloak's console is found, and mended."""

from collections.abc import Awaitable, Callable

import pytest

from identity.drift import drift, repair
from identity.keycloak import Json, Realm
from identity.realms import MARKER
from tests.identity.browser import Browser
from tests.identity.conftest import CALLBACK, PASSWORD, World

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]

Change = Callable[[Realm], Awaitable[None]]


async def client(realm: Realm, name: str) -> Json:
    return next(c for c in await realm.clients() if c["clientId"] == name)


async def open_registration(realm: Realm) -> None:
    await realm.update({"registrationAllowed": True})


async def other_flow(realm: Realm) -> None:
    await realm.update({"browserFlow": "browser"})


async def another_tenant(realm: Realm) -> None:
    attributes = (await realm.read())["attributes"]
    await realm.update({"attributes": {**attributes, "template_version": "0"}})


async def wide_redirect(realm: Realm) -> None:
    portal = await client(realm, "portal")
    await realm.update_client({**portal, "redirectUris": ["*"]})


async def no_pkce(realm: Realm) -> None:
    portal = await client(realm, "portal")
    attributes = {**portal["attributes"], "pkce.code.challenge.method": ""}
    await realm.update_client({**portal, "attributes": attributes})


async def console_enabled(realm: Realm) -> None:
    await realm.update_client({**await client(realm, "admin-cli"), "enabled": True})


async def more_clients(realm: Realm) -> None:
    await realm._admin.a_create_client({"clientId": "backdoor"})


async def fewer_clients(realm: Realm) -> None:
    await realm._admin.a_delete_client((await client(realm, "admin-portal"))["id"])


async def marker_for_all(realm: Realm) -> None:
    await realm.add_composites(f"default-roles-{realm.name}", [await realm.role(MARKER)])


async def groups(realm: Realm) -> None:
    await realm._admin.a_create_group({"name": "handed-on"})


async def a_powerful_person(realm: Realm) -> None:
    user = await realm.find_user("admin")
    assert user
    management = (await client(realm, "realm-management"))["id"]
    role = await realm._admin.a_get_client_role(management, "view-events")
    await realm._admin.a_assign_client_role(user["id"], management, [role])


async def a_powerful_account(realm: Realm) -> None:
    account = await realm.find_user("service-account-svc-policy")
    assert account
    management = (await client(realm, "realm-management"))["id"]
    role = await realm._admin.a_get_client_role(management, "manage-users")
    await realm._admin.a_assign_client_role(account["id"], management, [role])


async def a_weaker_flow(realm: Realm) -> None:
    parts = await realm.flow("browser-mfa")
    step = next(p for p in parts if p.get("displayName") == "browser-mfa policy")
    changed = {**step, "requirement": "DISABLED"}
    await realm._admin.a_update_authentication_flow_executions(changed, "browser-mfa")


async def another_mapper(realm: Realm) -> None:
    scope = next(s for s in await realm.get("client-scopes") if s["name"] == "caretree")
    mapper = next(m for m in scope["protocolMappers"] if m["name"] == "tenant_id")
    path = f"client-scopes/{scope['id']}/protocol-mappers/models/{mapper['id']}"
    await realm.put(path, {**mapper, "config": {**mapper["config"], "claim.value": "another"}})


async def more_roles(realm: Realm) -> None:
    await realm.post("roles", {"name": "superuser"})


async def no_codes(realm: Realm) -> None:
    path = "authentication/required-actions/CONFIGURE_TOTP"
    await realm.put(path, {**await realm.get(path), "enabled": False})


async def profile_of_their_own(realm: Realm) -> None:
    profile = await realm.get("users/profile")
    for attribute in profile["attributes"]:
        attribute["permissions"]["edit"] = ["admin", "user"]
    await realm.put("users/profile", profile)


async def more_scopes(realm: Realm) -> None:
    portal = await client(realm, "portal")
    scope = next(s for s in await realm.get("client-scopes") if s["name"] == "roles")
    await realm.put(f"clients/{portal['id']}/default-client-scopes/{scope['id']}", {})


async def signing_off(realm: Realm) -> None:
    found = await realm.get("components", type="org.keycloak.keys.KeyProvider")
    key = next(c for c in found if c["name"] == "signing")
    config = {**key["config"], "priority": ["1"]}
    await realm.put(f"components/{key['id']}", {**key, "config": config})


CHANGES: list[tuple[Change, str]] = [
    (open_registration, "The realm's registrationAllowed differs."),
    (other_flow, "The realm's browserFlow differs."),
    (another_tenant, "The realm's attribute template_version differs."),
    (wide_redirect, "The client portal differs in redirectUris."),
    (no_pkce, "The client portal differs in its attribute pkce.code.challenge.method."),
    (console_enabled, "The client admin-cli is enabled."),
    (more_clients, "There is a client backdoor that the template does not have."),
    (fewer_clients, "The client admin-portal is missing."),
    (marker_for_all, "The default role does not hold what the MFA policy says."),
    (groups, "There are groups; rights could be handed on through them."),
    (a_powerful_person, "1 users hold rights over the realm."),
    (a_powerful_account, "service-account-svc-policy holds other rights than intended."),
    (a_weaker_flow, "The flow browser-mfa differs."),
    (another_mapper, "The client scope caretree has another mapper tenant_id."),
    (more_roles, "There is a role superuser that the template does not have."),
    (no_codes, "The required action CONFIGURE_TOTP differs."),
    (profile_of_their_own, "The user profile differs."),
    (more_scopes, "The client portal differs in defaultClientScopes."),
    (signing_off, "The component signing differs."),
]


async def test_every_change_is_found_and_nothing_else_and_mended(world: World) -> None:
    made = await world.tenant()
    realm, plan = await world.master(made), await world.plan(made)
    assert await drift(realm, plan) == []
    expected = set()
    for change, finding in CHANGES:
        await change(realm)
        expected.add(finding)
        assert set(await drift(realm, plan)) == expected, change.__name__
    assert set(await repair(realm, plan)) == expected
    assert await drift(realm, plan) == []
    assert await repair(realm, plan) == []
    async with Browser(made.issuer, CALLBACK) as admin:
        assert await admin.login("admin", PASSWORD)
