"""Who may do what, as data: the templates turned into rows that people can read and programs can compare."""

from collections.abc import Iterator
from dataclasses import dataclass

from authz.conditions import ACTOR, Residual
from authz.templates import Policy


@dataclass(frozen=True)
class Entry:
    """One role's permission. `conditions`: any of them must hold on the row; an empty one always does.

    `reach` says which rows a role at a node reaches (`authz/reach.py`).
    """

    permission: str
    role: str
    reach: str
    conditions: tuple[str, ...]

    @property
    def unconditional(self) -> bool:
        """Whether nothing is asked of the row beyond its place, sensitivity aside."""
        return "" in self.conditions


def matrix(policy: Policy) -> Iterator[Entry]:
    """Every (permission, role) that is allowed, in the policies' order of roles. What is missing is refused."""
    for name, template in sorted(policy.permissions.items()):
        for role in (*policy.roles, *(set(template.roles) - set(policy.roles))):
            if role in template.roles:
                told = tuple(_told(residual) for residual in template.roles[role])
                yield Entry(name, role, template.reach.value, told)


def _told(residual: Residual) -> str:
    """`author_id = actor and state in amended, signed`; what holds for every row of today is not said."""
    parts = []
    for c in sorted(residual, key=str):
        if c.field == "sensitivity":
            continue
        value = "actor" if c.value is ACTOR else c.value
        listed = ", ".join(value) if isinstance(value, tuple) else value
        parts.append(f"{c.field} {'in' if c.op == 'in' else '='} {listed}")
    return " and ".join(parts)
