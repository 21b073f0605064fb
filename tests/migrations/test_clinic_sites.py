"""The clinic's row comes beside a department's, within the caller's write scope and no further."""

import pytest
from sqlalchemy import Connection, text

from domain.patients import Patient
from tests import make
from tests.database import Database


def made(app: Connection, tree: make.Tree, who: Patient, scope: str, tenant: object = None) -> int:
    for name, value in (("app.tenant", tenant or who.tenant_id), ("app.write_patient", scope)):
        app.execute(text("select set_config(:n, :v, true)"), {"n": name, "v": str(value)})
    department = tree.departments[0][0].id
    asked = {"t": who.tenant_id, "p": who.id, "d": department}
    return int(app.scalar(text("select make_clinic_site(:t, :p, :d)"), asked) or 0)


@pytest.mark.parametrize("within", ["*", "department", "clinic"])
def test_once_within_the_scope(app: Connection, database: Database, within: str) -> None:
    tree = make.tree()
    who = make.patient(tree.tenant)
    department, clinic = tree.departments[0][0], tree.clinics[0]
    make.save(database, *tree.rows, who, make.site(who, department))
    scope = {"department": f"{{{department.id}}}", "clinic": f"{{{clinic.id}}}"}.get(within, "*")
    assert made(app, tree, who, scope) == 1
    assert made(app, tree, who, scope) == 0


def test_nothing_beyond_it(app: Connection, database: Database) -> None:
    tree, other = make.tree(), make.tree()
    who = make.patient(tree.tenant)
    make.save(database, *tree.rows, *other.rows, who, make.site(who, tree.departments[0][0]))
    for scope in ("", "{}", f"{{{tree.clinics[1].id}}}"):
        assert made(app, tree, who, scope) == 0
    assert made(app, tree, who, "*", other.tenant.tenant_id) == 0
