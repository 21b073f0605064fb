"""The control plane: which health systems exist, in which cell they live and who proves their people's identity.

It has metadata and migrations of its own and no foreign key into a cell. No patient, person or grant is here.
The API's database role reads `identity_cluster` and `tenant`; `service_account` is the worker's alone.
"""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
    func,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from domain.model import NAMES, new_id, one_of

REALM_NAME = "^o[0-9a-z]{12,}$"
SLUG = "^[a-z][a-z0-9-]{1,38}[a-z0-9]$"


class RegistryState(StrEnum):
    """CREATING until a health system is ready to log in; a SUSPENDED one is refused everywhere.

    From ERASING nothing leads back; of an ERASED one only this row is left, so that nobody gets its slug.
    """

    CREATING = "creating"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    ERASING = "erasing"
    ERASED = "erased"


STANDING = (RegistryState.ACTIVE.value, RegistryState.SUSPENDED.value)
"""Made, and not about to go."""


class Tier(StrEnum):
    """How many health systems share the cell: many, few, one."""

    SHARED = "shared"
    ENHANCED = "enhanced"
    DEDICATED = "dedicated"


class ControlBase(DeclarativeBase):
    """Every table of the control plane, in the schema `control`."""

    metadata = MetaData(schema="control", naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        uuid.UUID: Uuid(),
        str: Text(),
        bytes: LargeBinary(),
        dt.datetime: DateTime(timezone=True),
    }


class IdentityCluster(ControlBase):
    """A Keycloak installation. Its realms are ours to count: it slows down as they grow, so there is a cap.

    `url` is where the worker and the API reach it, `public_url` what browsers and issuers say; no trailing slash.
    """

    __tablename__ = "identity_cluster"
    __table_args__ = (CheckConstraint("realm_cap > 0", name="realm_cap"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=lambda: new_id())
    name: Mapped[str] = mapped_column(unique=True)
    region: Mapped[str]
    url: Mapped[str]
    public_url: Mapped[str]
    realm_cap: Mapped[int] = mapped_column(default=150, server_default="150")


class TenantEntry(ControlBase):
    """A health system: its cell, its realm, its issuer. `epoch` rises whenever routing or state change."""

    __tablename__ = "tenant"
    __table_args__ = (
        one_of("state", RegistryState),
        one_of("tier", Tier),
        CheckConstraint(f"realm ~ '{REALM_NAME}'", name="realm_is_opaque"),
        CheckConstraint(f"slug ~ '{SLUG}'", name="slug"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=lambda: new_id())
    slug: Mapped[str] = mapped_column(unique=True)
    cell: Mapped[str]
    region: Mapped[str]
    tier: Mapped[str] = mapped_column(default=Tier.SHARED, server_default="shared")
    identity_cluster_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(IdentityCluster.id))
    realm: Mapped[str] = mapped_column(unique=True)
    issuer: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(default=RegistryState.CREATING, server_default="creating")
    epoch: Mapped[int] = mapped_column(default=1, server_default="1")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class ServiceAccount(ControlBase):
    """The secret of one of a realm's two service accounts, sealed by the key provider."""

    __tablename__ = "service_account"

    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(TenantEntry.id), primary_key=True)
    client_id: Mapped[str] = mapped_column(primary_key=True)
    secret_sealed: Mapped[bytes]


class DomainEntry(ControlBase):
    """An e-mail domain that a health system has proven, and the provider at which its people log in.

    `direct`: the API itself speaks with that provider, and not the realm. `closed`: nobody logs in by it at present.
    """

    __tablename__ = "email_domain"

    domain: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(TenantEntry.id))
    identity_provider_id: Mapped[uuid.UUID]
    direct: Mapped[bool] = mapped_column(server_default="false")
    closed: Mapped[bool] = mapped_column(server_default="false")
