"""The two health systems of the demo world and their trees, as data.

A node's path is what the cast and the tests call it: `mercy`, `mercy/north`, `mercy/north/oak`,
`mercy/north/oak/family`.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from dev.demo.ids import fixed
from domain.organization import MfaPolicy, PolicyVariant


@dataclass(frozen=True)
class Node:
    """A unit: the last part of its path, its name as people see it, a clinic's time zone, what is below it."""

    key: str
    name: str
    below: tuple["Node", ...] = ()
    zone: str | None = None


@dataclass(frozen=True)
class System:
    """A health system. `patients` is how many the seed makes; `visits` the encounters of each on average."""

    root: Node
    policy_variant: PolicyVariant
    mfa_policy: MfaPolicy
    currency: str
    patients: int
    visits: float = 1.6

    @property
    def slug(self) -> str:
        """The name by which the system is addressed."""
        return self.root.key


def _clinic(key: str, name: str, zone: str, *departments: str) -> Node:
    below = tuple(Node(d.split()[0].lower(), d) for d in departments)
    return Node(key, name, below, zone)


_EAST, _CENTRAL, _WEST = "America/New_York", "America/Chicago", "America/Los_Angeles"

MERCY = System(
    Node(
        "mercy",
        "Mercy Health",
        (
            Node(
                "north",
                "North Region",
                (
                    _clinic("oak", "Oak Clinic", _EAST, "Family Medicine", "Pediatrics"),
                    _clinic("elm", "Elm Clinic", _EAST, "Family Medicine", "Cardiology"),
                    _clinic("ash", "Ash Clinic", _CENTRAL, "Internal Medicine", "Dermatology"),
                ),
            ),
            Node(
                "south",
                "South Region",
                (
                    _clinic("pine", "Pine Clinic", _CENTRAL, "Family Medicine", "Obstetrics"),
                    _clinic("birch", "Birch Clinic", _CENTRAL, "Orthopedics", "Radiology"),
                    _clinic("cedar", "Cedar Clinic", _WEST, "Family Medicine", "Oncology"),
                ),
            ),
        ),
    ),
    PolicyVariant.ADMINS_INHERIT,
    MfaPolicy.ADMINS,
    "USD",
    patients=2500,
)

LAKESIDE = System(
    Node(
        "lakeside",
        "Lakeside Medical",
        (
            Node(
                "shore",
                "Shore Region",
                (
                    _clinic("harbor", "Harbor Clinic", _EAST, "Urgent Care", "Pediatrics"),
                    _clinic("bay", "Bay Clinic", _EAST, "Family Medicine", "Neurology"),
                ),
            ),
        ),
    ),
    PolicyVariant.ADMINS_BREAK_GLASS,
    MfaPolicy.ALL,
    "USD",
    patients=500,
)

SYSTEMS = (MERCY, LAKESIDE)


def walk(system: System) -> Iterator[tuple[str, Node, str | None]]:
    """Every node of a system, parents first: its path, the node, its parent's path."""

    def below(node: Node, path: str, parent: str | None) -> Iterator[tuple[str, Node, str | None]]:
        yield path, node, parent
        for child in node.below:
            yield from below(child, f"{path}/{child.key}", path)

    yield from below(system.root, system.root.key, None)


def unit_id(path: str) -> uuid.UUID:
    """The id of the unit at a path."""
    return fixed(f"unit {path}")
