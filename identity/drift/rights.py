"""Who holds rights over the realm, what every user holds, and that nothing is handed on through groups.

Whoever manages users reaches every right that a person or a group holds: only our two accounts hold any.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from domain.organization import MfaPolicy
from identity.drift.difference import Difference
from identity.keycloak import Json, Realm
from identity.realms import MARKER, SERVICE_ACCOUNTS, RealmPlan, apply_mfa_policy

_MANAGEMENT = "realm-management"


@dataclass(frozen=True)
class Held:
    """What was read: roles over the realm by user, users' ids, the roles, what the default role holds, groups."""

    by_user: dict[str, set[str]]
    users: dict[str, str]
    roles: dict[str, Json]
    management: str
    default: list[Json]
    groups: list[Json]


async def read(realm: Realm, found: Json, plan: RealmPlan) -> Held:
    """Read what no export has."""
    management = next(c["id"] for c in found["clients"] if c["clientId"] == _MANAGEMENT)
    by_user: dict[str, set[str]] = {}
    users: dict[str, str] = {}
    roles = {role["name"]: role for role in await realm.client_roles(management)}
    for name in roles:
        for member in await realm.client_role_members(management, name):
            by_user.setdefault(member["username"], set()).add(name)
            users[member["username"]] = member["id"]
    default = await realm.composites(plan.default_role)
    return Held(by_user, users, roles, management, default, await realm.groups())


def of_rights(
    realm: Realm, plan: RealmPlan, service_users: list[Json], held: Held
) -> Iterator[Difference]:
    """What differs, of people only how many."""
    wanted = {MARKER} if plan.mfa is MfaPolicy.ALL else set()
    if {role["name"] for role in held.default} != wanted:
        said = "The default role does not hold what the MFA policy says."
        yield Difference(said, partial(apply_mfa_policy, realm, plan.mfa))
    if held.groups:
        said = "There are groups; rights could be handed on through them."
        yield Difference(said, partial(_remove_groups, realm, held.groups))
    intended = {
        f"service-account-{account}": set(user["clientRoles"][_MANAGEMENT])
        for account, user in zip(SERVICE_ACCOUNTS, service_users, strict=True)
    }
    strangers = held.by_user.keys() - intended.keys()
    if strangers:
        mend = partial(_set_rights, realm, held, {name: set() for name in strangers})
        yield Difference(f"{len(strangers)} users hold rights over the realm.", mend)
    for name in sorted(intended):
        if held.by_user.get(name, set()) != intended[name]:
            mend = partial(_set_rights, realm, held, {name: intended[name]})
            yield Difference(f"{name} holds other rights than intended.", mend)


async def _remove_groups(realm: Realm, groups: list[Json]) -> None:
    for group in groups:
        await realm.remove(f"groups/{group['id']}")


async def _set_rights(realm: Realm, held: Held, wanted: dict[str, set[str]]) -> None:
    for name, rights in wanted.items():
        user = held.users.get(name)
        if user is None:
            found = await realm.find_user(name)
            if found is None:
                continue  # comes with its client, in the round before
            user = str(found["id"])
        path = f"users/{user}/role-mappings/clients/{held.management}"
        now = held.by_user.get(name, set())
        if now - rights:
            await realm.remove(path, [held.roles[role] for role in sorted(now - rights)])
        if rights - now:
            await realm.post(path, [held.roles[role] for role in sorted(rights - now)])
