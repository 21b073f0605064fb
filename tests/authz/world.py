"""Actors and two small health systems for the tests of authorization. Nothing here reads the policies."""

import datetime as dt
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

from authz.actor import Actor, Grant, Session
from authz.grants import counting
from authz.templates import Variant, load_policy
from authz.tree import Tree
from domain.audit import AuditEvent
from domain.billing import Payer
from domain.model import Base, new_id
from domain.organization import OrgUnit
from domain.patients import Patient, PatientSite
from domain.people import Person, RoleGrant
from domain.practitioners import Practitioner, ResourceAssignment
from domain.tables import load
from tests import make, reminders

NOW = dt.datetime.now(dt.UTC)
ROLES = (
    "system_admin",
    "system_viewer",
    "privacy_officer",
    "auditor",
    "regional_director",
    "clinic_admin",
    "provider",
    "nurse",
    "front_desk",
    "biller",
    "setup_tree",
    "setup_people",
    "setup_identity",
)


def tree_of(made: make.Tree, version: int = 1) -> Tree:
    """The tree in memory of a health system that was made."""
    rows = [row for row in made.rows if isinstance(row, OrgUnit)]
    for row in rows:
        row.active = True
    return Tree.build(made.tenant.tenant_id, version, rows)


def session(*, mfa: bool = True) -> Session:
    """A login of five minutes."""
    return Session(
        "sid", NOW, NOW, mfa, NOW + dt.timedelta(minutes=5), proven_at=dt.datetime.now(dt.UTC)
    )


def actor(
    tree: Tree,
    *held: tuple[str, UUID] | Grant,
    person_id: UUID | None = None,
    variant: Variant | None = None,
) -> Actor:
    """Somebody who holds these roles at these nodes; only what counts is kept, as the loader does."""
    grants = [
        g if isinstance(g, Grant) else Grant(new_id(), g[0], g[1], NOW - dt.timedelta(days=1))
        for g in held
    ]
    return Actor(
        tenant_id=tree.tenant_id,
        person_id=person_id or new_id(),
        practitioner_id=None,
        user_name="somebody",
        grants=counting(grants, tree, NOW),
        tree=tree,
        policy=load_policy(variant or Variant()),
        session=session(),
        person_version=1,
        tenant_version=1,
        valid_until=NOW + dt.timedelta(minutes=5),
    )


@dataclass
class World:
    """A health system with rows of every placed kind, and what belongs together in it."""

    made: make.Tree
    tree: Tree
    people: list[Person] = field(default_factory=list)
    rows: list[Base] = field(default_factory=list)

    @property
    def tenant_id(self) -> UUID:
        return self.tree.tenant_id

    def of(self, model: type[Base]) -> list[Any]:
        """All rows of a model."""
        listed: Iterable[Base] = [*self.made.rows, *self.people, *self.rows]
        return [row for row in listed if type(row) is model]

    def target(self, row: Any) -> Any:
        """What a predicate takes: a patient with the sites, a person with the grants, else the row."""
        if isinstance(row, Patient):
            return row, [s for s in self.of(PatientSite) if s.patient_id == row.id]
        if isinstance(row, Person):
            return row, [g for g in self.of(RoleGrant) if g.person_id == row.id]
        if isinstance(row, Practitioner):
            return row, [a for a in self.of(ResourceAssignment) if a.resource_id == row.id]
        return row

    @property
    def all(self) -> list[Base]:
        """Everything, to be saved."""
        return [*self.made.rows, *self.people, *self.rows]


def world(seed: int, patients: int = 40) -> World:
    """Three regions' worth of a small system: patients at several places, some restricted, with rows of every kind."""
    dice = random.Random(seed)
    made = make.tree(regions=2, clinics=5, departments=2)
    out = World(made, tree_of(made))
    out.people = [make.person(made.tenant) for _ in range(12)]
    places = [*made.clinics, *(d for units in made.departments for d in units)]
    doctor = make.practitioner(made.tenant, out.people[0])
    out.rows += _booked(dice, made, doctor, places)
    insurer = make.payer(made.tenant)
    out.rows += [make.price(made.tenant), insurer]
    for node in places:
        out.rows += [make.daily_close(node, unit_id=node.id), make.rule(node)]
        out.rows += [make.service(node), make.closure(node, NOW.date())]
    out.rows += [reminders.rule(node) for node in (made.root, *made.regions, *places)]
    for person in out.people[1:]:
        out.rows += _grants(dice, made, person)
    for _ in range(patients):
        at = dice.sample(places, dice.choice([1, 1, 2, 3]))
        who, *sites = make.patient_at(made.tenant, *at, sensitivity=dice.choice([0, 0, 0, 0, 1, 2]))
        out.rows += [who, *sites]
        for node in at:
            out.rows += _chart(dice, out, who, node, doctor)
            out.rows += _claim(who, node, insurer)
    return out


def _grants(dice: random.Random, made: make.Tree, who: Person) -> list[RoleGrant]:
    nodes = [made.root, *made.regions, *made.clinics, *(d for ds in made.departments for d in ds)]
    given = []
    for role, node in {(dice.choice(ROLES), dice.choice(nodes)) for _ in range(dice.randint(0, 2))}:
        ended = dice.random() < 0.3
        until = make.now() - dt.timedelta(hours=1) if ended else None
        given.append(make.grant(who, role, node, valid_until=until))
    return given


def _booked(
    dice: random.Random, made: make.Tree, doctor: Practitioner, places: Sequence[OrgUnit]
) -> list[Base]:
    """The doctor and colleagues, each booked at some places, also ones that are over."""
    rows: list[Base] = []
    for one in (doctor, *(make.practitioner(made.tenant) for _ in range(6))):
        bookable = make.bookable(one)
        rows += [one, bookable]
        for node in dice.sample(places, dice.randint(0, 3)):
            over = make.now() - dt.timedelta(hours=1) if dice.random() < 0.3 else None
            rows.append(make.assignment(bookable, node, valid_until=over))
    return rows


def _chart(
    dice: random.Random, out: World, who: Any, node: OrgUnit, doctor: Practitioner
) -> list[Base]:
    author = dice.choice(out.people)
    visit = make.encounter(who, node, recorded_by=dice.choice([None, author.id]))
    entries = (make.allergy, make.request, make.statement, make.procedure, make.immunization)
    return [
        visit,
        *(make_entry(visit, recorded_by=author.id) for make_entry in entries),
        make.note(
            visit,
            author,
            state=dice.choice(["draft", "signed", "amended", "entered-in-error"]),
            kind=dice.choice(["nursing", "progress"]),
        ),
        make.observation(visit, recorded_by=author.id),
        make.condition(visit, recorded_by=author.id),
        make.appointment(who, node, doctor),
        make.charge(who, node),
        make.invoice(who, node),
        make.posting(who, node),
        AuditEvent(
            tenant_id=who.tenant_id,
            id=new_id(),
            recorded_at=make.now(),
            person_id=author.id,
            action="patient:read",
            outcome="done",
        ),
    ]


def _claim(who: Any, node: OrgUnit, insurer: Payer) -> list[Base]:
    visit, cover = make.encounter(who, node), make.coverage(who, node, insurer, starts_on=None)
    asked = make.claim(visit, cover)
    return [visit, cover, asked, make.claim_step(asked)]


def random_grants(dice: random.Random, tree: Tree, at_most: int = 4) -> Sequence[tuple[str, UUID]]:
    """Up to four roles at any nodes, also at levels where they do not count."""
    nodes = list(tree.units)
    return [(dice.choice(ROLES), dice.choice(nodes)) for _ in range(dice.randint(0, at_most))]


@cache
def models() -> dict[str, type[Base]]:
    """The model whose rows a resource's permissions are asked about."""
    extra = {
        "Allocation",
        "AppointmentBlock",
        "BookableResource",
        "ClaimItem",
        "ClaimStep",
        "GrantRequest",
        "InvoiceLine",
        "PatientSite",
        "ScheduleClosure",
        "ScheduleRule",
    }
    found: dict[str, type[Base]] = {}
    for mapper in load().registry.mappers:
        model: type[Base] = mapper.class_
        resource = model.__resource__
        if resource is None or model.__name__ in extra:
            continue
        # Of several the one whose table has the name.
        if resource not in found or model.__tablename__ == resource:
            found[resource] = model
    return found
