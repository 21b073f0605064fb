"""What is measured: requests, over how many connections, and the bar."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from dev.bench_scim.data import group, user

Request = tuple[str, str, Any]
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
SIZES = (10, 10_000, 50_000)
LARGE = 50_000
WITHOUT = "?excludedAttributes=members"
_new = count(1)


@dataclass(frozen=True)
class Operation:
    """`unit`: milliseconds at most of the median, or requests a second at least. `stock`: so many at the stock core, which needs half a minute for one change of the largest group."""

    name: str
    requests: list[Request]
    bar: float
    unit: Literal["ms", "/s"] = "ms"
    stock: int = 20

    @property
    def warm(self) -> int:
        """So many are sent before those that count; of what makes something new, none."""
        return 0 if self.requests[0][0] == "POST" else 6

    @property
    def connections(self) -> int:
        """One where a time is meant, several where a rate is."""
        return 1 if self.unit == "ms" else 8


def operations(users: int, effort: int) -> Iterator[Operation]:
    """All of them; `effort` requests of each where one takes milliseconds."""
    sizes = [size for size in SIZES if size <= users]
    for size in sizes:
        name = f"member PATCH, group of {size}"
        stock = 20_000 // (size + 900) if size < LARGE else 0
        yield Operation(name, list(flips(size, users, effort)), 5, stock=stock)
    largest = sizes[-1]
    hundreds = list(hundred(largest, users, max(effort // 10, 4)))
    yield Operation("100 operations in one PATCH", hundreds, 60, stock=0)
    for name, path, value in (
        ("userName", "userName", "u{}@corp.example"),
        ("externalId", "externalId", "x{}"),
        ("e-mail", 'emails[type eq "work"].value', "u{}@corp.example"),
        ("employeeNumber", f"{ENTERPRISE}:employeeNumber", "e{}"),
    ):
        found = [f'{path} eq "{value.format(1 + n * 7 % users)}"' for n in range(effort)]
        yield Operation(f"filter by {name}", [("GET", searched(f), None) for f in found], 5)
    for size in sizes:
        read: list[Request] = [("GET", f"/Groups/{group(size)}{WITHOUT}", None)] * effort
        yield Operation(f"GET of a group of {size} without members", read, 5, stock=3)
    pages: list[Request] = [
        ("GET", f"/Users?startIndex={1 + n * 100 % users}&count=100", None) for n in range(effort)
    ]
    yield Operation("list of 100", pages, 60, "/s", stock=10)
    yield Operation("POST of a user", [posted() for _ in range(effort * 3)], 150, "/s", stock=40)


def searched(found: str) -> str:
    """The path of a search."""
    return f"/Users?filter={found.replace(' ', '%20').replace(chr(34), '%22')}"


def posted() -> Request:
    """Somebody new."""
    n = next(_new)
    body = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
        "userName": f"new{n}@corp.example",
        "externalId": f"new{n}",
        "name": {"givenName": "Robin", "familyName": "New"},
        "emails": [{"value": f"new{n}@corp.example", "type": "work", "primary": True}],
        "active": True,
        ENTERPRISE: {"employeeNumber": f"n{n}", "department": "Ward 1"},
    }
    return "POST", "/Users", body


def flips(size: int, users: int, times: int) -> Iterator[Request]:
    """One member out, and in again."""
    for n in range(times // 2):
        who = user(1 + n * 7 % min(size, users))
        for op in ("remove", "add"):
            yield change(size, [{"op": op, "path": "members", "value": [{"value": who}]}])


def hundred(size: int, users: int, times: int) -> Iterator[Request]:
    """A hundred operations of one member each."""
    for n in range(times):
        low = 1 + n // 2 * 100 % (users - 100)
        op = "add" if n % 2 else "remove"
        yield change(
            size,
            [
                {"op": op, "path": "members", "value": [{"value": user(low + k)}]}
                for k in range(100)
            ],
        )


def change(size: int, operations_: list[dict[str, Any]]) -> Request:
    """A PATCH of the group of this size."""
    return "PATCH", f"/Groups/{group(size)}", {"schemas": [PATCH], "Operations": operations_}


def put(members: int, number: int) -> Request:
    """A PUT of a group with so many members."""
    listed = [{"value": user(n + 1)} for n in range(members)]
    body = {"displayName": f"Group of {members}", "externalId": f"put{number}", "members": listed}
    return "PUT", f"/Groups/{group(members)}{WITHOUT}", body
