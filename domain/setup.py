"""Links by which a customer's IT sets its health system up: what they give the right to, and until when."""

import datetime as dt
import uuid
from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    LargeBinary,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified
from domain.people import Role


class Scope(StrEnum):
    """What a link gives the right to: the tree, people and their roles, or how they log in (MFA, SSO, SCIM)."""

    TREE = "tree"
    PEOPLE = "people"
    IDENTITY = "identity"


ROLES = {
    Scope.TREE: Role.SETUP_TREE,
    Scope.PEOPLE: Role.SETUP_PEOPLE,
    Scope.IDENTITY: Role.SETUP_IDENTITY,
}
SOURCE = "setup"
"""Of the person and the grants that a link brings along: nobody logs in as this person."""


class SetupLink(Identified):
    """A link. Its text is kept as SHA-256 and good once; what is got for it is kept so too (`session_hash`).

    `person_id` is whom its holder acts as. `first_passwords`: sealed, of the first two people, handed over once.
    `made_by` is an operator of the platform.
    """

    __tablename__ = "setup_link"
    __resource__ = "tenant"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        UniqueConstraint("tenant_id", "token_hash"),
        UniqueConstraint("tenant_id", "session_hash"),
        CheckConstraint(
            "octet_length(token_hash) = 32 and octet_length(session_hash) = 32", name="hash"
        ),
        CheckConstraint("(redeemed_at is null) = (session_hash is null)", name="redeemed"),
        CheckConstraint(
            "scopes <@ array['tree', 'people', 'identity'] and cardinality(scopes) > 0",
            name="scopes",
        ),
    )

    person_id: Mapped[uuid.UUID]
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    session_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    first_passwords: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[dt.datetime]
    redeemed_at: Mapped[dt.datetime | None]
    ended_at: Mapped[dt.datetime | None]
    made_by: Mapped[uuid.UUID]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
