"""From a bearer token to the actor that it stands for.

Three things are kept in memory: verified tokens, what was read of a person (grants, versions), and trees. None of
them is trusted by itself: every unit of statements carries the actor's *stamp*, which finds no row once the person,
their grants, the tenant or the session have changed. Then the actor is loaded anew, once, or refused.
"""

import datetime as dt
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson

from authz.actor import Actor, Session
from authz.grants import counting, next_change
from authz.templates import Policy, Variant, load_policy
from authz.tree import Tree
from domain.model import new_id
from domain.pipeline import Pipeline, Statement
from identity.errors import MfaRequired, NotAdmitted
from identity.members import (
    ADMINS,
    ARRIVED,
    PERSON,
    PERSON_BY_ID,
    TREE,
    Member,
    document,
    instant,
    member_of,
    tree_of,
)
from identity.mfa import LEVEL, administers, enrol_by
from identity.tokens import LEEWAY, Token, Tokens, fingerprint

# Once for each session; whoever comes later finds it there and writes nothing.
_NOTED = """\
insert into login_session (tenant_id, id, person_id, sid, client, started_at)
select $1::uuid, $2::uuid, $3::uuid, $4, $5, $6::timestamptz
where not exists (select 1 from login_session s where s.tenant_id = $1::uuid and s.sid = $4)
on conflict (tenant_id, sid) do nothing"""

# The first time that somebody shows a second factor; from then on they have no time left to set one up.
_SHOWN = """\
update person set second_factor_at = $3::timestamptz
where tenant_id = $1::uuid and id = $2::uuid and second_factor_at is null"""

_REVOKED = "select 1 from revoked_session r where r.tenant_id = $1::uuid and r.sid = $2"

_STAMP = """\
select 1 from person p join tenant t on t.tenant_id = $1::uuid
where p.tenant_id = $1::uuid and p.id = $2::uuid and p.active and p.version = $3::int
    and t.state = 'active' and t.version = $4::int
    and (p.tokens_valid_from is null or p.tokens_valid_from <= $5::timestamptz)
    and not exists (select 1 from revoked_session r where r.tenant_id = $1::uuid and r.sid = $6)"""

# The stamps of many actors of one health system: the places, from 0, of those that find no row.
_FALLEN = """\
select s.n - 1 from rows from (json_to_recordset($2::json) as (person_id uuid, person_version int,
    tenant_version int, issued_at timestamptz, sid text)) with ordinality
    as s(person_id, person_version, tenant_version, issued_at, sid, n)
where not exists (select 1 from person p join tenant t on t.tenant_id = $1::uuid
    where p.tenant_id = $1::uuid and p.id = s.person_id and p.active and p.version = s.person_version
        and t.state = 'active' and t.version = s.tenant_version
        and (p.tokens_valid_from is null or p.tokens_valid_from <= s.issued_at)
        and not exists (select 1 from revoked_session r where r.tenant_id = $1::uuid and r.sid = s.sid))"""


SETUP = "setup_"


def stamp(actor: Actor) -> Statement:
    """One row while everything that the actor was made of still stands, no row otherwise.

    For the same unit as the data that are read for the actor, under the settings of the actor's tenant.
    """
    session = actor.session
    return Statement(
        _STAMP,
        (
            str(actor.tenant_id).encode(),
            str(actor.person_id).encode(),
            b"%d" % actor.person_version,
            b"%d" % actor.tenant_version,
            session.issued_at.isoformat().encode(),
            session.sid.encode(),
        ),
    )


class ActorLoader:
    """Answers who a bearer token stands for. For one event loop.

    `arrive` looks at a login through a health system's own provider once; without it nobody comes in by one. `setup`
    reads the bearer tokens of setup links (`identity/setup.py`), which begin as no signed token does.
    """

    def __init__(
        self,
        tokens: Tokens,
        pipeline: Pipeline,
        *,
        arrive: Callable[[Token, str], Awaitable[None]] | None = None,
        setup: Callable[[str], Awaitable[Token]] | None = None,
        policies: Callable[[Variant], Policy] = load_policy,
        clock: Callable[[], float] = time.time,
        capacity: int = 20_000,
    ) -> None:
        self.tokens = tokens
        self._pipeline = pipeline
        self._arrive = arrive
        self._setup = setup
        self._policies = policies
        self._clock = clock
        self._capacity = capacity
        self._actors: dict[bytes, tuple[Actor, float]] = {}
        self._members: dict[tuple[UUID, str, str, int], Member] = {}
        self._trees: dict[UUID, Tree] = {}
        self._noted: dict[tuple[UUID, str, bool], bool] = {}

    async def actor(self, bearer: str, *, fresh: bool = False) -> Actor:
        """The actor, from memory where they are known; `fresh` reads them anew, for after a stamp found no row.

        Raises TokenRefused, NotAdmitted, AccountHeld, MfaRequired, IdentityUnavailable, and the pipeline's
        DatabaseError.
        """
        digest = fingerprint(bearer)
        if not fresh:
            known = self._actors.get(digest)
            if known is not None and self._clock() < known[1]:
                return known[0]
        if self._setup is not None and bearer.startswith(SETUP):
            token = await self._setup(bearer)
        else:
            token = await self.tokens.verify(bearer)
        try:
            actor = await self._admit(token, bearer, fresh)
        except (MfaRequired, NotAdmitted):
            self._actors.pop(digest, None)
            raise
        await self._note(token, actor)
        _keep(self._actors, digest, (actor, actor.valid_until.timestamp()), self._capacity)
        return actor

    async def _note(self, token: Token, actor: Actor) -> None:
        """Keep that the person has come with this session, where this process does not know it yet."""
        shown = actor.session.mfa and not actor.session.asserted
        key = (actor.tenant_id, token.session, shown)
        if key in self._noted:
            return
        tenant = str(actor.tenant_id)
        noted = (tenant, str(new_id()), str(actor.person_id), token.session, token.client)
        values = [text.encode() for text in (*noted, actor.session.auth_time.isoformat())]
        statements = [Statement(_NOTED, values)]
        if shown:
            statements.append(Statement(_SHOWN, (values[0], values[2], values[5])))
        await self._pipeline.unit((("app.tenant", tenant),), *statements)
        _keep(self._noted, key, True, self._capacity)

    async def fallen(self, actors: Sequence[Actor]) -> list[int]:
        """Where in the sequence the actors stand whose stamp finds no row any more; all of one health system.

        Raises the pipeline's DatabaseError.
        """
        tenant = str(actors[0].tenant_id)
        told = [
            {
                "person_id": actor.person_id,
                "person_version": actor.person_version,
                "tenant_version": actor.tenant_version,
                "issued_at": actor.session.issued_at,
                "sid": actor.session.sid,
            }
            for actor in actors
        ]
        asked = Statement(_FALLEN, (tenant.encode(), orjson.dumps(told)))
        (rows,) = await self._pipeline.unit((("app.tenant", tenant),), asked)
        return [int(row[0] or b"") for row in rows]

    async def _admit(self, token: Token, bearer: str, fresh: bool) -> Actor:
        member = None if fresh else self._members.get(_key(token))
        if member is not None:
            try:
                return admit(token, member, self._clock())
            except (MfaRequired, NotAdmitted):
                pass  # by what was read some time ago; what holds now decides
        member, arrived = await self._read(token)
        if not arrived:
            if self._arrive is None:
                raise NotAdmitted()
            await self._arrive(token, bearer)
            member, arrived = await self._read(token)
        if member is None or not arrived:
            raise NotAdmitted()
        return admit(token, member, self._clock())

    async def _read(self, token: Token) -> tuple[Member | None, bool]:
        """The person, if they may come in, and whether their login needs no look (any more)."""
        tenant_id = token.issuer.tenant_id
        tenant = str(tenant_id).encode()
        now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        tree = self._trees.get(tenant_id)
        version = tree.version if tree else 0
        provider = str(token.provider).encode() if token.provider else None
        sid = token.session.encode()
        person, revoked, grown, arrived = await self._pipeline.unit(
            (("app.tenant", str(tenant_id)),),
            Statement(
                PERSON_BY_ID if token.issuer.direct else PERSON,
                (tenant, token.subject.encode(), now.isoformat().encode(), provider, ADMINS),
            ),
            Statement(_REVOKED, (tenant, sid)),
            Statement(TREE, (tenant, b"%d" % version)),
            Statement(
                ARRIVED, (tenant, sid, provider, _moment(token.auth_time).isoformat().encode())
            ),
        )
        key = _key(token)
        if revoked:
            self._members.pop(key, None)
            raise NotAdmitted()
        known = provider is None or bool(arrived)
        if grown:
            tree = self._trees[tenant_id] = tree_of(tenant_id, document(grown[0]))
        if not person or tree is None or not known:
            self._members.pop(key, None)
            return None, known
        row = document(person[0])
        variant = Variant(row["policy_variant"], row["viewer_clinical"])
        member = member_of(row, tree, self._policies(variant))
        if arrived:
            asserted, at = (value.decode() if value else None for value in arrived[0])
            member = replace(member, asserted=asserted == "t", asserted_at=instant(at))
        _keep(self._members, key, member, self._capacity)
        return member, True


def _key(token: Token) -> tuple[UUID, str, str, int]:
    """Whom a token speaks for; through a provider each login by itself, since each was let in by itself."""
    login = (token.session, token.auth_time) if token.provider else ("", 0)
    return (token.issuer.tenant_id, token.subject, *login)


def admit(token: Token, member: Member, now: float) -> Actor:
    """The actor of a genuine token. Raises NotAdmitted for one from before a cut, MfaRequired by the policy."""
    issued_at = _moment(token.issued_at)
    if member.tokens_valid_from is not None and issued_at < member.tokens_valid_from:
        raise NotAdmitted()
    over = token.auth_time + member.session_max + LEEWAY
    if now >= over:  # the realm may have been told of the limit after it made the token
        raise NotAdmitted()
    moment = _moment(now)
    grants = counting(member.grants, member.tree, moment)
    shown = member.mfa.is_shown(token.acr, token.amr)
    proven_at = _moment(token.auth_time) if shown else member.asserted_at
    held = member.administers if administers(g.role for g in grants) else None
    due = member.mfa.due(member.joined, held)
    until = enrol_by(due, member.second_factor_at, moment)
    if due is not None and until is None and not (shown or member.asserted):
        # Who is at the level already showed a kind that does not count: only a whole new login helps.
        raise MfaRequired(max_age=0 if token.acr == LEVEL else None)
    ends = _moment(min(token.expires_at + LEEWAY, over))
    changes = (next_change(member.grants, moment), until)
    return Actor(
        tenant_id=token.issuer.tenant_id,
        person_id=member.id,
        practitioner_id=member.practitioner_id,
        user_name=member.user_name,
        grants=grants,
        tree=member.tree,
        policy=member.policy,
        session=Session(
            sid=token.session,
            issued_at=issued_at,
            auth_time=_moment(token.auth_time),
            mfa=shown or member.asserted,
            expires_at=_moment(token.expires_at),
            asserted=member.asserted and not shown,
            proven_at=proven_at if shown or member.asserted else None,
            enrol_by=None if shown or member.asserted else until,
        ),
        person_version=member.version,
        tenant_version=member.tenant_version,
        valid_until=min([ends, *(change for change in changes if change is not None)]),
    )


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _keep(cache: dict[Any, Any], key: Any, value: Any, capacity: int) -> None:
    """Remember the newest; beyond the capacity the oldest goes."""
    cache.pop(key, None)
    if len(cache) >= capacity:
        cache.pop(next(iter(cache)))
    cache[key] = value
