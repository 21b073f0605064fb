"""The one gateway to Keycloak's administration, over python-keycloak.

The library's `a_` methods are used: callers are coroutines (the worker runs several jobs in one loop), its
asynchronous transport never repeats a POST by itself, and one loop means that no object is shared by threads,
where the library mixes up requests. One object speaks as one service account to one realm of one cluster.
Identity providers of a realm are in `identity/brokers.py`, what can fail in `identity/keycloak_failures.py`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import orjson
import stamina
from keycloak import KeycloakAdmin
from keycloak.exceptions import (
    KeycloakConnectionError,
    KeycloakError,
    KeycloakPostError,
    raise_error_from_response,
)

from identity.keycloak_connection import TIMEOUT, Connection
from identity.keycloak_connection import Account as Account
from identity.keycloak_failures import Unavailable, failure

CREATING = httpx.Timeout(120, connect=5)
"""For the one call that makes a whole realm: seconds on an idle server, a minute on a busy one."""
MASTER = "master"
_PASSKEYS = "webAuthnPolicy"

Json = dict[str, Any]


class Realm:
    """One realm, spoken to as one service account. For one event loop; close it, or use `Keycloak` to keep it.

    `creating` is the deadline of making the realm, `timeout` that of every other call.
    """

    def __init__(
        self,
        url: str,
        name: str,
        account: Account,
        *,
        timeout: httpx.Timeout = TIMEOUT,
        creating: httpx.Timeout = CREATING,
    ) -> None:
        self.name = name
        self.account = account
        self._creator = partial(Connection, url, name, account, creating)
        self._connection = Connection(url, name, account, timeout)
        self._admin = KeycloakAdmin(connection=self._connection)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        """Drop the connections."""
        await self._connection.aclose()

    # The realm itself

    async def create(self, representation: Json) -> None:
        """Make the realm out of a whole representation, in one transaction of Keycloak's. Conflict: it exists.

        Repeated where Keycloak fails (its role cache does when another realm is made or removed at the same moment)
        or its answer is lost: a second try of what succeeded unseen ends in Conflict. Rights over a new realm come
        only with a new token, so the token is renewed either way.
        """
        connection = self._creator()
        admin = KeycloakAdmin(connection=connection)
        try:
            await self._ask(
                "create realm", lambda: admin.a_create_realm(representation), within=300
            )
        finally:
            self._connection.token = None
            await connection.aclose()

    async def read(self) -> Json:
        """The realm's representation without clients, users and flows."""
        return dict(await self._ask("read realm", lambda: self._admin.a_get_realm(self.name)))

    async def update(self, scalars: Json, found: Json | None = None) -> None:
        """Change top-level fields; Keycloak takes lists and objects here with 204 and drops them.

        It also sets what a body leaves out of its rules for passkeys to what it ships with: they go along as they stand.
        `found` spares reading them: the realm as the caller has just read it.
        """
        if found is None:
            found = await self.read()
        body = {**{k: v for k, v in found.items() if k.startswith(_PASSKEYS)}, **scalars}
        await self._ask("update realm", lambda: self._admin.a_update_realm(self.name, body))

    async def delete(self) -> None:
        """Remove the realm and all its users."""
        await self._call("delete realm", lambda: self._admin.a_delete_realm(self.name))

    async def end_all_sessions(self) -> None:
        """Log everybody out; sends no back-channel logout."""
        await self._ask("end all sessions", lambda: self._raw("post", "logout-all"))

    # Roles

    async def role(self, name: str) -> Json:
        """A realm role."""
        return dict(await self._ask("read role", lambda: self._admin.a_get_realm_role(name)))

    async def composites(self, role: str) -> list[Json]:
        """What a realm role contains, roles of clients too."""
        return list(
            await self._ask(
                "read composites",
                lambda: self._admin.a_get_composite_realm_roles_of_role(role),
            )
        )

    async def add_composites(self, role: str, parts: list[Json]) -> None:
        """Put roles into a role; those in it already stay."""
        await self._ask(
            "add composites",
            lambda: self._admin.a_add_composite_realm_roles_to_role(role, parts),
        )

    async def remove_composites(self, role: str, parts: list[Json]) -> None:
        """Take roles out of a role; absent ones are no error."""
        await self._ask(
            "remove composites",
            lambda: self._admin.a_remove_composite_realm_roles_to_role(role, parts),
        )

    # Clients, flows, groups

    async def clients(self) -> list[Json]:
        """All clients with their settings."""
        return list(await self._ask("list clients", self._admin.a_get_clients))

    async def update_client(self, client: Json) -> None:
        """Replace a client's settings by this representation, as read before and changed."""
        await self._ask("update client", lambda: self._admin.a_update_client(client["id"], client))

    async def client_role_members(self, client: str, role: str) -> list[Json]:
        """The users who hold a client's role themselves. `client` is its internal id."""
        return list(
            await self._ask(
                "list role members",
                lambda: self._admin.a_get_client_role_members(client, role),
            )
        )

    async def client_roles(self, client: str) -> list[Json]:
        """The roles that a client defines. `client` is its internal id."""
        return list(await self._ask("list roles", lambda: self._admin.a_get_client_roles(client)))

    async def flow(self, alias: str) -> list[Json]:
        """A flow's executions, parts included, in order, each with its `level` of nesting."""
        return list(
            await self._ask(
                "read flow", lambda: self._admin.a_get_authentication_flow_executions(alias)
            )
        )

    async def groups(self) -> list[Json]:
        """The top-level groups."""
        return list(await self._ask("list groups", self._admin.a_get_groups))

    # Users

    async def create_user(self, representation: Json) -> str:
        """Make a user and answer their id, the `sub` of their tokens. Conflict: the name is taken."""
        return str(
            await self._call("create user", lambda: self._admin.a_create_user(representation))
        )

    async def find_user(self, user_name: str) -> Json | None:
        """The user of exactly this name."""
        query = {"username": user_name.lower(), "exact": "true", "max": 2, "first": 0}
        found = await self._ask("find user", lambda: self._admin.a_get_users(dict(query)))
        return next((dict(u) for u in found if u["username"] == user_name.lower()), None)

    async def user(self, user_id: str) -> Json:
        """A user by id."""
        return dict(await self._ask("read user", lambda: self._admin.a_get_user(user_id)))

    async def update_user(self, user: Json) -> None:
        """Replace a user by this representation, as read before and changed: what it lacks is removed."""
        await self._ask("update user", lambda: self._admin.a_update_user(user["id"], user))

    async def set_password(self, user_id: str, password: str, *, temporary: bool) -> None:
        """Set a password; a temporary one must be changed at the next login. Ends no session.

        Goes out once: sent again after a lost answer it would be refused as one that was used before.
        """
        await self._call(
            "set password",
            lambda: self._admin.a_set_user_password(user_id, password, temporary=temporary),
        )

    async def credentials(self, user_id: str) -> list[Json]:
        """What a user can prove themselves with: kinds and labels, no secrets."""
        return list(
            await self._ask("list credentials", lambda: self._admin.a_get_credentials(user_id))
        )

    async def delete_user(self, user_id: str) -> None:
        """Remove a user with all sessions and credentials. NotFound: there is none."""
        await self._ask("delete user", lambda: self._admin.a_delete_user(user_id))

    async def end_sessions(self, user_id: str) -> None:
        """Log a user out everywhere and send back-channel logouts."""
        await self._ask("end sessions", lambda: self._admin.a_user_logout(user_id))

    async def end_session(self, sid: str) -> None:
        """Log one session out and send its back-channel logout. NotFound: it has ended already."""
        await self._ask(
            "end session", lambda: self._raw("delete", f"sessions/{quote(sid, safe='')}")
        )

    async def sessions(self, user_id: str) -> list[Json]:
        """A user's open sessions."""
        return list(await self._ask("list sessions", lambda: self._admin.a_get_sessions(user_id)))

    async def roles_of(self, user_id: str) -> list[Json]:
        """The realm roles that a user holds themselves."""
        return list(
            await self._ask(
                "list roles of user", lambda: self._admin.a_get_realm_roles_of_user(user_id)
            )
        )

    async def give_role(self, user_id: str, role: Json) -> None:
        """Give a user a realm role; giving it twice is no error."""
        await self._ask("give role", lambda: self._admin.a_assign_realm_roles(user_id, [role]))

    async def take_role(self, user_id: str, role: Json) -> None:
        """Take a realm role away; it need not be held."""
        await self._ask(
            "take role", lambda: self._admin.a_delete_realm_roles_of_user(user_id, [role])
        )

    # Identity providers

    async def provider(self, alias: str) -> Json:
        """An identity provider with its settings; secrets are masked."""
        return dict(await self._ask("read provider", lambda: self._admin.a_get_idp(alias)))

    async def create_provider(self, provider: Json) -> None:
        """Make an identity provider. Conflict: there is one of its alias."""
        await self._call("create provider", lambda: self._admin.a_create_idp(provider))

    async def update_provider(self, provider: Json) -> None:
        """Replace an identity provider's settings, but for its mappers."""
        alias = provider["alias"]
        await self._ask("update provider", lambda: self._admin.a_update_idp(alias, provider))

    async def provider_mappers(self, alias: str) -> list[Json]:
        """What an identity provider's assertions are made into."""
        return list(await self._ask("list mappers", lambda: self._admin.a_get_idp_mappers(alias)))

    async def add_provider_mapper(self, alias: str, mapper: Json) -> None:
        """Add a mapper. Conflict or Invalid: there is one of its name."""
        await self._call("add mapper", lambda: self._admin.a_add_mapper_to_idp(alias, mapper))

    async def remove_provider_mapper(self, alias: str, mapper_id: str) -> None:
        """Take a mapper away."""
        path = f"identity-provider/instances/{quote(alias, safe='')}/mappers/{mapper_id}"
        await self._ask("remove mapper", lambda: self._raw("delete", path))

    # What has no method of its own: paths below the realm's own

    async def get(self, path: str, **query: Any) -> Any:
        """What the administration answers at a path of the realm."""
        return await self._ask("read", lambda: self._raw("get", path, **query))

    async def put(self, path: str, body: Any) -> None:
        """Replace what is at a path, as read before and changed."""
        await self._ask("change", lambda: self._raw("put", path, body))

    async def post(self, path: str, body: Any = None) -> Any:
        """Add to what is at a path; goes out once. Conflict: it is there."""
        return await self._call("add", lambda: self._raw("post", path, body))

    async def remove(self, path: str, body: Any = None) -> None:
        """Take away what is at a path. NotFound: there is nothing."""
        await self._call("remove", lambda: self._raw("delete", path, body))

    async def export(self) -> Json:
        """The realm as Keycloak exports it, with clients and without people; secrets are masked."""
        parts = {"exportClients": "true", "exportGroupsAndRoles": "true"}
        send = partial(self._raw, "post", "partial-export", **parts)
        return dict(await self._ask("export realm", send))

    async def events(
        self, log: str, since: int, page: int, kinds: Mapping[str, Any]
    ) -> AsyncIterator[Json]:
        """A log (`events`, `admin-events`) from a millisecond since 1970 on, in order, as the realm keeps it."""
        first = 0
        while True:
            asked = {**kinds, "dateFrom": since, "direction": "asc", "first": first, "max": page}
            found: list[Json] = await self.get(log, **asked)
            for event in found:
                yield event
            if len(found) < page:
                return
            first += page

    async def _raw(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        send = getattr(self._connection, f"a_raw_{method}")
        sent = {} if method == "get" else {"data": orjson.dumps(body or {}).decode()}
        answer = await send(f"admin/realms/{self.name}/{path}", **sent, **query)
        expected = [200, 201, 204]
        return raise_error_from_response(answer, KeycloakPostError, expected_codes=expected)

    async def _ask(
        self, call: str, send: Callable[[], Awaitable[Any]], *, within: float = 20
    ) -> Any:
        """A call that may be repeated, `within` so many seconds, because a second one changes nothing more."""
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=4, timeout=within, wait_initial=0.2, wait_max=3
        ):
            with attempt:
                answer = await self._call(call, send)
        return answer

    async def _call(self, call: str, send: Callable[[], Awaitable[Any]]) -> Any:
        """A call that goes out once, its failure in our terms."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise RuntimeError("A Keycloak realm object belongs to one event loop.")
        self._loop = loop
        try:
            return await self._answered(send)
        except KeycloakError as error:
            status = error.response_code
        if status == httpx.codes.FORBIDDEN and self._connection.forget_token():
            # Rights that are newer than the token are not in it; and what was refused was not done.
            try:
                return await self._answered(send)
            except KeycloakError as error:
                status = error.response_code
        # The library's text carries Keycloak's answer, which may name people: it is not chained.
        raise failure(call, status) from None

    async def _answered(self, send: Callable[[], Awaitable[Any]]) -> Any:
        """An answer that was read whole: of one that is no JSON the library hands on the bytes."""
        try:
            answer = await send()
        except TypeError:  # the library's word for it, with the answer's own text
            answer = b"no JSON"
        if isinstance(answer, bytes) and answer:
            raise KeycloakConnectionError("no JSON")
        return answer


class Keycloak:
    """Realm objects of one cluster, the last used kept open, one for each (realm, account)."""

    def __init__(self, url: str, *, keep: int = 512) -> None:
        self.url = url.rstrip("/")
        self._keep = keep
        self._realms: OrderedDict[tuple[str, Account], Realm] = OrderedDict()

    async def realm(self, name: str, account: Account) -> Realm:
        """The realm as spoken to by the account."""
        key = (name, account)
        if key not in self._realms:
            self._realms[key] = Realm(self.url, name, account)
        self._realms.move_to_end(key)
        realm = self._realms[key]
        if len(self._realms) > self._keep:
            await self._realms.popitem(last=False)[1].close()
        return realm

    async def close(self) -> None:
        """Drop all connections."""
        while self._realms:
            await self._realms.popitem()[1].close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
