"""Payers and what they cover, https://hl7.org/fhir/R4/coverage.html, at the clinics whose claims need it.

A payer is known by its identifier, else by its name; a coverage by patient, clinic, payer, member number and
beginning. So the same card that comes with every claim is one coverage.
"""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import or_, select, tuple_

from domain.billing import Coverage, FinancialState, Payer, Relationship
from domain.imports.chart import day, in_order, member, optional_member
from domain.imports.concepts import first_code, one_line
from domain.imports.fields import Reader
from domain.imports.rows import change, differences, insert_all, stored
from domain.imports.work import Work
from domain.model import new_id
from domain.patients import fold

MEMBER_LENGTH = 80
TERMS = ("state", "ends_on", "group_number", "relationship")
ORDERS = range(1, 10)


@dataclass(frozen=True)
class PayerName:
    """What a source calls a payer."""

    name: str = field(compare=False)
    key: str
    system: str | None = None
    identifier: str | None = None


@dataclass(frozen=True)
class Policy:
    """What a payer covers; the fields that are compared say which coverage it is.

    `member_id` is empty where the source has none; `terms` are further columns, none where only a name is known.
    `earlier`: of a bundle before, so that what is stored of it by now stays as it is.
    """

    patient_id: uuid.UUID
    payer: PayerName
    member_id: str = ""
    starts_on: dt.date | None = None
    priority: int = field(default=1, compare=False)
    terms: dict[str, Any] = field(default_factory=dict, compare=False)
    earlier: bool = field(default=False, compare=False)


def payer_named(text: str | None, holder: Reader, work: Work) -> PayerName | None:
    """A payer of this name."""
    name = one_line(text, holder, "display", work)
    key = fold(name or "")
    return PayerName(name, key) if name and key else None


def payer_of(coverage: Reader, work: Work) -> PayerName | None:
    """The payer of a Coverage: an organization of the bundle with its first identifier, else what it is called."""
    for part in coverage.parts("payor"):
        reference = part.text("reference") or ""
        entry = work.target(reference)
        if reference.startswith("#"):
            inside = coverage.parts("contained")
            found = next((p for p in inside if p.text("id") == reference[1:]), None)
            name = found.text("name") if found else None
        else:
            name = entry.resource.text("name") if entry is not None else None
        payer = payer_named(name or part.text("display"), part, work)
        if payer is None:
            continue
        keys = [k for k, _, _ in entry.identifiers()] if entry is not None else []
        if keys:
            return PayerName(payer.name, payer.key, keys[0].source, keys[0].value)
        return payer
    return None


def policy_of(coverage: Reader, patient_id: uuid.UUID, zone: str, work: Work) -> Policy | None:
    """What a Coverage says; None where it names no payer. Raises Fault."""
    payer = payer_of(coverage, work)
    if payer is None:
        return None
    period = coverage.part("period")
    begins, ends = day(period, "start", zone, work), day(period, "end", zone, work)
    in_order(coverage, "period.end", begins, ends)
    related = first_code(coverage, "relationship")
    known = optional_member(coverage, "relationship", related, Relationship, work)
    status = member(coverage, "status", coverage.text("status"), FinancialState)
    terms = {
        "state": status.value,
        "ends_on": ends,
        "group_number": _group(coverage, work),
        "relationship": known or Relationship.SELF.value,
    }
    number = one_line(_member_id(coverage), coverage, "subscriberId", work, MEMBER_LENGTH)
    return Policy(patient_id, payer, number or "", begins, order_of(coverage, "order"), terms)


def order_of(holder: Reader | None, key: str) -> int:
    """Which payer is asked when: 1 (the default) to 9."""
    order = holder.whole(key) if holder else None
    return order if order is not None and order in ORDERS else 1


def _member_id(coverage: Reader) -> str | None:
    """US Core's member id is an identifier of type MB; others have the subscriber's."""
    for identifier in coverage.parts("identifier"):
        if first_code(identifier, "type") == "MB":
            return identifier.text("value")
    return coverage.text("subscriberId")


def _group(coverage: Reader, work: Work) -> str | None:
    for part in coverage.parts("class"):
        if first_code(part, "type") == "group":
            return one_line(part.text("value"), part, "value", work, MEMBER_LENGTH)
    return None


async def learn_policies(work: Work) -> None:
    """Look up the coverages of earlier imports that the bundle names."""
    ids = {local for key, local in work.names.items() if key.type == "Coverage"}
    rows = await stored(work.session, Coverage, work.agent.tenant_id, ids)
    payers = await stored(
        work.session, Payer, work.agent.tenant_id, {row.payer_id for row in rows.values()}
    )
    for id_, row in rows.items():
        payer = payers[row.payer_id]
        work.policies[id_] = Policy(
            row.patient_id,
            PayerName(payer.name, payer.name_key, payer.identifier_system, payer.identifier),
            row.member_id,
            row.starts_on,
            row.priority,
            {name: getattr(row, name) for name in TERMS},
            earlier=True,
        )


async def covered(
    work: Work, wanted: Iterable[tuple[uuid.UUID, Policy]]
) -> dict[tuple[uuid.UUID, Policy], uuid.UUID]:
    """The coverages of policies at clinics: those that are there, changed where the source says more, else new."""
    pairs = list(dict.fromkeys(wanted))
    if not pairs:
        return {}
    payers = await _payers(work, {policy.payer for _, policy in pairs})
    query = select(Coverage).where(
        Coverage.tenant_id == work.agent.tenant_id,
        Coverage.patient_id.in_({policy.patient_id for _, policy in pairs}),
    )
    rows = await work.session.scalars(query, execution_options={"populate_existing": True})
    known = {(r.clinic_id, r.patient_id, r.payer_id, r.member_id, r.starts_on): r for r in rows}
    found: dict[tuple[uuid.UUID, Policy], uuid.UUID] = {}
    fresh: list[dict[str, Any]] = []
    for clinic, policy in pairs:
        payer_id = payers[policy.payer]
        key = (clinic, policy.patient_id, payer_id, policy.member_id, policy.starts_on)
        row = known.get(key)
        if row is None:
            fresh.append(_row(work, clinic, policy, payer_id))
            found[clinic, policy] = fresh[-1]["id"]
            work.touched.append(fresh[-1]["id"])
            continue
        found[clinic, policy] = row.id
        changes = {} if policy.earlier else differences(row, policy.terms)
        if changes:
            await change(work, Coverage, row.id, changes)
    await insert_all(work, Coverage, fresh)
    return found


def _row(work: Work, clinic: uuid.UUID, policy: Policy, payer_id: uuid.UUID) -> dict[str, Any]:
    plain = {"state": FinancialState.ACTIVE.value, "relationship": Relationship.SELF.value}
    return {
        "tenant_id": work.agent.tenant_id,
        "id": new_id(),
        "clinic_id": clinic,
        "unit_id": clinic,
        "patient_id": policy.patient_id,
        "sensitivity": work.sensitivity[policy.patient_id],
        "payer_id": payer_id,
        "priority": policy.priority,
        "member_id": policy.member_id,
        "starts_on": policy.starts_on,
        **plain,
        **policy.terms,
    }


async def _payers(work: Work, named: set[PayerName]) -> dict[PayerName, uuid.UUID]:
    """The rows of payers, made where there is none."""
    numbers = [(p.system, p.identifier) for p in named if p.identifier is not None]
    query = select(Payer).where(
        Payer.tenant_id == work.agent.tenant_id,
        or_(
            tuple_(Payer.identifier_system, Payer.identifier).in_(numbers),
            Payer.name_key.in_({p.key for p in named}) & Payer.identifier.is_(None),
        ),
    )
    rows = list(await work.session.scalars(query))
    by_number = {(r.identifier_system, r.identifier): r.id for r in rows if r.identifier}
    by_name = {r.name_key: r.id for r in rows if r.identifier is None}
    found: dict[PayerName, uuid.UUID] = {}
    fresh = []
    for payer in sorted(named, key=lambda p: (p.key, p.identifier or "")):
        if payer.identifier is None:
            known = by_name.get(payer.key)
        else:
            known = by_number.get((payer.system, payer.identifier))
        found[payer] = known or new_id()
        if known is None:
            fresh.append(
                {
                    "tenant_id": work.agent.tenant_id,
                    "id": found[payer],
                    "name": payer.name,
                    "name_key": payer.key,
                    "identifier_system": payer.system,
                    "identifier": payer.identifier,
                }
            )
            work.touched.append(found[payer])
    await insert_all(work, Payer, fresh)
    return found
