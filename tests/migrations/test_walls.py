"""Row-level security alone, without any predicate of ours: what the application's role sees and may write."""

import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Table, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, ProgrammingError

from domain.appointments import Appointment
from domain.billing import ChargeItem, InvoiceLine, Payer, Posting
from domain.encounters import Encounter
from domain.model import Base, Wall, new_id
from domain.organization import OrgUnit
from domain.patients import Patient, PatientSite
from domain.people import Person
from domain.practitioners import Practitioner
from domain.second_factors import DeviceReset
from domain.setup import SetupLink
from domain.tables import load
from tests import directories, make, providers, reminders
from tests.database import Database

MODELS = {mapper.class_.__tablename__: mapper.class_ for mapper in load().registry.mappers}
PLACED = sorted(name for name, model in MODELS.items() if model.__wall__ is Wall.PLACED)
TENANTS = sorted(name for name, model in MODELS.items() if model.__wall__ is Wall.TENANT)
GUARDED = [*PLACED, "patient_site", "patient"]
APPENDED = {"posting", "invoice_line", "allocation", "claim_receipt", "claim_step", "daily_close"}
RESOURCES = sorted({MODELS[name].__resource__ for name in GUARDED})

Settings = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class System:
    """A saved health system: two clinics with a department each, every table filled at each of the four places."""

    tree: make.Tree
    rows: list[Base]

    @property
    def tenant_id(self) -> uuid.UUID:
        return self.tree.tenant.tenant_id

    @property
    def places(self) -> list[OrgUnit]:
        return [*self.tree.clinics, *(units[0] for units in self.tree.departments)]

    def of(self, name: str) -> list[Base]:
        return [row for row in self.rows if type(row).__tablename__ == name]


def setup_link(holder: Person) -> SetupLink:
    """A link by which a customer's IT sets the health system up."""
    return SetupLink(
        tenant_id=holder.tenant_id,
        id=new_id(),
        person_id=holder.id,
        token_hash=uuid.uuid4().bytes * 2,
        scopes=["tree"],
        expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(days=1),
        made_by=new_id(),
    )


def build() -> System:
    tree = make.tree(clinics=2, departments=1)
    doctor = make.person(tree.tenant)
    healer = make.practitioner(tree.tenant, doctor)
    chair, insurer = make.bookable(healer), make.payer(tree.tenant)
    rows: list[Base] = [
        *tree.rows,
        *(doctor, make.grant(doctor, "provider", tree.root), healer, chair),
        *(make.assignment(chair, tree.clinics[0]), make.price(tree.tenant), insurer),
        *(make.service(tree.clinics[0]), make.rule(tree.clinics[0], chair)),
        *(make.closure(tree.clinics[0], dt.date(2027, 1, 1)), *small(tree, doctor)),
        *(reminders.setting(tree.root), reminders.template(tree.root), reminders.watch(tree.root)),
        *providers.one_of_each(tree.tenant, doctor, tree.root),
        *lost(doctor, make.person(tree.tenant)),
        *directories.one_of_each(doctor),
        setup_link(doctor),
    ]
    rule = reminders.rule(tree.root)
    rows.append(rule)
    for hour, node in enumerate([*tree.clinics, *(units[0] for units in tree.departments)]):
        rows += at(node, hour, tree, doctor, healer)
        rows += bills(rows, node, insurer)
        visit = next(row for row in reversed(rows) if isinstance(row, Appointment))
        rows.append(reminders.reminder(visit, rule))
    return System(tree, rows)


def lost(of: Person, asker: Person) -> list[Base]:
    """Somebody's lost device, and who asks for its removal."""
    values: dict[str, Any] = {"id": new_id(), "reason": "lost", "lapses_at": make.NOW}
    key = {"tenant_id": of.tenant_id, "person_id": of.id, "requested_by": asker.id}
    return [asker, DeviceReset(**key, **values)]


def small(tree: make.Tree, doctor: Person) -> list[Base]:
    """A row of each table that all commands use."""
    key = {"tenant_id": tree.tenant.tenant_id}
    values: dict[str, dict[str, object]] = {
        "counter": {"name": "mrn"},
        "data_key": {"purpose": "note", "generation": 1, "wrapped": b"w"},
        "external_reference": {
            "source": "s",
            "resource_type": "Patient",
            "external_id": "1",
            "local_id": new_id(),
        },
        "idempotency": {
            "person_id": doctor.id,
            "operation": "book",
            "key": "k",
            "input_hash": b"h",
            "result_id": new_id(),
        },
        "revoked_session": {"sid": "s", "until": make.NOW},
        "login_session": {
            "id": new_id(),
            "person_id": doctor.id,
            "sid": "s",
            "client": "portal",
            "started_at": make.NOW,
        },
        "person_sync": {"person_id": doctor.id, "tried_at": make.NOW},
        "realm_check": {"id": new_id(), "started_at": make.NOW},
        "logout_token": {"jti": "j", "until": make.NOW},
        "realm_cursor": {"read_until": make.NOW},
        "grant_request": {
            "id": new_id(),
            "person_id": doctor.id,
            "role": "auditor",
            "unit_id": tree.root.id,
            "requested_by": doctor.id,
            "lapses_at": make.NOW,
        },
        "audit_event": {
            "id": new_id(),
            "recorded_at": make.now(),
            "action": "a",
            "outcome": "done",
        },
    }
    return [MODELS[name](**key | given) for name, given in values.items()]


def at(
    node: OrgUnit, hour: int, tree: make.Tree, doctor: Person, healer: Practitioner
) -> list[Base]:
    """A patient seen at one place only (and its clinic), with a row of each placed table there."""
    who, *sites = make.patient_at(tree.tenant, node)
    assert isinstance(who, Patient)
    starts = make.NOW + dt.timedelta(hours=hour)
    visit, seen = make.appointment(who, node, healer, starts_at=starts), make.encounter(who, node)
    bill = make.invoice(who, node)
    return [
        *(who, *sites, visit, make.block(visit), seen, make.note(seen, doctor)),
        *(make.series(who, node, healer), make.waiting(who, node)),
        *(make.observation(seen), make.condition(seen), make.charge(who, node)),
        *(make.allergy(seen), make.request(seen), make.statement(seen)),
        *(make.procedure(seen), make.immunization(seen)),
        *(bill, make.invoice_line(bill), make.posting(who, node)),
    ]


def bills(rows: list[Base], node: OrgUnit, insurer: Payer) -> list[Base]:
    """What is asked of a payer for the visit there, and what was paid of the invoice."""

    def last(model: type[Any]) -> Any:
        return next(row for row in reversed(rows) if isinstance(row, model))

    cover = make.coverage(last(Patient), node, insurer)
    asked = make.claim(last(Encounter), cover)
    return [
        *(cover, asked, make.claim_item(asked, last(ChargeItem)), make.claim_step(asked)),
        make.claim_receipt(asked),
        make.allocation(last(Posting), last(InvoiceLine)),
        make.daily_close(node, unit_id=node.id),
    ]


@pytest.fixture(scope="module")
def systems(database: Database) -> tuple[System, System]:
    """Two health systems alike."""
    mine, theirs = build(), build()
    make.save(database, *mine.rows, *theirs.rows)
    return mine, theirs


@pytest.fixture
def mine(systems: tuple[System, System]) -> System:
    return systems[0]


@pytest.fixture
def theirs(systems: tuple[System, System]) -> System:
    return systems[1]


def become(connection: Connection, settings: Settings) -> None:
    """Make settings local to the transaction."""
    for name, value in settings:
        connection.execute(select(func.set_config(name, value, True)))


def of(system: System, **scopes: str) -> list[tuple[str, str]]:
    """The tenant and scopes: `scope_patient="*"`."""
    return [("app.tenant", str(system.tenant_id)), *((f"app.{k}", v) for k, v in scopes.items())]


def everywhere(kind: str, scope: str) -> dict[str, str]:
    """The same scope for each resource."""
    return {f"{kind}_{resource}": scope for resource in RESOURCES}


def scope(*nodes: OrgUnit) -> str:
    return "{" + ",".join(str(node.id) for node in nodes) + "}"


def table(name: str) -> Table:
    return Base.metadata.tables[name]


def keys(connection: Connection, name: str) -> set[tuple[object, ...]]:
    """The primary keys of all rows that are seen."""
    columns = list(table(name).primary_key.columns)
    return {tuple(row) for row in connection.execute(select(*columns))}


def keys_of(rows: Iterable[Base]) -> set[tuple[object, ...]]:
    return {
        tuple(getattr(row, column.key) for column in table(type(row).__tablename__).primary_key)
        for row in rows
    }


def test_the_rows_of_these_tests_fill_every_table(systems: tuple[System, System]) -> None:
    """A table that a later issue adds must come here, else nothing below looks at it."""
    for name in MODELS:
        assert systems[0].of(name), name


@pytest.mark.parametrize("name", sorted(MODELS))
def test_without_settings_nothing_is_seen(
    app: Connection, systems: tuple[System, System], name: str
) -> None:
    assert keys(app, name) == set()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_empty_settings_show_nothing(app: Connection, mine: System, name: str) -> None:
    become(app, [("app.tenant", ""), *((f"app.scope_{r}", "*") for r in RESOURCES)])
    assert keys(app, name) == set()


@pytest.mark.parametrize("name", TENANTS)
def test_a_tenants_table_shows_the_tenants_rows(app: Connection, mine: System, name: str) -> None:
    become(app, of(mine))
    assert keys(app, name) == keys_of(mine.of(name))


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("nothing", [None, "", "{}"])
def test_a_guarded_table_shows_nothing_without_a_scope(
    app: Connection, mine: System, name: str, nothing: str | None
) -> None:
    become(app, of(mine, **({} if nothing is None else everywhere("scope", nothing))))
    assert keys(app, name) == set()


@pytest.mark.parametrize("name", GUARDED)
def test_the_whole_scope_shows_the_tenants_rows(app: Connection, mine: System, name: str) -> None:
    become(app, of(mine, **everywhere("scope", "*")))
    assert keys(app, name) == keys_of(mine.of(name))


@pytest.mark.parametrize("name", PLACED)
def test_a_placed_table_shows_the_rows_of_its_places(
    app: Connection, mine: System, name: str
) -> None:
    clinic, other, ward, _ = mine.places
    for nodes in ([clinic], [ward], [other, ward], [clinic, ward]):
        become(app, of(mine, **everywhere("scope", scope(*nodes))))
        ids = {node.id for node in nodes}
        wanted = [r for r in mine.of(name) if {r.clinic_id, r.unit_id} & ids]  # type: ignore[attr-defined]  # placed
        assert wanted
        assert keys(app, name) == keys_of(wanted)


def test_patients_are_seen_through_their_sites(app: Connection, mine: System) -> None:
    clinic, other, ward, _ = mine.places
    for nodes in ([clinic], [ward], [other, ward]):
        become(app, of(mine, **everywhere("scope", scope(*nodes))))
        ids = {node.id for node in nodes}
        sites = [
            s
            for s in mine.of("patient_site")
            if isinstance(s, PatientSite) and {s.clinic_id, s.unit_id} & ids
        ]
        assert keys(app, "patient_site") == keys_of(sites)
        assert keys(app, "patient") == {(mine.tenant_id, site.patient_id) for site in sites}


@pytest.mark.parametrize("name", GUARDED)
def test_the_scope_of_another_resource_shows_nothing(
    app: Connection, mine: System, name: str
) -> None:
    scopes = everywhere("scope", "*") | everywhere("write", "*")
    del scopes[f"scope_{MODELS[name].__resource__}"]
    become(app, of(mine, **scopes))
    assert keys(app, name) == set()


@pytest.mark.parametrize("name", GUARDED)
def test_units_of_another_health_system_show_nothing(
    app: Connection, mine: System, theirs: System, name: str
) -> None:
    become(app, of(mine, **everywhere("scope", scope(*theirs.places))))
    assert keys(app, name) == set()


@pytest.mark.parametrize("garbage", ["all", "{x}", "**", "' or true --"])
def test_a_scope_that_is_none_is_an_error(app: Connection, mine: System, garbage: str) -> None:
    become(app, of(mine, **everywhere("scope", garbage)))
    with pytest.raises(DBAPIError):
        keys(app, "encounter")


@contextmanager
def trying(connection: Connection) -> Iterator[None]:
    """A savepoint around what fails, so that the transaction goes on."""
    point = connection.begin_nested()
    try:
        yield
    finally:
        point.rollback()


def refused(connection: Connection, act: Callable[[], object], why: str) -> None:
    with trying(connection), pytest.raises(ProgrammingError, match=why):
        act()


def copy_of(row: Base, **changes: object) -> dict[str, object]:
    """The values of a row of the same place, with a key of its own where it has one."""
    values = {name: getattr(row, name) for name in make.filled(row)}
    if "id" in values:
        values["id"] = new_id()
    return values | changes


@pytest.mark.parametrize("name", PLACED)
def test_without_a_write_scope_nothing_is_added(app: Connection, mine: System, name: str) -> None:
    become(app, of(mine, **everywhere("scope", "*")))
    again = insert(table(name)).values(copy_of(mine.of(name)[0]))
    refused(app, lambda: app.execute(again), "row-level security")


@pytest.mark.parametrize("name", PLACED)
def test_outside_the_write_scope_nothing_is_added(app: Connection, mine: System, name: str) -> None:
    ward, far_ward = mine.places[2:]
    scopes = everywhere("scope", "*") | everywhere("write", scope(ward, far_ward))
    become(app, of(mine, **scopes))
    for row in mine.of(name)[:2]:  # the two clinics' own
        again = insert(table(name)).values(copy_of(row))
        refused(app, partial(app.execute, again), "row-level security")


def test_outside_the_write_scope_no_site_and_no_patient_is_added(
    app: Connection, mine: System
) -> None:
    clinic, other, *_ = mine.places
    become(app, of(mine, scope_patient="*", write_patient=scope(other)))
    who = make.patient(mine.tree.tenant)
    refused(app, lambda: make.save(app, make.site(who, clinic)), "row-level security")
    refused(app, lambda: make.save(app, who), "row-level security")


def test_a_patient_is_registered_site_first(app: Connection, mine: System) -> None:
    clinic = mine.places[0]
    become(app, of(mine, scope_patient=scope(clinic), write_patient=scope(clinic)))
    who = make.patient(mine.tree.tenant)
    make.save(app, make.site(who, clinic))
    make.save(app, who)
    app.execute(text("set constraints all immediate"))
    assert (mine.tenant_id, who.id) in keys(app, "patient")


def test_a_site_without_its_patient_does_not_last(app: Connection, mine: System) -> None:
    clinic = mine.places[0]
    become(app, of(mine, scope_patient="*", write_patient="*"))
    make.save(app, make.site(make.patient(mine.tree.tenant), clinic))
    with pytest.raises(DBAPIError, match="fk_patient_site_patient"):
        app.execute(text("set constraints all immediate"))


@pytest.mark.parametrize("name", sorted(set(GUARDED) - APPENDED))
def test_an_update_reaches_rows_of_the_write_scope_only(
    app: Connection, mine: System, name: str
) -> None:
    ward = mine.places[2]
    column = {
        "patient_site": "active",
        "appointment_block": "lane",
        "claim_item": "paid_minor",
    }.get(name, "version")
    if column not in table(name).c:
        column = "state"
    same = update(table(name)).values({column: table(name).c[column]})
    become(app, of(mine, **everywhere("scope", "*")))
    assert app.execute(same).rowcount == 0
    become(app, of(mine, **everywhere("write", scope(ward))))
    assert app.execute(same).rowcount == 1
    become(app, of(mine, **everywhere("scope", "{}")))
    assert app.execute(same.where(table(name).c.tenant_id == mine.tenant_id)).rowcount == 0


def fixed(name: str) -> list[str]:
    """The columns that hold a row at its key and its place."""
    held = {"clinic_id", "unit_id", "patient_id", "encounter_id"}
    columns = [c.name for c in table(name).c if c.name in held or c.primary_key]
    return (
        columns if name == "patient" else [*columns, *({"sensitivity"} & set(table(name).c.keys()))]
    )


@pytest.mark.parametrize(
    ("name", "column"), [(name, column) for name in GUARDED for column in fixed(name)]
)
def test_no_row_changes_its_place(app: Connection, mine: System, name: str, column: str) -> None:
    become(app, of(mine, **everywhere("scope", "*"), **everywhere("write", "*")))
    move = update(table(name)).values({column: table(name).c[column]})
    refused(app, lambda: app.execute(move), "permission denied")


@pytest.mark.parametrize("name", sorted({*TENANTS} - {"tenant", "setup_link"}))
def test_a_forged_tenant_is_refused(
    app: Connection, mine: System, theirs: System, name: str
) -> None:
    become(app, of(mine))
    forged = insert(table(name)).values(copy_of(theirs.of(name)[0]))
    refused(app, lambda: app.execute(forged), "row-level security")


@pytest.mark.parametrize("name", GUARDED)
def test_a_forged_tenant_is_refused_in_guarded_tables_too(
    app: Connection, mine: System, theirs: System, name: str
) -> None:
    become(app, of(mine, **everywhere("scope", "*"), **everywhere("write", "*")))
    forged = insert(table(name)).values(copy_of(theirs.of(name)[0]))
    refused(app, lambda: app.execute(forged), "row-level security")


@pytest.mark.parametrize("name", sorted(APPENDED | {"audit_event", "idempotency"}))
def test_what_is_written_once_cannot_be_changed(app: Connection, mine: System, name: str) -> None:
    become(app, of(mine, **everywhere("scope", "*"), **everywhere("write", "*")))
    for column in table(name).c:
        if column.computed is not None:
            continue  # nobody at all writes it
        change = update(table(name)).values({column.name: column})
        refused(app, partial(app.execute, change), "permission denied")


CHANGED = {
    "identity_link": {"asserted", "version", "updated_at"},
    "role_mapping": {"valid_until", "ended_at", "created_by", "version", "updated_at"},
    "role_grant": {"valid_until", "version", "updated_at"},
    "grant_request": {"state", "decided_by", "decided_at", "grant_id", "version", "updated_at"},
    "device_reset": {"state", "decided_by", "decided_at", "version", "updated_at"},
    "tenant": {"tokens_valid_from", "tree_version", "version", "updated_at"}
    | {"session_idle", "session_max", "jit_mode"}
    | {"departures_few", "departures_most", "departures_percent"},
}
"""Table -> what commands change of it."""
PLATFORMS = {"state", "second_approval"}
"""What the platform alone says of a health system, which it alone makes."""


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_what_no_command_changes_cannot_be_changed(
    app: Connection, mine: System, name: str
) -> None:
    become(app, of(mine))
    for column in table(name).c:
        same = update(table(name)).values({column.name: column})
        if column.name in CHANGED[name]:
            with trying(app):
                assert app.execute(same).rowcount > 0
        else:
            refused(app, partial(app.execute, same), "permission denied")


def test_health_systems_are_the_platforms(
    app: Connection, database: Database, mine: System, theirs: System
) -> None:
    """The application makes none and moves none; the platform does, and each within its wall alone."""
    again = insert(table("tenant")).values(copy_of(mine.of("tenant")[0], tenant_id=new_id()))
    become(app, of(mine))
    refused(app, partial(app.execute, again), "permission denied")
    with database.engine("caretree_platform").connect() as platform:
        become(platform, of(mine))
        refused(platform, partial(platform.execute, again), "row-level security")
        assert keys(platform, "tenant") == {(mine.tenant_id,)}
        for name in PLATFORMS:
            same = update(table("tenant")).values({name: table("tenant").c[name]})
            refused(app, partial(app.execute, same), "permission denied")
            with trying(platform):
                assert platform.execute(same).rowcount == 1
        become(platform, of(theirs))
        for name in ("slug", "currency", "policy_variant", "mfa_policy", "mfa_all_since"):
            change = update(table("tenant")).values({name: table("tenant").c[name]})
            refused(platform, partial(platform.execute, change), "permission denied")
        assert platform.execute(table("tenant").delete()).rowcount == 0  # it is not suspended
        platform.rollback()


DELETABLE = {"resource_assignment", "revoked_session", "idempotency"} | {
    *("scim_email", "scim_membership", "login_session", "realm_check"),
    *("scim_request", "scim_departure"),
    *("logout_token", "sign_in", "signing_key", "saml_request", "saml_message"),
    *("direct_session", "provider_warning"),
}


@pytest.mark.parametrize("name", sorted(set(MODELS) - DELETABLE))
def test_nothing_is_deleted(app: Connection, mine: System, name: str) -> None:
    become(app, of(mine, **everywhere("scope", "*"), **everywhere("write", "*")))
    refused(app, lambda: app.execute(table(name).delete()), "permission denied")
    refused(app, lambda: app.execute(text(f"truncate {name}")), "permission denied")


@pytest.mark.parametrize("name", sorted(DELETABLE))
def test_a_delete_reaches_the_tenants_rows_only(
    app: Connection, mine: System, theirs: System, name: str
) -> None:
    become(app, of(mine))
    assert app.execute(table(name).delete()).rowcount == len(mine.of(name))
    become(app, of(theirs))
    assert keys(app, name) == keys_of(theirs.of(name))


@pytest.mark.parametrize("role", ["caretree_worker", "caretree_audit"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_other_roles_see_no_row_of_a_cell(
    database: Database, mine: System, role: str, name: str
) -> None:
    with database.engine(role).connect() as connection:
        become(connection, of(mine, **everywhere("scope", "*")))
        refused(connection, lambda: keys(connection, name), "permission denied")


def test_the_auditor_of_reads_appends_for_the_tenant_only(
    database: Database, mine: System, theirs: System
) -> None:
    with database.engine("caretree_audit").connect() as connection:
        become(connection, of(mine))
        values = {"id": new_id(), "action": "patient:read", "outcome": "done"}
        add = insert(table("audit_event")).inline()  # nothing returned: the role may not read
        connection.execute(add.values(values | {"tenant_id": mine.tenant_id, "id": new_id()}))
        forged = add.values(values | {"tenant_id": theirs.tenant_id})
        refused(connection, lambda: connection.execute(forged), "row-level security")


@pytest.mark.parametrize("end", ["commit", "rollback", "error"])
def test_settings_end_with_their_transaction(database: Database, mine: System, end: str) -> None:
    with database.engine("caretree_app").connect() as connection:
        become(connection, of(mine, **everywhere("scope", "*"), **everywhere("write", "*")))
        assert keys(connection, "encounter")
        if end == "error":
            with pytest.raises(DBAPIError):
                connection.execute(text("select 1 / 0"))
        connection.commit() if end == "commit" else connection.rollback()
        for name in MODELS:
            assert keys(connection, name) == set()
        left = [f"app.{kind}_{r}" for kind, r in itertools.product(("scope", "write"), RESOURCES)]
        for name in ["app.tenant", *left]:
            assert connection.scalar(select(func.current_setting(name, True))) in (None, "")


def test_a_tenant_setting_that_outlived_its_scope_shows_no_patient(
    app: Connection, mine: System
) -> None:
    become(app, [("app.scope_patient", "*")])
    assert keys(app, "patient") == set()
