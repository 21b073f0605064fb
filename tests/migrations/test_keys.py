"""Foreign keys carry the tenant and the place on both sides: what must not be related cannot be."""

import datetime as dt

import pytest
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.exc import IntegrityError

from domain.database import constraint_of
from domain.encounters import Encounter
from domain.model import Base
from domain.organization import OrgUnit
from domain.patients import Patient, PatientSite
from tests import make

Rows = tuple[Base, ...]


class Ground:
    """Two health systems, seen by the owner, whom no policy holds back."""

    def __init__(self, owner: Connection) -> None:
        self.owner = owner
        self.mine, self.theirs = make.tree(departments=2), make.tree(departments=2)
        self.people = {tree.tenant.tenant_id: make.person(tree.tenant) for tree in self.trees}
        self.healers = {
            tree.tenant.tenant_id: make.practitioner(tree.tenant) for tree in self.trees
        }
        self.patients: dict[object, Patient] = {}
        for tree in self.trees:
            who, *sites = make.patient_at(tree.tenant, tree.departments[0][0])
            assert isinstance(who, Patient)
            self.patients[tree.tenant.tenant_id] = who
            mine = tree.tenant.tenant_id
            make.save(owner, *tree.rows, self.people[mine], self.healers[mine], who, *sites)

    @property
    def trees(self) -> tuple[make.Tree, make.Tree]:
        return self.mine, self.theirs

    def refuses(self, rule: str, *rows: Base) -> None:
        point = self.owner.begin_nested()
        with pytest.raises(IntegrityError) as caught:
            self.save(*rows)
        point.rollback()
        assert constraint_of(caught.value) == rule

    def save(self, *rows: Base) -> None:
        make.save(self.owner, *rows)
        self.owner.execute(text("set constraints all immediate"))


@pytest.fixture
def ground(owner: Connection) -> Ground:
    return Ground(owner)


@pytest.fixture
def system(ground: Ground) -> make.Tree:
    return ground.mine


@pytest.fixture
def who(ground: Ground) -> Patient:
    return ground.patients[ground.mine.tenant.tenant_id]


def test_a_parent_of_another_health_system(ground: Ground, system: make.Tree) -> None:
    stolen = make.unit(system.tenant, ground.theirs.root, "region")
    ground.refuses("fk_org_unit_parent", stolen)


def test_a_department_in_a_clinic_of_another_health_system(
    ground: Ground, system: make.Tree
) -> None:
    stolen = make.unit(system.tenant, ground.theirs.clinics[0], "department")
    ground.refuses("fk_org_unit_parent", stolen)


def test_a_grant_to_a_person_or_at_a_node_of_another(ground: Ground, system: make.Tree) -> None:
    mine = ground.people[system.tenant.tenant_id]
    stranger = ground.people[ground.theirs.tenant.tenant_id]
    at_theirs = make.grant(mine, "nurse", ground.theirs.clinics[0])
    to_theirs = make.grant(mine, "nurse", system.clinics[0], person_id=stranger.id)
    by_theirs = make.grant(mine, "nurse", system.clinics[0], granted_by=stranger.id)
    ground.refuses("fk_role_grant_org_unit", at_theirs)
    ground.refuses("fk_role_grant_person", to_theirs)
    ground.refuses("fk_role_grant_granted_by", by_theirs)


def test_a_role_that_is_none_or_given_to_oneself(ground: Ground, system: make.Tree) -> None:
    mine = ground.people[system.tenant.tenant_id]
    ground.refuses("ck_role_grant_role", make.grant(mine, "janitor", system.root))
    own = make.grant(mine, "nurse", system.root, granted_by=mine.id)
    ground.refuses("ck_role_grant_not_to_oneself", own)
    asked = make.grant_request(mine, "janitor", system.root, mine)
    ground.refuses("ck_grant_request_role", asked)


def test_a_site_at_a_unit_of_another(ground: Ground, who: Patient) -> None:
    ground.refuses("fk_patient_site_org_unit", make.site(who, ground.theirs.clinics[0]))


def test_a_site_of_a_patient_of_another(ground: Ground, system: make.Tree) -> None:
    stranger = ground.patients[ground.theirs.tenant.tenant_id]
    stolen = make.site(stranger, system.clinics[1])
    stolen.tenant_id = system.tenant.tenant_id
    ground.refuses("fk_patient_site_patient", stolen)


def test_a_practitioner_of_another(ground: Ground, system: make.Tree, who: Patient) -> None:
    theirs = ground.healers[ground.theirs.tenant.tenant_id]
    ground.refuses("fk_appointment_practitioner", make.appointment(who, system.clinics[0], theirs))
    visit = make.encounter(who, system.clinics[0], practitioner_id=theirs.id)
    ground.refuses("fk_encounter_practitioner", visit)


def test_an_author_of_another(ground: Ground, system: make.Tree, who: Patient) -> None:
    visit = make.encounter(who, system.clinics[0])
    ground.save(visit)
    stranger = ground.people[ground.theirs.tenant.tenant_id]
    ground.refuses("fk_note_author", make.note(visit, stranger))


def test_every_placed_row_needs_the_patient_at_its_clinic(
    ground: Ground, system: make.Tree, who: Patient
) -> None:
    elsewhere = system.clinics[1]
    healer = ground.healers[system.tenant.tenant_id]
    for name, row in {
        "encounter": make.encounter(who, elsewhere),
        "appointment": make.appointment(who, elsewhere, healer),
        "charge_item": make.charge(who, elsewhere),
        "invoice": make.invoice(who, elsewhere),
        "posting": make.posting(who, elsewhere),
    }.items():
        ground.refuses(f"fk_{name}_patient_at_clinic", row)


def test_a_row_at_a_department_needs_the_patient_there(
    ground: Ground, system: make.Tree, who: Patient
) -> None:
    other_ward = system.departments[0][1]
    ground.refuses("fk_encounter_patient_at_unit", make.encounter(who, other_ward))


def test_a_department_belongs_to_the_clinic_of_the_row(
    ground: Ground, system: make.Tree, who: Patient
) -> None:
    make.save(ground.owner, make.site(who, system.clinics[1]))
    mixed = make.encounter(who, system.departments[0][0], clinic_id=system.clinics[1].id)
    ground.refuses("fk_encounter_unit", mixed)


def test_what_follows_an_encounter_cannot_leave_it(
    ground: Ground, system: make.Tree, who: Patient
) -> None:
    visit = make.encounter(who, system.departments[0][0])
    make.save(ground.owner, visit)
    at_clinic = make.observation(visit, unit_id=system.clinics[0].id)
    ground.refuses("fk_observation_encounter", at_clinic)
    other, *sites = make.patient_at(system.tenant, system.departments[0][0])
    assert isinstance(other, Patient)
    make.save(ground.owner, other, *sites)
    ground.refuses("fk_condition_encounter", make.condition(visit, patient_id=other.id))


def test_an_appointment_of_another_encounter(
    ground: Ground, system: make.Tree, who: Patient
) -> None:
    stranger = ground.patients[ground.theirs.tenant.tenant_id]
    theirs = make.appointment(
        stranger, ground.theirs.clinics[0], ground.healers[ground.theirs.tenant.tenant_id]
    )
    make.save(ground.owner, theirs)
    visit = make.encounter(who, system.clinics[0], appointment_id=theirs.id)
    ground.refuses("fk_encounter_appointment", visit)


def test_a_line_lies_where_its_invoice_lies(
    ground: Ground, system: make.Tree, who: Patient
) -> None:
    bill = make.invoice(who, system.clinics[0])
    make.save(ground.owner, bill)
    moved = make.invoice_line(bill, unit_id=system.departments[0][0].id)
    ground.refuses("fk_invoice_line_invoice", moved)


def test_raised_sensitivity_reaches_every_row_of_the_patient(
    ground: Ground, system: make.Tree, who: Patient
) -> None:
    visit = make.encounter(who, system.departments[0][0])
    reading, bill = make.observation(visit), make.invoice(who, system.clinics[0])
    ground.save(visit, reading, bill, make.invoice_line(bill))
    ground.owner.execute(text("set constraints all deferred"))
    raise_it = update(Patient).where(Patient.tenant_id == who.tenant_id, Patient.id == who.id)
    ground.owner.execute(raise_it.values(sensitivity=2))
    ground.owner.execute(text("set constraints all immediate"))
    for table in ("patient_site", "encounter", "observation", "invoice", "invoice_line"):
        found = ground.owner.scalars(
            text(f"select distinct sensitivity from {table} where tenant_id = :t"),
            {"t": who.tenant_id},
        )
        assert found.all() == [2], table


def test_a_row_cannot_claim_another_sensitivity(
    ground: Ground, system: make.Tree, who: Patient
) -> None:
    hidden = make.encounter(who, system.clinics[0], sensitivity=1)
    ground.refuses("fk_encounter_patient_at_clinic", hidden)
    ground.refuses("fk_patient_site_patient", _restricted(make.site(who, system.clinics[1])))


def _restricted(site: PatientSite) -> PatientSite:
    site.sensitivity = 1
    return site


def test_a_blocked_time_is_blocked_once(ground: Ground, system: make.Tree, who: Patient) -> None:
    healer = ground.healers[system.tenant.tenant_id]
    first = make.appointment(who, system.clinics[0], healer)
    chair = make.bookable(healer)
    ground.save(chair, first, make.block(first))
    overlap = make.appointment(
        who, system.clinics[0], healer, starts_at=make.NOW + dt.timedelta(minutes=29)
    )
    ground.refuses("ex_appointment_block_slot", overlap, make.block(overlap))
    cancel = update(type(first)).where(type(first).id == first.id).values(state="cancelled")
    ground.owner.execute(cancel)
    ground.save(overlap, make.block(overlap))


def test_the_same_grant_twice_is_refused_within_one_source(
    ground: Ground, system: make.Tree
) -> None:
    person, node = ground.people[system.tenant.tenant_id], system.clinics[0]
    ground.save(make.grant(person, "nurse", node))
    ground.refuses("ex_role_grant_period", make.grant(person, "nurse", node))
    ground.save(make.grant(person, "nurse", node, source="scim", source_ref="group-1"))
    ground.save(make.grant(person, "nurse", node, source="scim", source_ref="group-2"))


def test_a_health_system_has_one_root(ground: Ground, system: make.Tree) -> None:
    ground.refuses("uq_org_unit_one_root", make.unit(system.tenant, None, "system"))


@pytest.mark.parametrize(
    ("level", "above", "rule"),
    [
        ("region", "region", "fk_org_unit_parent_level"),
        ("region", "clinic", "fk_org_unit_parent_level"),
        ("region", "department", "fk_org_unit_parent_level"),
        ("clinic", "clinic", "fk_org_unit_below_regions"),
        ("clinic", "department", "fk_org_unit_below_regions"),
        ("department", "system", "fk_org_unit_parent_level"),
        ("department", "region", "fk_org_unit_parent_level"),
        ("department", "department", "fk_org_unit_parent_level"),
        ("region", "system", ""),
        ("clinic", "system", ""),
        ("clinic", "region", ""),
        ("department", "clinic", ""),
    ],
)
def test_a_unit_lies_below_a_level_that_may_hold_it(
    ground: Ground, system: make.Tree, level: str, above: str, rule: str
) -> None:
    parents = {
        "system": system.root,
        "region": system.regions[0],
        "clinic": system.clinics[0],
        "department": system.departments[0][0],
    }
    clinic = {"clinic_id": parents[above].id} if level == "department" else {}
    unit = make.unit(system.tenant, parents[above], level, zone="UTC", **clinic)
    if rule:
        ground.refuses(rule, unit)
    else:
        ground.save(unit)


def test_a_unit_moves_below_no_other_level(ground: Ground, system: make.Tree) -> None:
    moved = text("update org_unit set parent_id = :p where tenant_id = :t and id = :i")
    clinic, other = system.clinics[0], ground.theirs.clinics[0]
    for parent in (system.departments[0][0], clinic, other):
        point = ground.owner.begin_nested()
        with pytest.raises(IntegrityError):
            ground.owner.execute(moved, {"p": parent.id, "t": clinic.tenant_id, "i": clinic.id})
        point.rollback()


def test_a_clinic_moves_to_another_region_by_one_row(owner: Connection) -> None:
    tree = make.tree(regions=2)
    make.save(owner, *tree.rows)
    clinic, region = tree.clinics[0], tree.regions[1]
    move = update(OrgUnit).where(OrgUnit.tenant_id == tree.tenant.tenant_id)
    assert (
        owner.execute(move.where(OrgUnit.id == clinic.id).values(parent_id=region.id)).rowcount == 1
    )


def test_deleting_a_parent_with_children_is_refused(
    ground: Ground, system: make.Tree, who: Patient
) -> None:
    ground.save(make.encounter(who, system.clinics[0]))
    point = ground.owner.begin_nested()
    with pytest.raises(IntegrityError):
        ground.owner.execute(
            text("delete from patient_site where tenant_id = :t"), {"t": who.tenant_id}
        )
    point.rollback()
    counted = (
        select(func.count()).select_from(Encounter).where(Encounter.tenant_id == who.tenant_id)
    )
    assert ground.owner.scalar(counted) == 1
