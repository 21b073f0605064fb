"""The synchronization itself, and what has to be true after it.

Half of a health system's users come by each of two directories, which share some of the groups: both push members into
them at the same time. Then profiles change, some people go out of groups, and a few leave.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from dev.sync_load.clients import Client, Entra, Json, Meant, Okta, several

LEAVERS = 4
"""So many leave of each directory: as many as leave in a day without a question."""
SHARED = 5
"""Each so many-th group is both directories'."""
Say = Callable[[str], None]


@dataclass
class System:
    """A health system and its two directories."""

    name: str
    okta: Okta
    entra: Entra
    wrong: list[str] = field(default_factory=list)

    @property
    def clients(self) -> tuple[Client, Client]:
        return self.okta, self.entra

    def meant(self) -> Meant:
        """What both want together."""
        out = Meant()
        for client in self.clients:
            out.users |= client.meant.users
            for name, members in client.meant.groups.items():
                out.groups.setdefault(name, set()).update(members)
        return out


def group_of(number: int) -> str:
    """The name of a group, which a rule may name."""
    return f"Ward {number}"


async def synchronize(systems: list[System], users: int, groups: int, say: Say) -> None:
    """Push so many users and groups at each health system, all at once."""
    async with asyncio.TaskGroup() as running:
        for system in systems:
            halves = _halves(system, users), _groups(groups)
            for client, people, own in zip(system.clients, *halves, strict=True):
                running.create_task(_push(system.name, client, people, own, say))


def _halves(system: System, users: int) -> tuple[list[str], list[str]]:
    names = [f"u{n}@{system.name}.example" for n in range(users)]
    return names[::2], names[1::2]


def _groups(number: int) -> tuple[list[str], list[str]]:
    shared = [group_of(n) for n in range(number) if n % SHARED == 0]
    own = [group_of(n) for n in range(number) if n % SHARED]
    return own[::2] + shared, own[1::2] + shared


async def _push(name: str, client: Client, people: list[str], groups: list[str], say: Say) -> None:
    who = f"{name} {type(client).__name__}"
    assert isinstance(client, Okta | Entra)
    await several([partial(client.join, p, "Nurse") for p in people])
    say(f"{who}: {len(people)} users are there")
    await several([partial(client.group, g) for g in groups])
    for at, group in enumerate(groups):
        await client.enter(group, people[at :: len(groups)] or people[:1])
    say(f"{who}: {len(groups)} groups are filled")
    moved = people[::2]
    await several([partial(client.move, p, f"Head {p[:4]}") for p in moved])
    shared = groups[-1]
    for person in sorted(client.meant.groups[shared])[:LEAVERS]:
        # By another group they keep a role; whoever loses their only one is a leaver.
        await client.enter(groups[0], [person])
        await client.part(shared, person)
    for person in people[-LEAVERS:]:
        await client.leave(person)
    say(f"{who}: done; answers {dict(sorted(client.answers.items()))}")


async def verify(system: System, seen: Client) -> None:
    """Read everything back and note in `system.wrong` what is not as it was meant. `seen` asks."""
    meant = system.meant()
    users = await _all(seen, "Users")
    names = {user["id"]: user["userName"] for user in users}
    for user in users:
        want = meant.users.get(user["userName"])
        if want != {"title": user.get("title"), "active": user["active"]}:
            system.wrong.append(
                f"{user['userName']} is {user.get('title')}, {user['active']}: {want}"
            )
    if len(users) != len(meant.users):
        system.wrong.append(f"{len(users)} users of {len(meant.users)}")
    found = {}
    for group in await _all(seen, "Groups"):
        found[group["displayName"]] = {names.get(m["value"], "?") for m in group.get("members", ())}
    for name in sorted(meant.groups.keys() | found.keys()):
        if found.get(name) != meant.groups.get(name):
            lost = meant.groups.get(name, set()) ^ found.get(name, set())
            system.wrong.append(f"{name}: {len(lost)} members are not as they were meant")


async def _all(client: Client, kind: str) -> list[Json]:
    out: list[Json] = []
    while True:
        page = await client.ask("GET", f"/{kind}", None, startIndex=str(len(out) + 1), count="100")
        out += page["Resources"]
        if not page["Resources"] or len(out) >= page["totalResults"]:
            return out
