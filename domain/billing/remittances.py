"""What payers send, as FHIR JSON: read without trust, known again by its identifier, taken once."""

import uuid
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.billing.money import minor_units
from domain.errors import Invalid
from domain.keys import ExternalReference
from domain.locks import hold
from domain.organization import Tenant
from domain.plain_text import identifier

LARGEST = 5_000_000
"""Bytes of a resource."""
Json = Mapping[str, Any]


def kind_of(raw: bytes) -> str:
    """The type of the resource; empty for what is none."""
    found = _loaded(raw)
    return str(found.get("resourceType") or "") if found else ""


def parsed(raw: bytes, kind: str) -> Json:
    """Raises Invalid for what is no resource of this type."""
    found = _loaded(raw)
    if found is None or found.get("resourceType") != kind:
        raise Invalid(f"This is no FHIR {kind}.", path=("resourceType",))
    return found


def _loaded(raw: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(raw) if len(raw) <= LARGEST else None
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def identity(resource: Json) -> tuple[str, str]:
    """The lasting name of the resource: system and value of its first identifier. Raises Invalid."""
    for given in parts(resource, "identifier"):
        system, value = given.get("system"), given.get("value")
        if isinstance(system, str) and isinstance(value, str) and system and value:
            for text in (system, value):  # kept as it was written, by which it is known again
                identifier(text, "identifier")
            return system, value
    raise Invalid("It has no identifier by which it is known again.", path=("identifier",))


def part(holder: Json, key: str) -> Json:
    """An object inside; an empty one where there is none."""
    found = holder.get(key)
    return found if isinstance(found, dict) else {}


def parts(holder: Json, key: str) -> list[Json]:
    """The objects of a list inside."""
    found = holder.get(key)
    return [p for p in found if isinstance(p, dict)] if isinstance(found, list) else []


def code(holder: Json, key: str) -> str:
    """The first code of a CodeableConcept."""
    codings = parts(part(holder, key), "coding")
    return next((str(c["code"]) for c in codings if c.get("code")), "")


def claim_named(holder: Json) -> uuid.UUID:
    """The claim that `request` refers to. Raises Invalid."""
    text = part(holder, "request").get("reference")
    try:
        return uuid.UUID(str(text).removeprefix("Claim/"))
    except ValueError:
        raise Invalid("It names no claim.", path=("request",)) from None


def minor(holder: Json, key: str, tenant: Tenant, *path: str) -> int:
    """A Money inside, in minor units. Raises Invalid."""
    amount = part(holder, key)
    value = amount.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Invalid("An amount is missing.", path=path)
    try:
        # The shortest text of a JSON number is the number that was written (`money.LARGEST` has few enough digits).
        return minor_units(Decimal(str(value)), str(amount.get("currency")), tenant)
    except InvalidOperation:
        raise Invalid("This is no amount.", path=path) from None


async def taken(
    session: AsyncSession, agent: Agent, kind: str, source: str, value: str
) -> uuid.UUID | None:
    """What a resource of this name became when it was taken before. Two of one name wait for each other."""
    await hold(session, "remittance", agent.tenant_id, source, value)
    earlier: uuid.UUID | None = await session.scalar(
        select(ExternalReference.local_id).where(
            ExternalReference.tenant_id == agent.tenant_id,
            ExternalReference.source == source,
            ExternalReference.resource_type == kind,
            ExternalReference.external_id == value,
        )
    )
    return earlier


async def take(
    session: AsyncSession, agent: Agent, kind: str, source: str, value: str, local_id: uuid.UUID
) -> None:
    """Remember that a resource was taken."""
    await session.execute(
        insert(ExternalReference).values(
            tenant_id=agent.tenant_id,
            source=source,
            resource_type=kind,
            external_id=value,
            local_id=local_id,
        )
    )
