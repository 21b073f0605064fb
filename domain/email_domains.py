"""E-mail domains that a health system has proven to be its own, by a record in the DNS."""

import datetime as dt
import re
import uuid
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.errors import Invalid
from domain.model import Identified, Stamped, one_of

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
RECORD = "_caretree"
"""The name below the domain at which the record lies, so that it is out of the way of others."""
PREFIX = "caretree-domain="


class DomainState(StrEnum):
    """PENDING until the record was seen once; LOST where it was proven and is there no longer."""

    PENDING = "pending"
    PROVEN = "proven"
    LOST = "lost"


class EmailDomain(Stamped, Identified):
    """A domain; its addresses log in at `identity_provider_id`, and only that provider may assert them.

    `challenge` is what the record has to hold. Proven is a domain while `checked_at` is at most some days ago.
    """

    __tablename__ = "email_domain"
    __resource__ = "tenant"
    __table_args__ = (
        one_of("state", DomainState),
        CheckConstraint("(state = 'pending') = (proven_at is null)", name="proven"),
        CheckConstraint("domain = lower(domain)", name="folded"),
        UniqueConstraint("tenant_id", "domain"),
        ForeignKeyConstraint(
            ["tenant_id", "identity_provider_id"],
            ["identity_provider.tenant_id", "identity_provider.id"],
        ),
    )

    domain: Mapped[str]
    identity_provider_id: Mapped[uuid.UUID]
    challenge: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="pending")
    proven_at: Mapped[dt.datetime | None]
    checked_at: Mapped[dt.datetime | None]


class DomainTaken(Invalid):
    """The health system has this domain already."""

    code = "DOMAIN_TAKEN"
    constraints = ("uq_email_domain_tenant_id_domain",)

    def __init__(self) -> None:
        super().__init__("This domain is there already.", path=("domain",), code=self.code)


def known_domain(value: str, *path: str) -> str:
    """A domain as it is kept: lower case, letters beyond ASCII as IDNA writes them. Raises Invalid."""
    try:
        plain = value.strip().rstrip(".").encode("idna").decode().lower()
    except UnicodeError:
        plain = ""
    labels = plain.split(".")
    if len(plain) > 253 or len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)):
        raise Invalid("This is no domain of e-mail addresses.", path=path)
    return plain


def domain_of(address: str) -> str | None:
    """The domain of an e-mail address as it is kept; None where there is none."""
    try:
        return known_domain(address.rpartition("@")[2]) if "@" in address else None
    except Invalid:
        return None
