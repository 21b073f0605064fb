"""Which role at which node follows from what a source says of a person: a group they are in, a department, a title.

One table for logins through identity providers and for SCIM; `identity/role_mappings.py` applies it.
"""

import datetime as dt
import uuid
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified, Stamped, one_of
from domain.people import Role


class Match(StrEnum):
    """How a rule's value is compared: as it is, or as a pattern in which `*` stands for any characters."""

    EXACT = "exact"
    PATTERN = "pattern"


class RoleMapping(Stamped, Identified):
    """Whoever's `attribute` holds a matching value has the role at the node, while the source says so.

    `source` and `source_ref` name whose word counts, as grants have them: `idp` and the provider's id, or `scim`.
    The rule gives nothing from `valid_until` on, nor once it is ended. `created_by` answers for it: it never gives
    anything to them.
    """

    __tablename__ = "role_mapping"
    __resource__ = "tenant"
    __table_args__ = (
        one_of("role", Role),
        one_of("match", Match),
        CheckConstraint("source <> 'local'", name="source"),
        ForeignKeyConstraint(["tenant_id", "unit_id"], ["org_unit.tenant_id", "org_unit.id"]),
        ForeignKeyConstraint(
            ["tenant_id", "created_by"],
            ["person.tenant_id", "person.id"],
            name="fk_role_mapping_created_by",
        ),
        Index("ix_role_mapping_source", "tenant_id", "source", "source_ref"),
        Index("ix_role_mapping_tenant_created", "tenant_id", "created_at", "id"),
    )

    source: Mapped[str]
    source_ref: Mapped[str] = mapped_column(server_default="")
    attribute: Mapped[str]
    match: Mapped[str] = mapped_column(server_default="exact")
    value: Mapped[str]
    role: Mapped[str]
    unit_id: Mapped[uuid.UUID]
    valid_until: Mapped[dt.datetime | None]
    ended_at: Mapped[dt.datetime | None]
    created_by: Mapped[uuid.UUID]
