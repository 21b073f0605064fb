"""`caretree rules …` and `caretree jobs …` as an operator types them."""

import re
from dataclasses import dataclass

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from api.commands import jobs, rules
from domain.people import Person
from domain.scim import ScimMembership
from tests import directories, make
from tests.database import Database
from tests.identity.scim.conftest import register


@dataclass
class Desk:
    """A health system with two administrators, one of the system and one of a clinic, and a nurse in a group."""

    database: Database
    slug: str
    tree: make.Tree
    boss: Person
    local: Person
    nurse: Person

    def rules(self, *arguments: str) -> Result:
        return self._run(rules.app, arguments[0], "--tenant", self.slug, *arguments[1:])

    def jobs(self, *arguments: str) -> Result:
        return self._run(jobs.app, *arguments)

    def _run(self, app: object, *arguments: str) -> Result:
        environment = {
            "CARETREE_DATABASE_URL": self.database.app_url,
            "CARETREE_WORKER_DATABASE_URL": self.database.worker_url,
            "COLUMNS": "200",
        }
        return CliRunner(env=environment).invoke(app, arguments)  # type: ignore[arg-type]  # typer's own type


@pytest.fixture
def desk(database: Database) -> Desk:
    tree = make.tree()
    boss, local, nurse = (make.person(tree.tenant) for _ in range(3))
    grants = (
        make.grant(boss, "system_admin", tree.root),
        make.grant(local, "clinic_admin", tree.clinics[0]),
    )
    make.save(database, *tree.rows, boss, local, nurse, *grants)
    group = directories.group(nurse, "Nurses")
    make.save(database, directories.user(nurse), group)
    member = ScimMembership(
        tenant_id=nurse.tenant_id, group_id=group.id, member_id=nurse.id, user_id=nurse.id
    )
    make.save(database, member)
    return Desk(database, register(database, tree), tree, boss, local, nurse)


def test_rules_are_tried_made_listed_taken_over_and_ended(desk: Desk) -> None:
    asked = ("add", "--value", "Nurses", "--role", "nurse", "--unit", str(desk.tree.clinics[0].id))
    tried = desk.rules(*asked, "--by", desk.local.user_name, "--dry-run")
    assert tried.exit_code == 0, tried.output
    assert "1 people would gain it" in tried.stdout
    assert str(desk.nurse.id) in tried.stdout
    assert desk.rules("list").stdout == ""
    # The author gives what they may give: not at another clinic, not a role above their own.
    other = [*asked[:-1], str(desk.tree.clinics[1].id)]
    for wrong in (
        (*other, "--by", desk.local.user_name),
        (*asked[:3], "--role", "clinic_admin", *asked[5:], "--by", desk.local.user_name),
        (*asked, "--by", desk.nurse.user_name),
        (*asked, "--by", "nobody-at-all"),
        (*asked[:-1], "Nowhere", "--by", desk.boss.user_name),
    ):
        assert desk.rules(*wrong).exit_code == 1, wrong
    assert desk.rules("list").stdout == ""
    assert desk.rules(*asked, "--by", desk.local.user_name).exit_code == 0
    (line,) = desk.rules("list").stdout.splitlines()
    assert "groups exact 'Nurses': nurse at" in line
    rule = line.split()[0]
    with desk.database.owner_engine.begin() as connection:
        over = text("update role_grant set valid_until = now() where person_id = :p")
        connection.execute(over, {"p": desk.local.id})
    assert "gives nothing new" in desk.rules("list").stdout
    assert desk.rules("take-over", "--by", desk.local.user_name, rule).exit_code == 1
    assert desk.rules("take-over", "--by", desk.boss.user_name, rule).exit_code == 0
    assert "gives nothing new" not in desk.rules("list").stdout
    gone = desk.rules("end", "--by", desk.boss.user_name, rule, "--dry-run")
    assert "1 people would lose it" in gone.stdout, "what a job is about to give counts as given"
    assert desk.rules("end", "--by", desk.boss.user_name, rule).exit_code == 0
    assert desk.rules("list").stdout == ""
    jobs_ = "select count(*) from procrastinate_jobs where args ->> 'tenant_id' = :t and task_name = 'identity:apply_rules'"
    with desk.database.owner_engine.begin() as connection:
        assert connection.scalar(text(jobs_), {"t": str(desk.nurse.tenant_id)}) == 3


def test_jobs_that_were_given_up_are_listed_and_run_again(desk: Desk) -> None:
    dead = (
        "insert into procrastinate_jobs (queue_name, task_name, args, status, attempts)"
        " values ('identity', 'identity:sync_person', jsonb_build_object('tenant_id', cast(:t as text),"
        " 'person_id', cast(:p as text)), 'failed', 300) returning id"
    )
    values = {"t": str(desk.nurse.tenant_id), "p": str(desk.nurse.id)}
    with desk.database.owner_engine.begin() as connection:
        ids = [connection.scalar(text(dead), values) for _ in range(2)]
    shown = desk.jobs("dead", "--tenant", desk.slug)
    assert shown.exit_code == 0, shown.output
    assert len(shown.stdout.splitlines()) == 2
    assert re.search(rf"{ids[0]} .*sync_person.*{desk.nurse.id}.*300 times", shown.stdout)
    assert desk.jobs("dead", "--tenant", "no-such").exit_code != 0
    assert "1 jobs" in desk.jobs("replay", str(ids[0]), "--tenant", desk.slug).stdout
    assert len(desk.jobs("dead", "--tenant", desk.slug).stdout.splitlines()) == 1
    assert "1 jobs" in desk.jobs("replay", "--tenant", desk.slug).stdout
    waiting = "select status::text, attempts from procrastinate_jobs where id = any(:ids)"
    with desk.database.owner_engine.begin() as connection:
        rows = connection.execute(text(waiting), {"ids": ids}).all()
        connection.execute(
            text("delete from procrastinate_jobs where id = any(:ids)"), {"ids": ids}
        )
    assert [tuple(row) for row in rows] == [("todo", 0), ("todo", 0)]
