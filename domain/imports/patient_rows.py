"""Writes imported patients and the sites where they are seen.

A patient is seen at every clinic where the bundle has an encounter of theirs; without any at the clinic of the
managing organization, else where the rule for places puts them.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import insert, select, tuple_

from domain.constraints import refusals
from domain.errors import DomainError
from domain.imports.faults import Fault, Faults
from domain.imports.rows import differences, stored
from domain.imports.work import Draft, Work
from domain.locks import hold
from domain.patients import Patient, PatientSite
from domain.patients.commands import (
    copies,
    copy_to_sites,
    former_names,
    record_number,
    sealed_identifier,
)
from domain.patients.record import COPIED
from domain.versions import change

PATHS = {
    "birthDate": "birthDate",
    "deceasedOn": "deceasedDateTime",
    "sex": "gender",
    "familyName": "name.family",
    "givenName": "name.given",
    "mrn": "identifier",
}
NUMBER = "mrn"
NATIONAL_ID = "national_id"
FORMER = "former_names"
SENSITIVITY = "sensitivity"


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store patients and the sites where they are seen. Raises Faults."""
    by_id = _once(work, drafts)
    concerned = sorted({*by_id, *work.seen})
    known = await _known(work, concerned)
    fresh = [d for d in by_id.values() if d.id not in known]
    faults = [
        Fault("There is no clinic for this patient.", path="Patient", entry=d.entry.index)
        for d in fresh
        if not _clinics(work, d)
    ]
    if faults:
        raise Faults(*faults)
    await _insert(work, fresh)
    added = await _see(work, known)
    for made in by_id.values():
        if made.id in known:
            changed = await _update(work, known[made.id], made)
            work.count("changed" if changed or made.id in added else "unchanged", made.entry)


def _once(work: Work, drafts: Sequence[Draft]) -> dict[uuid.UUID, Draft]:
    """The drafts by id. Raises Faults where a bundle has the same patient twice, with different content."""
    by_id: dict[uuid.UUID, Draft] = {}
    for made in drafts:
        earlier = by_id.setdefault(made.id, made)
        if earlier is made:
            continue
        if earlier.values != made.values:
            text = "The bundle has this patient twice, with different content."
            raise Faults(Fault(text, path="Patient", entry=made.entry.index))
        work.count("unchanged", made.entry)
    return by_id


async def _known(work: Work, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Any]:
    """The stored ones among the patients, locked against other changes until the bundle is done."""
    tenant_id = work.agent.tenant_id
    found = await stored(work.session, Patient, tenant_id, ids)
    for patient_id in sorted(found):
        await hold(work.session, "patient", tenant_id, patient_id)
    found = await stored(work.session, Patient, tenant_id, found) if found else {}
    work.sensitivity |= {key: row.sensitivity for key, row in found.items()}
    return found


def _clinics(work: Work, made: Draft) -> set[uuid.UUID]:
    """Where a new patient is seen."""
    if work.seen.get(made.id):
        return work.seen[made.id]
    home = work.home.get(made.id) or work.rule.default(
        made.entry.full_url or str(made.values[NUMBER])
    )
    return {home} if home is not None else set()


async def _insert(work: Work, drafts: Sequence[Draft]) -> None:
    """New patients: sites first, since a patient without a visible site is invisible and cannot be written."""
    tenant_id = work.agent.tenant_id
    patients, sites = [], []
    for made in drafts:
        values = dict(made.values)
        number, national, earlier = values.pop(NUMBER), values.pop(NATIONAL_ID), values.pop(FORMER)
        values |= {"national_id_sealed": None, "national_id_index": None}
        values |= sealed_identifier(work.sealer, made.id, {"national_id": national})
        values |= await record_number(work.session, work.agent, number)
        values[FORMER] = {"names": earlier} if earlier else None
        patients.append({"tenant_id": tenant_id, "id": made.id} | values)
        work.sensitivity[made.id] = values[SENSITIVITY]
        sites += [_site(work, made.id, c, values) for c in sorted(_clinics(work, made))]
        work.touched.append(made.id)
        work.count("taken", made.entry)
    if patients:
        await work.session.execute(insert(PatientSite), sites)
        with _unique(drafts):
            await work.session.execute(insert(Patient), patients)


def _site(
    work: Work, patient_id: uuid.UUID, clinic: uuid.UUID, values: Mapping[str, Any]
) -> dict[str, Any]:
    place = {"tenant_id": work.agent.tenant_id, "unit_id": clinic, "clinic_id": clinic}
    return place | {"patient_id": patient_id} | {name: values[name] for name in COPIED}


async def _see(work: Work, known: Mapping[uuid.UUID, Any]) -> set[uuid.UUID]:
    """Sites that stored patients lack; answers whose."""
    wanted = {(p, clinic) for p in known for clinic in work.seen.get(p, ())}
    if not wanted:
        return set()
    columns = (PatientSite.patient_id, PatientSite.unit_id)
    query = select(*columns).where(
        PatientSite.tenant_id == work.agent.tenant_id, tuple_(*columns).in_(list(wanted))
    )
    there = {tuple(row) for row in await work.session.execute(query)}
    missing = sorted(wanted - there)
    rows = [_site(work, patient, clinic, copies(known[patient])) for patient, clinic in missing]
    if rows:
        await work.session.execute(insert(PatientSite), rows)
    work.touched.extend(dict.fromkeys(patient for patient, _ in missing))
    return {patient for patient, _ in missing}


async def _update(work: Work, patient: Any, made: Draft) -> bool:
    """Write what differs, here and at all sites; answers whether anything did. Restriction is raised, never lifted."""
    values = dict(made.values)
    national = values.pop(NATIONAL_ID)
    values.pop(NUMBER)
    values.pop(FORMER)
    values[SENSITIVITY] = max(values[SENSITIVITY], patient.sensitivity)
    columns = differences(patient, values)
    if national is not None:
        sealed = sealed_identifier(work.sealer, patient.id, {"national_id": national})
        if sealed["national_id_index"] != patient.national_id_index:
            columns |= sealed
    if not columns:
        return False
    columns |= former_names(patient, columns, work.agent.now)
    with _unique([made]):
        changed = await change(work.session, work.agent, patient, patient.version, **columns)
    await copy_to_sites(work.session, work.agent, changed.id)
    work.sensitivity[changed.id] = changed.sensitivity
    work.touched.append(changed.id)
    return True


@contextmanager
def _unique(drafts: Sequence[Draft]) -> Iterator[None]:
    """A number that another patient has is a fault: of the entry, where there is one only."""
    try:
        with refusals():
            yield
    except DomainError as error:
        field = error.path[0] if error.path else ""
        path = f"Patient.{PATHS.get(field, 'identifier')}"
        entry = drafts[0].entry.index if len(drafts) == 1 else None
        raise Faults(Fault(error.message, path=path, entry=entry)) from None
