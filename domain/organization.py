"""The health system and its tree: Health System > Region > Clinic > Department."""

import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Base, Identified, Stamped, one_of


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


class Level(StrEnum):
    """The four levels of the tree, from the top."""

    SYSTEM = "system"
    REGION = "region"
    CLINIC = "clinic"
    DEPARTMENT = "department"


class Tenant(Stamped, Base):
    """A health system as its cell knows it. `tree_version` rises with every change of the tree.

    `currency_digits` is how many of an amount's digits are minor units (ISO 4217: USD 2, JPY 0, KWD 3).
    """

    __tablename__ = "tenant"
    __resource__ = "tenant"
    __table_args__ = (
        one_of("state", TenantState),
        one_of("policy_variant", PolicyVariant),
        one_of("mfa_policy", MfaPolicy),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
        CheckConstraint("currency_digits between 0 and 4", name="currency_digits"),
    )

    slug: Mapped[str]
    name: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="active")
    currency: Mapped[str] = mapped_column(server_default="USD")
    currency_digits: Mapped[int] = mapped_column(SmallInteger, server_default="2")
    policy_variant: Mapped[str] = mapped_column(server_default="admins_inherit")
    viewer_clinical: Mapped[bool] = mapped_column(server_default="false")
    mfa_policy: Mapped[str] = mapped_column(server_default="none")
    tree_version: Mapped[int] = mapped_column(server_default="1")
    settings: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class OrgUnit(Stamped, Identified):
    """A node of the tree. A clinic's `clinic_id` is its own id, a department's its clinic's; above it is null."""

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
