"""The directory's rules as units know them: read once, held while a unit writes, and compared with what was read.

A unit waits for no lock, for others stand behind it: where somebody is changing the rules just now, or has changed
them since they were read, it writes nothing, and the change goes the long way.
"""

import uuid
from collections import OrderedDict
from dataclasses import dataclass

from domain.audit import Agent
from domain.pipeline import Row, Statement
from identity.assertions import Asserted
from identity.mapping_sources import SCIM, SEED, Matching, Source, lock_of
from identity.scim.units import Unit, encoded

KEPT = 200
"""So many health systems' rules a process keeps."""

_FORCE = """
from role_mapping r
where r.tenant_id = $1::uuid and r.source = $2 and r.source_ref = '' and r.ended_at is null
    and (r.valid_until is null or r.valid_until > $3::timestamptz)"""
_MARK = "coalesce(md5(string_agg(r.id::text || ' ' || r.version, ',' order by r.id)), '')"
_MARKED = f"select {_MARK} {_FORCE}"
_RULES = f"""
with force as materialized (select r.id, r.version, r.attribute, r.match, r.value {_FORCE})
select (select {_MARK} from force r), r.id, r.attribute, r.match, r.value from force r"""  # noqa: S608 (constants)

_HOLD = f"""
select set_config('app.rules_held', pg_try_advisory_xact_lock_shared(hashtextextended($1, {SEED}))::text, true)
    is null"""


@dataclass(frozen=True)
class _Rule:
    """What is compared of a rule."""

    id: uuid.UUID
    attribute: str
    match: str
    value: str


@dataclass(frozen=True)
class Rules:
    """The rules in force, and the mark of them: of other rules, or changed ones, it is another."""

    mark: bytes
    matching: Matching[_Rule]

    def ask_for(self, values: Asserted) -> bool:
        """Whether one of them asks for what is said."""
        return bool(self.matching.of(values))


_kept: OrderedDict[uuid.UUID, Rules] = OrderedDict()


def marked(agent: Agent) -> Statement:
    """The mark of the rules in force now, as its one row."""
    return Statement(_MARKED, _of(agent))


async def rules(unit: Unit, agent: Agent, mark: Row) -> Rules:
    """The rules of this mark, or newer ones, which have another. Raises DatabaseError."""
    found = _kept.get(unit.tenant_id)
    if found is None or found.mark != mark[0]:
        (rows,) = await unit.run(Statement(_RULES, _of(agent)))
        made = [_rule(row[1:]) for row in rows]
        found = _kept[unit.tenant_id] = Rules((rows[0][0] if rows else None) or b"", Matching(made))
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return found


def hold(agent: Agent) -> Statement:
    """Hold the rules until the unit ends, if nobody is changing them: a statement of its own, before those that write.

    What follows it sees all that was committed until then.
    """
    return Statement(_HOLD, (lock_of(agent.tenant_id, Source(SCIM)).encode(),))


def held(now: str, mark: str) -> str:
    """The condition, in SQL, that the rules are held and have this mark still; parameters by their numbers."""
    force = _FORCE.replace("$2", f"'{SCIM}'").replace("$3", now)
    return f"current_setting('app.rules_held', true) = 'true' and {mark} = (select {_MARK} {force})"


def _of(agent: Agent) -> tuple[bytes | None, ...]:
    return encoded(agent.tenant_id), SCIM.encode(), encoded(agent.now)


def _rule(row: Row) -> _Rule:
    of, *said = [(value or b"").decode() for value in row]
    return _Rule(uuid.UUID(of), *said)
