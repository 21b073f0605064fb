"""Clients that push as Okta and Entra do, at their pace; what each means to be true at the end is kept in `Meant`.

Sources: developer.okta.com/docs/api/openapi/okta-scim/guides/scim-20 and learn.microsoft.com,
entra/identity/app-provisioning/use-scim-to-provision-users-and-groups.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import httpx

USERS = "/Users"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
AT_ONCE = 4
"""Requests that one client has under way."""
Json = dict[str, Any]


@dataclass
class Meant:
    """What a directory wants: attributes of each user by user name, members of each group by name (user names)."""

    users: dict[str, Json] = field(default_factory=dict)
    groups: dict[str, set[str]] = field(default_factory=dict)


@dataclass
class Client:
    """One directory at one health system; `rate` requests a second at the most. A 429 is obeyed, and counted."""

    http: httpx.AsyncClient
    base: str
    token: str
    rate: float
    meant: Meant = field(default_factory=Meant)
    ids: dict[str, str] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0
    _next: float = 0.0

    @property
    def pace(self) -> float:
        """Requests a second, from the first to the last."""
        return self.answers.total() / max(self.ended - self.began, 1e-9)

    async def ask(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        taken: bool = False,
        **params: str,
    ) -> Json:
        """A request in its turn; an answer that is no success is kept in `errors`, but 409 where it may be `taken`."""
        while True:
            await self._turn()
            asked = time.monotonic()
            headers = {"authorization": f"Bearer {self.token}", "x-request-id": str(uuid4())}
            answer = await self.http.request(
                method, f"{self.base}{path}", params=params or None, json=body, headers=headers
            )
            self.answers[answer.status_code] += 1
            self.began, self.ended = self.began or asked, time.monotonic()
            if answer.status_code != 429:
                break
            await asyncio.sleep(float(answer.headers["retry-after"]))
        if not answer.is_success and not (taken and answer.status_code == 409):
            self.errors.append(
                f"{method} {path.split('/')[1]}: {answer.status_code} {answer.text[:200]}"
            )
        found: Json = answer.json() if answer.content else {}
        return found

    async def patch(self, path: str, *operations: Json) -> None:
        """A PATCH request."""
        await self.ask("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})

    async def found(self, kind: str, attribute: str, value: str) -> Json | None:
        """The resource that has this value, as both look before they make one."""
        page = await self.ask(
            "GET", f"/{kind}", None, filter=f'{attribute} eq "{value}"', startIndex="1", count="100"
        )
        return next(iter(page.get("Resources") or ()), None)

    async def made_group(self, name: str, body: Json) -> str:
        """The id of a group that is there, or is made; or that the other directory made in between (409)."""
        made = await self.found("Groups", "displayName", name)
        made = made or await self.ask("POST", "/Groups", body, taken=True)
        if "id" not in made:
            made = await self.found("Groups", "displayName", name)
        return str((made or {}).get("id", ""))

    async def _turn(self) -> None:
        now = time.monotonic()
        self._next = max(self._next, now) + 1 / self.rate
        await asyncio.sleep(self._next - 1 / self.rate - now)


class Okta(Client):
    """Looks by user name, updates with GET and PUT of the whole, deactivates without path, never deletes."""

    async def join(self, name: str, title: str) -> None:
        """Somebody begins."""
        body = {"schemas": [USER], "userName": name, "active": True, "title": title, "groups": []} | {
            "name": {"givenName": "Robin", "familyName": "Okta"},
            "emails": [{"primary": True, "value": name, "type": "work"}],
            "externalId": f"00u{name}", "locale": "en-US", "password": "never kept",
        }  # fmt: skip
        made = await self.found("Users", "userName", name) or await self.ask("POST", "/Users", body)
        self.ids[name] = made.get("id", "")
        self.meant.users[name] = {"title": title, "active": True}

    async def move(self, name: str, title: str) -> None:
        """Somebody's profile changes."""
        read = await self.ask("GET", f"{USERS}/{self.ids[name]}")
        await self.ask("PUT", f"{USERS}/{self.ids[name]}", read | {"title": title})
        self.meant.users[name]["title"] = title

    async def leave(self, name: str) -> None:
        """Somebody goes."""
        await self.patch(f"{USERS}/{self.ids[name]}", {"op": "replace", "value": {"active": False}})
        self.meant.users[name]["active"] = False

    async def group(self, name: str) -> None:
        """A group is pushed, or linked where it is there."""
        self.ids[name] = await self.made_group(name, {"displayName": name, "members": []})
        self.meant.groups.setdefault(name, set())

    async def enter(self, group: str, names: list[str]) -> None:
        """People come into a group, many with one request."""
        value = [{"value": self.ids[name], "display": name} for name in names]
        await self.patch(
            f"/Groups/{self.ids[group]}", {"op": "add", "path": "members", "value": value}
        )
        self.meant.groups[group].update(names)

    async def part(self, group: str, name: str) -> None:
        """Somebody goes out of a group."""
        path = f'members[value eq "{self.ids[name]}"]'
        await self.patch(f"/Groups/{self.ids[group]}", {"op": "remove", "path": path})
        self.meant.groups[group].discard(name)


class Entra(Client):
    """Probes, makes groups empty first, sends members one by one, and capital operations with truths as text."""

    async def join(self, name: str, title: str) -> None:
        """Somebody begins."""
        body = {"schemas": [USER, ENTERPRISE], "userName": name, "active": True, "title": title} | {
            "externalId": name.split("@")[0], "displayName": f"Robin {name.split('@')[0]}",
            "emails": [{"primary": True, "type": "work", "value": name}], "meta": {"resourceType": "User"},
            "name": {"formatted": "Robin Entra", "givenName": "Robin", "familyName": "Entra"},
            ENTERPRISE: {"employeeNumber": title},
        }  # fmt: skip
        made = await self.found("Users", "userName", name) or await self.ask("POST", "/Users", body)
        self.ids[name] = made.get("id", "")
        self.meant.users[name] = {"title": title, "active": True}

    async def move(self, name: str, title: str) -> None:
        """Somebody's profile changes: two attributes in one request."""
        await self.patch(
            f"{USERS}/{self.ids[name]}",
            {"op": "Replace", "path": "title", "value": title},
            {"op": "Add", "path": f"{ENTERPRISE}:department", "value": title},
        )
        self.meant.users[name]["title"] = title

    async def leave(self, name: str) -> None:
        """Somebody goes."""
        await self.patch(
            f"{USERS}/{self.ids[name]}", {"op": "Replace", "path": "active", "value": "False"}
        )
        self.meant.users[name]["active"] = False

    async def group(self, name: str) -> None:
        """A group is pushed empty, or found."""
        await self.found("Groups", "displayName", str(uuid4()))  # its probe
        body = {"displayName": name, "externalId": str(uuid4()), "meta": {"resourceType": "Group"}}
        self.ids[name] = await self.made_group(name, body)
        self.meant.groups.setdefault(name, set())

    async def enter(self, group: str, names: list[str]) -> None:
        """People come into a group, each with a request of their own."""

        async def one(name: str) -> None:
            member = {"op": "Add", "path": "members", "value": [{"value": self.ids[name]}]}
            await self.patch(f"/Groups/{self.ids[group]}", member)

        await several([partial(one, name) for name in names])
        self.meant.groups[group].update(names)

    async def part(self, group: str, name: str) -> None:
        """Somebody goes out of a group, named in the value."""
        gone = {"op": "Remove", "path": "members", "value": [{"value": self.ids[name]}]}
        await self.patch(f"/Groups/{self.ids[group]}", gone)
        self.meant.groups[group].discard(name)


async def several(work: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Carry these out, some at once."""
    waiting = iter(list(work))

    async def worker() -> None:
        for one in waiting:
            await one()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
