"""The health system and its tree: Health System > Region > Clinic > Department."""

import datetime as dt
import uuid
import zoneinfo
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Computed,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent, record
from domain.errors import Invalid, NotFound
from domain.model import Base, Identified, Stamped, new_id, one_of
from domain.plain_text import name as a_name
from domain.versions import change


class TenantState(StrEnum):
    """A suspended health system answers nobody; its data stay."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class PolicyVariant(StrEnum):
    """Whether administrators inherit a provider's view of clinical data or need break-glass for it."""

    ADMINS_INHERIT = "admins_inherit"
    ADMINS_BREAK_GLASS = "admins_break_glass"


class MfaPolicy(StrEnum):
    """Who must show a second factor."""

    NONE = "none"
    ADMINS = "admins"
    ALL = "all"


class JitMode(StrEnum):
    """Whose logins make people who were not there: those of any identity provider, of those that say so, of none."""

    ALL = "all"
    RESTRICTED = "restricted"
    OFF = "off"


class Level(StrEnum):
    """The four levels of the tree, from the top."""

    SYSTEM = "system"
    REGION = "region"
    CLINIC = "clinic"
    DEPARTMENT = "department"


class Tenant(Stamped, Base):
    """A health system as its cell knows it. `tree_version` rises with every change of the tree.

    `second_approval`: two administrators have to agree on who administers and who watches over them.
    `mfa_policy`, `mfa_methods`: who needs a second factor, and which kinds count, the one that logins set up first; who
    comes under it has `mfa_grace_days` for setting one up. It holds for administrators and for all since
    `mfa_admins_since`, `mfa_all_since` (null: always, or not at all); the function `configure_mfa` alone writes these.
    `session_idle`, `session_max`: seconds that a login lasts without use, and at the most.
    A token issued before `tokens_valid_from` is refused, whoever holds it.

    Directories may shut out `departures_percent` of those whom they pushed in a day, but no fewer than `departures_few`
    and no more than `departures_most`, before the others are held.

    `currency_digits` is how many of an amount's digits are minor units (ISO 4217: USD 2, JPY 0, KWD 3).
    """

    __tablename__ = "tenant"
    __resource__ = "tenant"
    __vouches__ = True
    __table_args__ = (
        one_of("state", TenantState),
        one_of("policy_variant", PolicyVariant),
        one_of("mfa_policy", MfaPolicy),
        one_of("jit_mode", JitMode),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
        CheckConstraint("currency_digits between 0 and 4", name="currency_digits"),
        CheckConstraint(
            "mfa_methods <@ array['totp', 'passkey', 'recovery'] and mfa_methods && array['totp', 'passkey']",
            name="mfa_methods",
        ),
        CheckConstraint("mfa_grace_days between 0 and 90", name="mfa_grace"),
        CheckConstraint(
            "session_idle between 60 and session_max and session_max <= 86400", name="session"
        ),
        CheckConstraint(
            "departures_few between 1 and departures_most and departures_few <= 100 and departures_most <= 2000"
            " and departures_percent between 1 and 50",
            name="departures",
        ),
    )

    slug: Mapped[str]
    name: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="active")
    currency: Mapped[str] = mapped_column(server_default="USD")
    currency_digits: Mapped[int] = mapped_column(SmallInteger, server_default="2")
    policy_variant: Mapped[str] = mapped_column(server_default="admins_inherit")
    viewer_clinical: Mapped[bool] = mapped_column(server_default="false")
    mfa_policy: Mapped[str] = mapped_column(server_default="none")
    second_approval: Mapped[bool] = mapped_column(server_default="true")
    mfa_methods: Mapped[list[str]] = mapped_column(
        ARRAY(Text()), server_default="{totp,passkey,recovery}"
    )
    mfa_grace_days: Mapped[int] = mapped_column(server_default="0")
    mfa_admins_since: Mapped[dt.datetime | None]
    mfa_all_since: Mapped[dt.datetime | None]
    jit_mode: Mapped[str] = mapped_column(server_default="restricted")
    session_idle: Mapped[int] = mapped_column(server_default="1800")
    session_max: Mapped[int] = mapped_column(server_default="36000")
    departures_few: Mapped[int] = mapped_column(server_default="10")
    departures_most: Mapped[int] = mapped_column(server_default="200")
    departures_percent: Mapped[int] = mapped_column(server_default="10")
    tokens_valid_from: Mapped[dt.datetime | None]
    tree_version: Mapped[int] = mapped_column(server_default="1")
    settings: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


# As PostgreSQL writes them, so that they can be compared with the database.
_COMPUTED = {
    "parent_level": "case level when 'region'::text then 'system'::text"
    " when 'department'::text then 'clinic'::text else null::text end",
    "above_clinics": "level = any (array['system'::text, 'region'::text])",
    "below_regions": "case when (level = 'clinic'::text) then true else null::boolean end",
}


def _computed(name: str) -> Computed:
    return Computed(_COMPUTED[name], persisted=True)


class OrgUnit(Stamped, Identified):
    """A node of the tree. A clinic's `clinic_id` is its own id, a department's its clinic's; above it is null.

    The last three columns are the database's own: by them foreign keys hold each unit below a level that may hold it.
    """

    __tablename__ = "org_unit"
    __resource__ = "org_unit"
    __table_args__ = (
        one_of("level", Level),
        CheckConstraint(
            "case level when 'clinic' then clinic_id = id when 'department' then clinic_id = parent_id"
            " else clinic_id is null end",
            name="clinic_of_level",
        ),
        CheckConstraint("(level = 'system') = (parent_id is null)", name="root_is_system"),
        CheckConstraint("level <> 'clinic' or zone is not null", name="clinic_has_zone"),
        UniqueConstraint("tenant_id", "id", "clinic_id"),
        UniqueConstraint("tenant_id", "id", "level", name="uq_org_unit_level"),
        UniqueConstraint("tenant_id", "id", "above_clinics", name="uq_org_unit_above_clinics"),
        ForeignKeyConstraint(
            ["tenant_id", "parent_id", "parent_level"],
            ["org_unit.tenant_id", "org_unit.id", "org_unit.level"],
            name="fk_org_unit_parent_level",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "parent_id", "below_regions"],
            ["org_unit.tenant_id", "org_unit.id", "org_unit.above_clinics"],
            name="fk_org_unit_below_regions",
        ),
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        ForeignKeyConstraint(
            ["tenant_id", "parent_id"],
            ["org_unit.tenant_id", "org_unit.id"],
            name="fk_org_unit_parent",
        ),
        Index("ix_org_unit_parent", "tenant_id", "parent_id"),
        Index(
            "uq_org_unit_one_root", "tenant_id", unique=True, postgresql_where="level = 'system'"
        ),
    )

    parent_id: Mapped[uuid.UUID | None]
    clinic_id: Mapped[uuid.UUID | None]
    level: Mapped[str]
    name: Mapped[str]
    zone: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default="true")
    parent_level: Mapped[str | None] = mapped_column(_computed("parent_level"), sort_order=101)
    above_clinics: Mapped[bool | None] = mapped_column(_computed("above_clinics"), sort_order=102)
    below_regions: Mapped[bool | None] = mapped_column(_computed("below_regions"), sort_order=103)


class Place(Protocol):
    """A unit as commands need it: the row of `org_unit`, or a node of the cached tree."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def clinic_id(self) -> uuid.UUID | None: ...
    @property
    def active(self) -> bool: ...


def clinic_of(place: Place) -> uuid.UUID:
    """The clinic of a place where patients are seen. Raises Invalid for units above clinics and closed ones."""
    if place.clinic_id is None:
        raise Invalid(
            "Patients are seen at clinics and departments.", path=("unit",), code="NOT_A_CLINIC"
        )
    if not place.active:
        raise Invalid("This unit is closed.", path=("unit",), code="UNIT_CLOSED")
    return place.clinic_id


BELOW = {
    Level.SYSTEM: (Level.REGION, Level.CLINIC),
    Level.REGION: (Level.CLINIC,),
    Level.CLINIC: (Level.DEPARTMENT,),
}
"""What may be made under a unit of each level, the usual first: a small system has its clinics right below it."""


async def add_unit(
    session: AsyncSession,
    agent: Agent,
    parent: OrgUnit | None,
    name: str,
    *,
    level: Level | None = None,
    zone: str | None = None,
    unit_id: uuid.UUID | None = None,
) -> OrgUnit:
    """Make a unit below `parent`, by default of the next level; without a parent the root. A clinic has an IANA zone.

    Raises Invalid: a name without letters, an unknown zone, a closed parent, nothing below a department, a level
    that does not lie below the parent's. Writes org_unit and the tenant's versions.
    """
    below = (Level.SYSTEM,) if parent is None else BELOW.get(Level(parent.level), ())
    if not below:
        raise Invalid("A department has no units below it.", path=("parent",), code="NO_UNIT_BELOW")
    level = level or below[0]
    if level not in below:
        message = "A unit of this level does not lie there."
        raise Invalid(message, path=("level",), code="LEVEL_DOES_NOT_FIT")
    if parent is not None and not parent.active:
        raise Invalid("This unit is closed.", path=("parent",), code="UNIT_CLOSED")
    if level is Level.CLINIC and zone is None:
        raise Invalid("A clinic has a time zone.", path=("zone",))
    await require_zone(session, None if zone is None else known_zone(zone))
    made_id = unit_id or new_id()
    clinic = {Level.CLINIC: made_id, Level.DEPARTMENT: parent.id if parent else None}
    unit = OrgUnit(
        tenant_id=agent.tenant_id,
        id=made_id,
        parent_id=parent.id if parent else None,
        clinic_id=clinic.get(level),
        level=level.value,
        name=a_name(name, "name"),
        zone=None if zone is None else known_zone(zone),
        active=True,
        version=1,
    )
    await raise_tree_version(session, agent)
    session.add(unit)
    await session.flush()
    record(session, agent, "org_unit:create", unit.id, clinic_id=unit.clinic_id)
    return unit


async def rename_unit(
    session: AsyncSession, agent: Agent, unit: OrgUnit, name: str, version: int
) -> OrgUnit:
    """Give a unit another name. Raises Invalid, StaleVersion."""
    await raise_tree_version(session, agent)
    renamed = await change(session, agent, unit, version, name=a_name(name, "name"))
    record(session, agent, "org_unit:rename", renamed.id, clinic_id=renamed.clinic_id)
    return renamed


async def move_clinic(
    session: AsyncSession, agent: Agent, clinic: OrgUnit, region: OrgUnit, version: int
) -> OrgUnit:
    """Put a clinic under another region of the tenant. Raises Invalid, StaleVersion."""
    can_move(clinic, region)
    await raise_tree_version(session, agent)
    moved = await change(session, agent, clinic, version, parent_id=region.id)
    record(session, agent, "org_unit:move", moved.id, region.id, clinic_id=moved.id)
    return moved


def can_move(clinic: OrgUnit, region: OrgUnit) -> None:
    """Raises Invalid where the one is no clinic, or the other no open region beside its own."""
    if clinic.level != Level.CLINIC:
        raise Invalid("Only clinics move.", path=("id",), code="NOT_A_CLINIC")
    if region.level != Level.REGION:
        raise Invalid("A clinic moves between regions.", path=("region",), code="NOT_A_REGION")
    if not region.active:
        raise Invalid("This region is closed.", path=("region",), code="UNIT_CLOSED")
    if clinic.parent_id == region.id:
        raise Invalid("The clinic lies there already.", path=("region",), code="THERE_ALREADY")


async def close_unit(session: AsyncSession, agent: Agent, unit: OrgUnit, version: int) -> OrgUnit:
    """Close a unit that has no open unit below it; its rows stay readable. Raises Invalid, StaleVersion."""
    if unit.level == Level.SYSTEM:
        raise Invalid("The health system itself is not closed here.", path=("id",))
    if not unit.active:
        raise Invalid("This unit is closed.", path=("id",), code="UNIT_CLOSED")
    await raise_tree_version(session, agent)
    below = select(OrgUnit.id).where(
        OrgUnit.tenant_id == agent.tenant_id, OrgUnit.parent_id == unit.id, OrgUnit.active
    )
    if await session.scalar(below.limit(1)):
        raise Invalid("Close the units below it first.", path=("id",), code="HAS_OPEN_UNITS")
    closed = await change(session, agent, unit, version, active=False)
    record(session, agent, "org_unit:close", closed.id, clinic_id=closed.clinic_id)
    return closed


async def raise_tree_version(session: AsyncSession, agent: Agent) -> int:
    """The next version of the tree; until the end of the transaction nobody else changes the tree.

    The tenant's own version rises too: that is what tells every cached actor to load the tree anew.
    """
    raised = await session.scalar(
        update(Tenant)
        .where(Tenant.tenant_id == agent.tenant_id)
        .values(
            tree_version=Tenant.tree_version + 1,
            version=Tenant.version + 1,
            updated_at=agent.now,
        )
        .returning(Tenant.tree_version),
        execution_options={"synchronize_session": False},
    )
    if raised is None:
        raise NotFound()
    return int(raised)


async def require_zone(session: AsyncSession, zone: str | None) -> None:
    """Raises Invalid for a zone that the database does not know: its list may be older than ours.

    One such row would fail every statement that tells the time by its row's zone.
    """
    if zone is None:
        return
    zones = func.pg_timezone_names().table_valued("name", name="zones")
    if not await session.scalar(select(func.count()).where(zones.c.name == zone)):
        raise Invalid("This is no IANA time zone.", path=("zone",))


def known_zone(zone: str) -> str:
    """The zone itself, if the IANA database has it by region and place, or UTC. Raises Invalid.

    Other names ("localtime", "Factory") are the machine's own, and PostgreSQL does not know them.
    """
    if zone != "UTC" and ("/" not in zone or zone not in zoneinfo.available_timezones()):
        raise Invalid("This is no IANA time zone.", path=("zone",))
    return zone
