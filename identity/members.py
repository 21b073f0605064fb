"""What is read of a person and their health system when they come: the statements, and what their rows say."""

import datetime as dt
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson

from authz.actor import Grant
from authz.grants import SECOND_FACTOR
from authz.templates import Policy
from authz.tree import Tree
from domain.organization import MfaPolicy
from domain.pipeline import Row
from domain.second_factors import MfaMethod
from identity.mfa import MfaRule

PERSON = """\
select json_build_object('id', p.id, 'user_name', p.user_name, 'version', p.version,
    'tokens_valid_from', greatest(p.tokens_valid_from, t.tokens_valid_from), 'tenant_version', t.version,
    'tree_version', t.tree_version, 'session_max', t.session_max,
    'mfa_policy', t.mfa_policy, 'mfa_methods', t.mfa_methods, 'mfa_grace_days', t.mfa_grace_days,
    'mfa_admins_since', t.mfa_admins_since, 'mfa_all_since', t.mfa_all_since,
    'joined', p.created_at, 'second_factor_at', p.second_factor_at,
    'administers', (select min(g.valid_from) from role_grant g
        where g.tenant_id = $1::uuid and g.person_id = p.id and g.role = any ($5::text[])),
    'policy_variant', t.policy_variant, 'viewer_clinical', t.viewer_clinical,
    'practitioner_id', (select r.id from practitioner r
        where r.tenant_id = $1::uuid and r.person_id = p.id and r.active),
    'grants', (select coalesce(json_agg(row_to_json(g)), '[]') from (
        select g.id, g.role, g.unit_id, g.valid_from, g.valid_until, g.source, g.granted_by, g.reason
        from role_grant g where g.tenant_id = $1::uuid and g.person_id = p.id
            and (g.valid_until is null or g.valid_until > $3::timestamptz)
        order by g.id) g))
from person p join tenant t on t.tenant_id = $1::uuid
where p.tenant_id = $1::uuid and p.subject = $2 and p.active and t.state = 'active'
    and ($4::uuid is null or exists (select 1 from identity_provider i
        where i.tenant_id = $1::uuid and i.id = $4::uuid and i.state = 'active'))"""

# For an issuer of our own: its subjects are ids of people, and each session came by a provider.
PERSON_BY_ID = PERSON.replace("p.subject = $2", "p.id = $2::uuid").replace(
    "$4::uuid is null or ", ""
)

# This login through a provider, once it was looked at and let in: when a second factor was proven there, where what
# the provider asserts is one by what is said of it now.
ARRIVED = """\
select s.contexts && i.mfa_contexts, s.proven_at
from sign_in s join identity_provider i on i.tenant_id = $1::uuid and i.id = $3::uuid
where s.tenant_id = $1::uuid and s.sid = $2 and s.identity_provider_id = $3::uuid
    and s.authenticated_at = $4::timestamptz and s.outcome = 'admitted'"""

# Nothing, where the tree of the present version is in memory already.
TREE = """\
select json_build_object('version', t.tree_version, 'units', (select json_agg(row_to_json(u)) from (
    select u.id, u.parent_id, u.level, u.clinic_id, u.name, u.zone, u.active
    from org_unit u where u.tenant_id = $1::uuid) u))
from tenant t where t.tenant_id = $1::uuid and t.tree_version <> $2::int"""

# The roles that `admins` means, as an array.
ADMINS = ("{" + ",".join(sorted(SECOND_FACTOR)) + "}").encode()


@dataclass(frozen=True, slots=True)
class Member:
    """What was read of a person and their health system. `grants` are all that have not ended.

    `administers` is since when they first held a role that `mfa` means by administrators. `asserted`: their provider
    says that they showed a second factor at this login, `asserted_at` when, if it says so.
    """

    id: UUID
    practitioner_id: UUID | None
    user_name: str
    grants: tuple[Grant, ...]
    tree: Tree
    policy: Policy
    mfa: MfaRule
    joined: dt.datetime
    administers: dt.datetime | None
    second_factor_at: dt.datetime | None
    session_max: int
    tokens_valid_from: dt.datetime | None
    version: int
    tenant_version: int
    asserted: bool = False
    asserted_at: dt.datetime | None = None


def member_of(row: dict[str, Any], tree: Tree, policy: Policy) -> Member:
    """The person of a row of PERSON."""
    return Member(
        id=UUID(row["id"]),
        practitioner_id=_uuid(row["practitioner_id"]),
        user_name=row["user_name"],
        grants=tuple(_grant(g) for g in row["grants"]),
        tree=tree,
        policy=policy,
        mfa=MfaRule(
            MfaPolicy(row["mfa_policy"]),
            tuple(map(MfaMethod, row["mfa_methods"])),
            dt.timedelta(days=row["mfa_grace_days"]),
            instant(row["mfa_admins_since"]),
            instant(row["mfa_all_since"]),
        ),
        joined=dt.datetime.fromisoformat(row["joined"]),
        administers=instant(row["administers"]),
        second_factor_at=instant(row["second_factor_at"]),
        session_max=row["session_max"],
        tokens_valid_from=instant(row["tokens_valid_from"]),
        version=row["version"],
        tenant_version=row["tenant_version"],
    )


def _grant(row: dict[str, Any]) -> Grant:
    return Grant(
        id=UUID(row["id"]),
        role=row["role"],
        unit_id=UUID(row["unit_id"]),
        valid_from=dt.datetime.fromisoformat(row["valid_from"]),
        valid_until=instant(row["valid_until"]),
        source=row["source"],
        granted_by=_uuid(row["granted_by"]),
        reason=row["reason"],
    )


def tree_of(tenant_id: UUID, document: dict[str, Any]) -> Tree:
    """The tree of a row of TREE."""
    units = (
        SimpleNamespace(
            **unit
            | {
                "id": UUID(unit["id"]),
                "parent_id": _uuid(unit["parent_id"]),
                "clinic_id": _uuid(unit["clinic_id"]),
            }
        )
        for unit in document["units"] or ()
    )
    return Tree.build(tenant_id, document["version"], units)


def document(row: Row) -> dict[str, Any]:
    """The JSON that is a row's only column."""
    read: dict[str, Any] = orjson.loads(row[0] or b"{}")
    return read


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None


def instant(text: str | None) -> dt.datetime | None:
    """An instant as PostgreSQL or its JSON writes it."""
    return dt.datetime.fromisoformat(text) if text else None
