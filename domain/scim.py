"""What directories push at a health system over SCIM: their bearer tokens, users, groups and who is in them.

A `person` is who may log in; a `scim_user` is the same somebody in the words of the directory, under the same id.
"""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Base, Identified, Stamped


class ScimToken(Identified):
    """A bearer token of a directory. Only the SHA-256 of its text is kept; several may live at once, for rotation.

    `warned_days`: of the terms of warning before its end, the last that administrators were written to about.
    """

    __tablename__ = "scim_token"
    __resource__ = "tenant"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        UniqueConstraint("tenant_id", "token_hash"),
        CheckConstraint("octet_length(token_hash) = 32", name="hash"),
        CheckConstraint("scopes <@ array['read', 'users', 'groups']", name="scopes"),
    )

    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    expires_at: Mapped[dt.datetime]
    revoked_at: Mapped[dt.datetime | None]
    last_used_at: Mapped[dt.datetime | None]
    warned_days: Mapped[int | None] = mapped_column(SmallInteger)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class ScimUser(Stamped, Identified):
    """A person as the directory describes them (RFC 7643, section 4.1). `id` is the person's.

    `user_name`, `email` and `employee_number` are folded for comparing (NFC, lower case), `external_id` is as it was
    said; `doc` is the resource as it was said, without what has a place of its own. `active` is the directory's word:
    the person may be shut out for other reasons. From `deleted_at` on the directory sees nothing of them.
    """

    __tablename__ = "scim_user"
    __resource__ = "person"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "id"], ["person.tenant_id", "person.id"]),
        UniqueConstraint("tenant_id", "user_name"),
        UniqueConstraint("tenant_id", "npi"),
        Index("ix_scim_user_external_id", "tenant_id", "external_id"),
        Index("ix_scim_user_employee_number", "tenant_id", "employee_number"),
        Index(
            "ix_scim_user_present",
            "tenant_id",
            "id",
            postgresql_where=text("deleted_at is null"),
        ),
    )

    user_name: Mapped[str]
    external_id: Mapped[str | None]
    employee_number: Mapped[str | None]
    npi: Mapped[str | None]
    active: Mapped[bool]
    doc: Mapped[dict[str, Any]]
    deleted_at: Mapped[dt.datetime | None]


class ScimEmail(Base):
    """An address of a user, folded for comparing: what directories look people up by."""

    __tablename__ = "scim_email"
    __resource__ = "person"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["scim_user.tenant_id", "scim_user.id"]),
        Index("ix_scim_email_address", "tenant_id", "address"),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)


class ScimGroup(Stamped, Identified):
    """A group of the directory (RFC 7643, section 4.2); by itself it gives nobody anything.

    `display_key` is the name folded for comparing, unique among those that are there.
    """

    __tablename__ = "scim_group"
    __resource__ = "tenant"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        Index(
            "uq_scim_group_display_key",
            "tenant_id",
            "display_key",
            unique=True,
            postgresql_where=text("deleted_at is null"),
        ),
        Index("ix_scim_group_external_id", "tenant_id", "external_id"),
    )

    display_name: Mapped[str]
    display_key: Mapped[str]
    external_id: Mapped[str | None]
    doc: Mapped[dict[str, Any]]
    deleted_at: Mapped[dt.datetime | None]


class ScimMembership(Base):
    """Somebody, or another group, is in a group: `member_id` is the user's or the subgroup's."""

    __tablename__ = "scim_membership"
    __resource__ = "tenant"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "group_id"], ["scim_group.tenant_id", "scim_group.id"]),
        ForeignKeyConstraint(["tenant_id", "user_id"], ["scim_user.tenant_id", "scim_user.id"]),
        ForeignKeyConstraint(
            ["tenant_id", "subgroup_id"],
            ["scim_group.tenant_id", "scim_group.id"],
            name="fk_scim_membership_subgroup",
        ),
        CheckConstraint(
            "num_nonnulls(user_id, subgroup_id) = 1 and member_id = coalesce(user_id, subgroup_id)",
            name="one_member",
        ),
        CheckConstraint("group_id <> member_id", name="not_in_itself"),
        Index("ix_scim_membership_member", "tenant_id", "member_id"),
    )

    group_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    member_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID | None]
    subgroup_id: Mapped[uuid.UUID | None]
