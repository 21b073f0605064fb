"""Commands as the application runs them: its database role, the settings of one transaction, an agent."""

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent, AuditEvent
from domain.organization import OrgUnit
from domain.patients import Patient, PatientSite
from domain.people import Person
from domain.practitioners import Practitioner
from tests import make
from tests.database import Database

RESOURCES = (
    "patient",
    "encounter",
    "note",
    "observation",
    "condition",
    "allergy",
    "medication_request",
    "medication_statement",
    "procedure",
    "immunization",
    "appointment",
    "schedule",
    "charge",
    "invoice",
    "posting",
    "claim",
    "coverage",
    "daily_close",
)


@dataclass
class Stage:
    """A saved health system with a person at work: two clinics with a department each, two practitioners."""

    tree: make.Tree
    person: Person
    practitioner: Practitioner
    colleague: Practitioner
    patient: Patient
    extra: dict[str, OrgUnit] = field(default_factory=dict)

    @property
    def tenant_id(self) -> uuid.UUID:
        return self.tree.tenant.tenant_id

    @property
    def clinic(self) -> OrgUnit:
        return self.tree.clinics[0]

    @property
    def ward(self) -> OrgUnit:
        return self.tree.departments[0][0]

    @property
    def elsewhere(self) -> OrgUnit:
        return self.tree.clinics[1]

    @property
    def agent(self) -> Agent:
        return Agent(
            tenant_id=self.tenant_id,
            now=make.NOW,
            person_id=self.person.id,
            practitioner_id=self.practitioner.id,
            role="provider",
            request_id=uuid.uuid4(),
        )

    def at(self, **later: int) -> Agent:
        """The agent at a later moment."""
        return replace(self.agent, now=make.NOW + dt.timedelta(**later))


def stage(database: Database) -> Stage:
    """Save a health system. The practitioner at work is assigned to the first clinic, the colleague to the second."""
    tree = make.tree(clinics=2, departments=1)
    for unit in (
        tree.root,
        *tree.regions,
        *tree.clinics,
        *(d for ds in tree.departments for d in ds),
    ):
        unit.active = True
    person = make.person(tree.tenant)
    at_work, colleague = make.practitioner(tree.tenant, person), make.practitioner(tree.tenant)
    resources = make.bookable(at_work), make.bookable(colleague)
    patient, *sites = make.patient_at(tree.tenant, tree.clinics[0])
    assert isinstance(patient, Patient)
    made = Stage(tree, person, at_work, colleague, patient)
    assigned = [
        make.assignment(resource, clinic)
        for resource, clinic in zip(resources, tree.clinics, strict=True)
    ]
    rows = [*tree.rows, person, at_work, colleague, *resources, *assigned, patient, *sites]
    make.save(database, *rows)
    return made


def everything(tenant_id: uuid.UUID) -> dict[str, str]:
    """The settings of somebody who may read and write all of the health system."""
    scopes = {f"app.{kind}_{name}": "*" for kind in ("scope", "write") for name in RESOURCES}
    return {"app.tenant": str(tenant_id)} | scopes


@asynccontextmanager
async def acting(
    engine: AsyncEngine, tenant_id: uuid.UUID, **narrower: str
) -> AsyncIterator[AsyncSession]:
    """A transaction of the application, committed at the end; `narrower` replaces scopes (`write_patient="{}"`)."""
    asked = everything(tenant_id) | {f"app.{name}": value for name, value in narrower.items()}
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        for name, value in asked.items():
            await session.execute(
                text("select set_config(:name, :value, true)"), {"name": name, "value": value}
            )
        yield session


async def audited(session: AsyncSession, agent: Agent) -> list[tuple[str, str]]:
    """Action and outcome of the health system's audit events, in the order of their ids."""
    await session.flush()
    rows = await session.execute(
        select(AuditEvent.action, AuditEvent.outcome)
        .where(AuditEvent.tenant_id == agent.tenant_id)
        .order_by(AuditEvent.id)
    )
    return [(row.action, row.outcome) for row in rows]


async def sites(session: AsyncSession, patient: Patient) -> list[PatientSite]:
    """The patient's sites, the clinic's before its departments'."""
    rows = await session.scalars(
        select(PatientSite)
        .where(PatientSite.tenant_id == patient.tenant_id, PatientSite.patient_id == patient.id)
        .order_by(PatientSite.clinic_id, PatientSite.unit_id != PatientSite.clinic_id)
    )
    return list(rows)


def units(*nodes: OrgUnit) -> str:
    """A scope setting that holds these units."""
    return "{" + ",".join(str(node.id) for node in nodes) + "}"
