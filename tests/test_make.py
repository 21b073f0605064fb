"""The builders make rows that the migrated database takes, of every table about patients."""

import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.billing import Posting
from domain.encounters import Encounter
from domain.model import Base
from domain.organization import OrgUnit
from domain.patients import Patient
from tests import make

pytestmark = pytest.mark.anyio


def everything() -> list[Base]:
    """A health system with at least one row of each kind that the builders know."""
    tree = make.tree(clinics=2, departments=2)
    doctor = make.person(tree.tenant)
    healer = make.practitioner(tree.tenant, doctor)
    chair, room = make.bookable(healer), make.bookable(tree.tenant)
    who, *sites = make.patient_at(tree.tenant, tree.departments[0][0], tree.clinics[1])
    assert isinstance(who, Patient)
    ward = tree.departments[0][0]
    visit = make.appointment(who, ward, healer)
    seen = make.encounter(who, ward, practitioner_id=healer.id, appointment_id=visit.id)
    bill = make.invoice(who, ward)
    return [
        *tree.rows,
        *(doctor, make.grant(doctor, "provider", tree.clinics[0]), healer, chair, room),
        *(make.assignment(chair, tree.clinics[0]), make.assignment(room, ward)),
        *(who, *sites, visit, make.block(visit), make.block(visit, room.id), seen),
        *(make.note(seen, doctor), make.note(seen, doctor, state="draft")),
        *(make.observation(seen), make.condition(seen), make.price(tree.tenant)),
        *(make.charge(who, ward), bill, make.invoice_line(bill)),
        make.posting(who, ward, invoice_id=bill.id),
    ]


def test_every_kind_of_row_can_be_saved(owner: Connection) -> None:
    rows = everything()
    make.save(owner, *rows)
    units = owner.scalar(
        select(func.count()).select_from(OrgUnit).where(OrgUnit.tenant_id == rows[0].tenant_id)
    )
    assert units == 8


async def test_the_same_over_asyncio(owner_session: AsyncSession) -> None:
    rows = everything()
    await make.save_async(owner_session, *rows)
    of_tenant = (Encounter.tenant_id == rows[0].tenant_id, Posting.tenant_id == rows[0].tenant_id)
    assert await owner_session.scalar(select(Encounter.state).where(of_tenant[0])) == "in-progress"
    assert await owner_session.scalar(select(Posting.amount_minor).where(of_tenant[1])) == 5_000
