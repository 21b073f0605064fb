"""What rules are made of: whose word counts, what is compared, who holds what by it.

`identity/mapping_plans.py` works out what follows for people, `identity/role_mappings.py` carries it out.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Generic, Protocol, Self, TypeVar

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.model import any_of
from domain.people import RoleGrant
from domain.role_mappings import Match, RoleMapping
from identity.assertions import Asserted

IDP = "idp"
SCIM = "scim"
SEED = 3
"""Of the hashes that rules are locked by; other locks of ours have other seeds."""
TRIED = 2_000
"""So many values are kept with the patterns that they match."""
Place = tuple[str, uuid.UUID]
"""A role at a unit."""


@dataclass(frozen=True)
class Source:
    """Whose word it is, as grants and rules name it: `idp` and the provider's id, or `scim`."""

    kind: str
    ref: str = ""

    @classmethod
    def of(cls, provider_id: uuid.UUID) -> Self:
        """What a provider says."""
        return cls(IDP, str(provider_id))


class Compared(Protocol):
    """A rule, as far as it is compared."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def attribute(self) -> str: ...
    @property
    def match(self) -> str: ...
    @property
    def value(self) -> str: ...


Rule = TypeVar("Rule", bound=Compared)


class Matching(Generic[Rule]):
    """Rules made ready for many people: those of exact values are looked up, patterns tried once for each value.

    Without regard to case, as directories compare.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self._exact: dict[tuple[str, str], list[Rule]] = {}
        self._patterns: dict[str, list[tuple[str, Rule]]] = {}
        self._tried: dict[tuple[str, str], list[Rule]] = {}
        for rule in rules:
            value = rule.value.casefold()
            if rule.match == Match.PATTERN:
                pattern = (_escaped(value), rule)
                self._patterns.setdefault(rule.attribute, []).append(pattern)
            else:
                self._exact.setdefault((rule.attribute, value), []).append(rule)

    def of(self, values: Asserted) -> list[Rule]:
        """The rules that ask for what is said."""
        found = {
            rule.id: rule
            for attribute, said in values.items()
            for value in said
            for rule in self._of_value(attribute, value.casefold())
        }
        return list(found.values())

    def _of_value(self, attribute: str, value: str) -> list[Rule]:
        key = (attribute, value)
        if attribute in self._patterns and key not in self._tried:
            if len(self._tried) >= TRIED:
                self._tried.clear()
            tried = self._patterns[attribute]
            self._tried[key] = [rule for pattern, rule in tried if fnmatchcase(value, pattern)]
        return self._exact.get(key, []) + self._tried.get(key, [])


def _escaped(pattern: str) -> str:
    """Only `*` is special: brackets and question marks are part of many groups' names."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def lasts(until: dt.datetime | None) -> dt.datetime:
    """When something ends, to compare: None is without end."""
    return until or dt.datetime.max.replace(tzinfo=dt.UTC)


def by_place(rules: Iterable[RoleMapping]) -> dict[Place, RoleMapping]:
    """The places that these rules give, each by the rule that gives it longest, the oldest of equals."""
    out: dict[Place, RoleMapping] = {}
    for rule in sorted(rules, key=lambda rule: rule.id):
        place = (rule.role, rule.unit_id)
        if place not in out or lasts(rule.valid_until) > lasts(out[place].valid_until):
            out[place] = rule
    return out


def lock_of(tenant_id: uuid.UUID, source: Source) -> str:
    """What a source's rules are locked by; PostgreSQL's key is its hash (`SEED`)."""
    return f"{tenant_id}:{source.kind}:{source.ref}"


async def hold_rules(session: AsyncSession, agent: Agent, source: Source) -> None:
    """Let nobody change the rules of a source until the transaction ends; others may hold them too.

    Before they are read. Whoever changes them waits for all who hold them, so what is carried out for everybody
    afterwards (`identity/rule_runs.py`) sees what was written by the old rules, and nobody is missed.
    """
    key = func.hashtextextended(lock_of(agent.tenant_id, source), SEED)
    await session.execute(select(func.pg_advisory_xact_lock_shared(key)))


async def change_rules(session: AsyncSession, agent: Agent, source: Source) -> None:
    """Wait for all who hold the rules of a source, and let nobody read them until the transaction ends."""
    key = func.hashtextextended(lock_of(agent.tenant_id, source), SEED)
    await session.execute(select(func.pg_advisory_xact_lock(key)))


async def rules_of(session: AsyncSession, agent: Agent, source: Source) -> Sequence[RoleMapping]:
    """The rules that count now for a source, oldest first."""
    rules = select(RoleMapping).where(*in_force(agent, source))
    return (await session.scalars(rules.order_by(RoleMapping.id))).all()


def in_force(agent: Agent, source: Source) -> tuple[ColumnElement[bool], ...]:
    """The rules that count now for a source."""
    return (
        RoleMapping.tenant_id == agent.tenant_id,
        RoleMapping.source == source.kind,
        RoleMapping.source_ref == source.ref,
        RoleMapping.ended_at.is_(None),
        or_(RoleMapping.valid_until.is_(None), RoleMapping.valid_until > agent.now),
    )


async def held_of(
    session: AsyncSession, agent: Agent, source: Source, people: Iterable[uuid.UUID]
) -> dict[uuid.UUID, list[RoleGrant]]:
    """What each of these people holds by the source's word."""
    out: dict[uuid.UUID, list[RoleGrant]] = {}
    for grant in await session.scalars(
        select(RoleGrant)
        .where(
            RoleGrant.tenant_id == agent.tenant_id,
            RoleGrant.person_id == any_of(people),
            RoleGrant.source == source.kind,
            RoleGrant.source_ref == source.ref,
            or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > agent.now),
        )
        .order_by(RoleGrant.id),
        execution_options={"populate_existing": True},
    ):
        out.setdefault(grant.person_id, []).append(grant)
    return out


@dataclass
class Concerned:
    """People whose grants of a source are being brought to what its rules say, locked: who is active, what each holds."""

    source: Source
    rules: Sequence[RoleMapping]
    people: Sequence[uuid.UUID]
    active: Set[uuid.UUID]
    held: dict[uuid.UUID, list[RoleGrant]]
