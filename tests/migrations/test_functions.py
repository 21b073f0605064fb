"""The functions that see more than their caller: each for one purpose and no further."""

import datetime as dt
import uuid
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from domain.audit import AuditEvent
from domain.model import Base, new_id
from domain.patients import Patient
from tests import make
from tests.database import Database

BORN = dt.date(1980, 5, 17)


@pytest.fixture
def tree(database: Database) -> make.Tree:
    tree = make.tree()
    make.save(database, *tree.rows)
    return tree


def seen(database: Database, tree: make.Tree, **values: object) -> Patient:
    """A patient at the second clinic, saved."""
    who, *sites = make.patient_at(
        tree.tenant, tree.clinics[1], **{"family_name": "Ito", "birth_date": BORN} | values
    )
    make.save(database, who, *sites)
    assert isinstance(who, Patient)
    return who


@dataclass
class Desk:
    """Asks as the application, for the first clinic unless told otherwise; `writes` is the scope that it has there."""

    app: Connection
    tree: make.Tree

    def find(
        self,
        mrn: str,
        born: dt.date = BORN,
        family: str = "ito",
        *,
        tenant: uuid.UUID | None = None,
        setting: uuid.UUID | None = None,
        place: uuid.UUID | None = None,
        writes: str = "*",
    ) -> uuid.UUID | None:
        own = self.tree.tenant.tenant_id
        self.set("app.tenant", str(setting or own))
        self.set("app.write_patient", writes)
        self.set("app.scope_patient", "*")  # reading everywhere opens nothing
        place = place or self.tree.clinics[0].id
        asked = {"t": tenant or own, "p": place, "m": mrn, "b": born, "f": family}
        call = text("select find_for_admission(:t, :p, :m, :b, :f)")
        found: uuid.UUID | None = self.app.scalar(call, asked)
        return found

    def set(self, name: str, value: str) -> None:
        self.app.execute(text("select set_config(:n, :v, true)"), {"n": name, "v": value})


@pytest.fixture
def desk(app: Connection, tree: make.Tree) -> Desk:
    return Desk(app, tree)


def test_an_exact_match_is_found_wherever_it_is_seen(desk: Desk, database: Database) -> None:
    who = seen(database, desk.tree, mrn="A1")
    assert desk.find("A1") == who.id


def test_nobody_is_found_for_a_place_outside_of_the_write_scope(
    desk: Desk, database: Database
) -> None:
    """Where the patient is seen does not matter: the place is the one that would see them from now on."""
    who, (here, there) = seen(database, desk.tree, mrn="F1"), desk.tree.clinics[:2]
    department = make.unit(desk.tree.tenant, here, "department")
    make.save(database, department)
    for writes, places in (
        (f"{{{here.id}}}", (here, department)),
        (f"{{{department.id}}}", (department,)),
        (f"{{{there.id}}}", (there,)),
        (f"{{{here.id},{there.id}}}", (here, there, department)),
        ("{}", ()),
        ("", ()),
    ):
        for place in (here, there, department):
            expected = who.id if place in places else None
            assert desk.find("F1", place=place.id, writes=writes) == expected
    assert desk.find("F1", place=uuid.uuid4()) is None


def test_who_writes_nowhere_finds_nobody_without_a_place_either(
    desk: Desk, database: Database
) -> None:
    """As code of the revision before asks."""
    who = seen(database, desk.tree, mrn="F2")
    asked = {"t": who.tenant_id, "b": BORN}
    call = text("select find_for_admission(:t, 'F2', :b, 'ito')")
    for writes, expected in (
        ("*", who.id),
        (f"{{{desk.tree.clinics[0].id}}}", who.id),
        ("{}", None),
        ("", None),
    ):
        desk.find("F2", writes=writes)
        assert desk.app.scalar(call, asked) == expected


def test_any_difference_finds_nothing(desk: Desk, database: Database) -> None:
    seen(database, desk.tree, mrn="A1")
    assert desk.find("A2") is None
    assert desk.find("A1", dt.date(1980, 5, 18)) is None
    assert desk.find("A1", family="it") is None
    assert desk.find("a1") is None


def test_a_restricted_or_inactive_patient_is_not_found(desk: Desk, database: Database) -> None:
    seen(database, desk.tree, mrn="B1", sensitivity=1)
    seen(database, desk.tree, mrn="B2", active=False)
    assert desk.find("B1") is None
    assert desk.find("B2") is None


def test_two_who_match_are_nobody(desk: Desk, database: Database) -> None:
    seen(database, desk.tree, mrn="C1", mrn_assigner="old system")
    seen(database, desk.tree, mrn="C1", mrn_assigner="new system")
    assert desk.find("C1") is None


def test_another_health_system_is_not_searched(desk: Desk, database: Database) -> None:
    who = seen(database, desk.tree, mrn="D1")
    other = make.tenant()
    make.save(database, other)
    assert desk.find("D1", setting=other.tenant_id) is None
    assert desk.find("D1", tenant=other.tenant_id, setting=who.tenant_id) is None


def test_without_a_tenant_nothing_is_found(
    app: Connection, database: Database, tree: make.Tree
) -> None:
    who = seen(database, tree, mrn="E1")
    asked = {"t": who.tenant_id, "p": tree.clinics[0].id, "b": BORN}
    app.execute(text("select set_config('app.write_patient', '*', true)"))
    assert app.scalar(text("select find_for_admission(:t, :p, 'E1', :b, 'ito')"), asked) is None


@pytest.mark.parametrize("role", ["caretree_worker", "caretree_audit"])
def test_only_the_application_may_search(database: Database, role: str) -> None:
    with database.engine(role).connect() as connection:
        for ids in ("gen_random_uuid()", "gen_random_uuid(), gen_random_uuid()"):
            asked = text(f"select find_for_admission({ids}, 'x', '2000-01-01', 'x')")
            with pytest.raises(ProgrammingError, match="permission denied"), connection.begin():
                connection.execute(asked)


def definers(connection: Connection) -> list[tuple[str, str]]:
    found = connection.execute(
        text(
            "select p.proname, coalesce(array_to_string(p.proconfig, ' '), '') from pg_proc p"
            " where p.prosecdef and p.pronamespace = 'public'::regnamespace order by 1"
        )
    )
    return [(row[0], row[1]) for row in found]


def test_whoever_runs_as_the_owner_pins_the_search_path(owner: Connection) -> None:
    found = definers(owner)
    assert {"find_for_admission", "make_audit_partitions"} <= {name for name, _ in found}
    for name, settings in found:
        assert "search_path=pg_catalog, pg_temp" in settings, name


def test_no_function_of_the_owner_is_open_to_everybody(owner: Connection) -> None:
    open_to_all = owner.scalars(
        text(
            "select p.proname from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
            " where p.prosecdef and p.pronamespace = 'public'::regnamespace and a.grantee = 0"
        )
    )
    assert open_to_all.all() == []


def event(tree: make.Tree, at: dt.datetime) -> Base:
    key = {"tenant_id": tree.tenant.tenant_id, "id": new_id(), "recorded_at": at}
    return AuditEvent(**key, action="patient:read", outcome="done")


def lies_in(connection: Connection, tree: make.Tree) -> list[str]:
    found = connection.scalars(
        text("select tableoid::regclass::text from audit_event where tenant_id = :t order by 1"),
        {"t": tree.tenant.tenant_id},
    )
    return list(found)


def test_events_lie_in_the_partition_of_their_month(owner: Connection) -> None:
    tree, now = make.tree(), make.now()
    make.save(
        owner, *tree.rows, event(tree, now), event(tree, dt.datetime(2019, 1, 1, tzinfo=dt.UTC))
    )
    assert lies_in(owner, tree) == [f"audit_event_{now:%Y_%m}", "audit_event_default"]


def test_the_next_months_are_made_and_take_their_events_along(owner: Connection) -> None:
    """Also those that came before their partition and lie in the default one."""
    tree = make.tree()
    late = make.now() + dt.timedelta(days=300)
    make.save(owner, *tree.rows, event(tree, late))
    assert lies_in(owner, tree) == ["audit_event_default"]
    owner.execute(text("set local role caretree_worker"))
    assert owner.scalar(text("select make_audit_partitions(12)")) == 9
    assert owner.scalar(text("select make_audit_partitions(12)")) == 0
    owner.execute(text("set local role caretree_owner"))
    assert lies_in(owner, tree) == [f"audit_event_{late:%Y_%m}"]
    walled = owner.scalars(
        text(
            "select relname from pg_class where relname like 'audit_event%' and relkind in ('r', 'p')"
            " and not (relrowsecurity and relforcerowsecurity)"
        )
    )
    assert walled.all() == []


def test_a_partition_is_no_way_around_the_wall(app: Connection, owner: Connection) -> None:
    names = owner.scalars(
        text(
            "select inhrelid::regclass::text from pg_inherits where inhparent = 'audit_event'::regclass"
        )
    ).all()
    assert len(names) >= 5
    for name in names:
        for privilege in ("select", "insert", "update", "delete"):
            asked = text("select has_table_privilege('caretree_app', :n, :p)")
            assert owner.scalar(asked, {"n": name, "p": privilege}) is False


def test_the_application_makes_no_partitions(app: Connection) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        app.execute(text("select make_audit_partitions(1)"))
