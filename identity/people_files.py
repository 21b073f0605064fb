"""People given as a table: one line a role, as spreadsheets write it.

    login,given_name,family_name,email,role,region,clinic,department
    m.santos@oak.example,Maria,Santos,,nurse,North,Oak Clinic,

Without a login the address is what somebody logs in with. A role is held at the unit that the line names by its path, at the
health system where it names none; a line without a role only makes the person. Whoever holds several has several lines, of
which the first says their names. People who are there already stay as they are and get the roles that they lack, so that
a table can be given again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from authz.grants import LOWEST, OF_LINKS
from domain.audit import Agent
from domain.errors import Invalid
from domain.people import Person
from domain.plain_text import name, optional_email
from domain.table_files import Form, Problem, Row, read_rows
from domain.tree_files import LEVELS, Path, by_names, path_of
from identity.provisioning import PersonDraft, known_as

MOST_LINES = 200
"""In one transaction and one request, of some ten statements a line."""
_PLACES = tuple(level.value for level in LEVELS)
FORM = Form(
    ("login", "given_name", "family_name", "email", "role", *_PLACES),
    ("login", "email"),
    MOST_LINES,
    "lines",
)


@dataclass(frozen=True)
class Role:
    """A role that a line gives, at the unit of a path."""

    line: int
    role: str
    path: Path


@dataclass
class Somebody:
    """Whom the lines with one login speak of. `named`: whether one of them says the names."""

    line: int
    login: str
    given_name: str = ""
    family_name: str = ""
    email: str | None = None
    roles: list[Role] = field(default_factory=list)

    @property
    def named(self) -> bool:
        """Whether a line says what they are called."""
        return bool(self.given_name and self.family_name)

    @property
    def draft(self) -> PersonDraft:
        """As the command that makes people takes them."""
        return PersonDraft(self.login, self.given_name, self.family_name, self.email)


def read(text: str) -> tuple[list[Somebody], list[Problem]]:
    """The people of a table, and what is wrong with its lines by themselves. Changes nothing, never raises."""
    rows, problems = read_rows(text, FORM)
    people: dict[str, Somebody] = {}
    for row in rows:
        problem = _taken(row, people)
        if problem is not None:
            problems.append(problem)
    return list(people.values()), problems


def _taken(row: Row, people: dict[str, Somebody]) -> Problem | None:
    """Put a line to whom it speaks of; answer what is wrong with it."""
    told, column = row["login"] or row["email"], "login" if row["login"] else "email"
    if not told:
        return Problem(row.line, "LOGIN_MISSING", "This line names nobody.", "login")
    try:
        login = known_as(told)
    except Invalid as error:
        return Problem(row.line, "LOGIN_INVALID", error.message, column)
    one = people.get(login) or Somebody(row.line, login)
    problem = _called(row, one) or _held(row, one)
    if problem is None:
        people[login] = one
    return problem


def _called(row: Row, one: Somebody) -> Problem | None:
    for column in ("given_name", "family_name"):
        told, known = row[column], getattr(one, column)
        if not told:
            continue
        try:
            told = name(told, column)
        except Invalid as error:
            return Problem(row.line, "NAME_INVALID", error.message, column)
        if known and known != told:
            message = "An earlier line with this login has another name."
            return Problem(row.line, "NAME_DIFFERS", message, column)
        setattr(one, column, told)
    try:
        one.email = optional_email(row["email"] or None, "email") or one.email
    except Invalid as error:
        return Problem(row.line, "EMAIL_INVALID", error.message, "email")
    return None


def _held(row: Row, one: Somebody) -> Problem | None:
    path = path_of(row)
    if isinstance(path, Problem):
        return path
    role = row["role"].lower()
    if not role:
        missing = Problem(row.line, "ROLE_MISSING", "A unit without a role says nothing.", "role")
        return missing if path else None
    if role not in LOWEST or role in OF_LINKS:
        return Problem(row.line, "UNKNOWN_ROLE", "There is no such role.", "role")
    place = _folded(path)
    if any(held.role == role and _folded(held.path) == place for held in one.roles):
        return Problem(row.line, "REPEATED", "An earlier line says the same.")
    one.roles.append(Role(row.line, role, path))
    return None


def _folded(path: Path) -> tuple[str, ...]:
    return tuple(f"{level.value}:{told.casefold()}" for level, told in path)


class Units:
    """Finds the units of a tree by the names along their path."""

    def __init__(self, units: Iterable[Any]) -> None:
        self._root, self._by_path = by_names(units)

    def at(self, role: Role) -> Any:
        """The unit of a line, or what is wrong with it (a Problem)."""
        at = self._root
        for level, told in role.path:
            at = self._by_path.get((at.id, told.casefold()))
            if at is None or at.level != level:
                return Problem(
                    role.line,
                    "UNIT_UNKNOWN",
                    "There is no such unit; its path is named whole.",
                    level.value,
                )
        if not at.active:
            return Problem(role.line, "UNIT_CLOSED", "This unit is closed.", role.path[-1][0].value)
        return at


async def known(
    session: AsyncSession, agent: Agent, people: Iterable[Somebody]
) -> dict[str, Person]:
    """Those of them who are there already, by login."""
    logins = [one.login for one in people]
    query = select(Person).where(Person.tenant_id == agent.tenant_id, Person.user_name.in_(logins))
    return {person.user_name: person for person in await session.scalars(query)}
