"""The statements themselves: one for a root field, each table joined by a condition, each alias in its tenant."""

import re
from collections.abc import Iterator

import pytest

from domain.pipeline import Statement
from domain.schedules.free_times import SQL
from tests import who
from tests.oracle.documents import AT_A_NODE, LISTS, connection, everything
from tests.oracle.fields import NODE_TYPES
from tests.oracle.generate import Generator
from tests.oracle.stage import Stage
from tests.oracle.world import models

pytestmark = pytest.mark.anyio
ASKERS = ("system_admin", "director", "ward_nurse", "float", "crowd", "nurse_and_biller")
TABLES = frozenset(model.__tablename__ for model in models())
TOKEN = re.compile(r"'(?:[^']|'')*'|\$\d+|\"[^\"]+\"|[A-Za-z_][\w.$]*|::|[^\s]")
ENDS = {"WHERE", "GROUP", "ORDER", "LIMIT", "UNION", "HAVING", ")", "OFFSET"}


async def planned(stage: Stage) -> list[tuple[str, Statement]]:
    """Statements of all root fields and of random documents, for people of every shape of reach; whose and what."""
    stage.pipeline.units.clear()
    generator = Generator(31, stage.rows)
    documents = [generator.document() for _ in range(40)]
    for root, type_ in LISTS.items():
        documents.append((f"{{{root}(first:3){connection(type_, 1)}}}", {}))
    for root in AT_A_NODE:
        node = {"n": stage.unit("north"), "a": None}
        page = connection(LISTS[root], 1)
        documents.append((f"query($n:ID $a:String){{{root}(node:$n after:$a){page}}}", node))
    out: list[tuple[str, Statement]] = []
    for name in ASKERS:
        for text, variables in documents:
            stage.pipeline.units.clear()
            await stage.ask(stage.actor(who.BY_NAME[name]), text, variables)
            made = (statement for unit in stage.pipeline.units for statement in unit)
            out += [(name, one) for one in made if one.sql != SQL]  # written by hand
    return list({statement.sql: (name, statement) for name, statement in out}.values())


async def test_one_statement_for_each_root_field(stage: Stage) -> None:
    documents = {f"{{{root}(first:2){connection(type_, 1)}}}": 1 for root, type_ in LISTS.items()}
    documents |= {
        f"{{organization{everything('OrgUnit', 1)}}}": 1,
        f"{{viewer{{me{everything('Person', 0)} grants{{id}}}}}}": 1,
        "{viewer{userName}}": 0,
        f'{{availability(clinic:"{stage.unit("n1")}" date:"2027-03-28"){{name slots{{endsAt}}}}}}': 1,
        f'{{scheduleRules(clinic:"{stage.unit("n1")}"){everything("ScheduleRule", 1)}}}': 1,
        "{a:patients{nodes{id}} b:encounters{nodes{id notes{body}}} viewer{userName}}": 2,
    }
    for root, table in (("patient", "patient"), ("encounter", "encounter"), ("invoice", "invoice")):
        id_ = f"{root.title()}:{stage.rows[0].all(table)[0].id}"
        documents[f'{{{root}(id:"{id_}"){everything(root.title(), 2)}}}'] = 1
    some = [f'"{t.name}:{stage.rows[0].all(t.table or "")[0].id}"' for t in NODE_TYPES]
    parts = " ".join(f"...on {t.name}{everything(t.name, 0)}" for t in NODE_TYPES)
    documents[f"{{nodes(ids:[{','.join(some)}]){{id {parts}}}}}"] = 1
    documents[f"{{node(id:{some[0]}){{id}}}}"] = 1
    patient = f"Patient:{stage.rows[0].all('patient')[0].id}"
    documents[f'{{account(patient:"{patient}"){everything("Account", 1)}}}'] = 1
    for name in ("system_admin", "clinic_and_ward", "crowd"):
        for text, expected in documents.items():
            stage.pipeline.units.clear()
            await stage.ask(stage.actor(who.BY_NAME[name]), text)
            units = stage.pipeline.units
            may = name == "system_admin"
            assert all(len(unit) == 1 for unit in units)
            assert len(units) == expected or (not may and len(units) < expected), text


NO_ROWS = "WHERE false"


class Scan:
    """The sources of every SELECT of a statement, found by its brackets."""

    def __init__(self, sql: str) -> None:
        self.tokens = TOKEN.findall(sql)

    def froms(self) -> Iterator[list[str]]:
        """The tokens of each FROM clause, those in brackets left out, with the condition where that is `false`."""
        for i, token in enumerate(self.tokens):
            if token.upper() == "FROM":
                yield list(self.flat(i + 1))

    def flat(self, start: int) -> Iterator[str]:
        depth = 0
        for i, token in enumerate(self.tokens[start:], start):
            if depth == 0 and token.upper() in ENDS:
                if self.tokens[i : i + 2] == ["WHERE", "false"]:
                    yield NO_ROWS
                return
            depth -= token == ")"
            if depth == 0:
                yield token
            depth += token == "("


def bases(clause: list[str]) -> Iterator[tuple[str, str]]:
    """(table, alias) of the tables of ours in a FROM clause."""
    for i, token in enumerate(clause):
        after = i == 0 or clause[i - 1].upper() in ("JOIN", ",", "(")
        if after and token.strip('"') in TABLES:
            named = i + 2 < len(clause) and clause[i + 1].upper() == "AS"
            yield token.strip('"'), clause[i + 2] if named else token


async def test_no_table_stands_beside_another_without_a_condition(stage: Stage) -> None:
    """SQLAlchemy adds what it cannot correlate to FROM, behind a comma: the whole table, wrong rows."""
    statements = await planned(stage)
    assert len(statements) > 100
    found = 0
    for name, statement in statements:
        for clause in Scan(statement.sql).froms():
            assert "," not in clause, f"{name}: {' '.join(clause)}\n{statement.sql}"
            text = " ".join(clause).upper()
            crossed = re.search(r"JOIN (?!LATERAL)\S+(?: AS \S+)? ON TRUE", text)
            assert not crossed, f"{name}: {text}\n{statement.sql}"
            listed = list(bases(clause))
            found += len(listed)
            # Further tables of a FROM are joined by an id under their own tenant.
            assert len(listed) <= 2, f"{name}: {text}\n{statement.sql}"
    assert found > 500


async def test_every_alias_is_held_in_the_tenant_of_the_asker(stage: Stage) -> None:
    for name, statement in await planned(stage):
        tenant = str(stage.actor(who.BY_NAME[name]).tenant_id).encode()
        numbers = [i + 1 for i, value in enumerate(statement.params) if value == tenant]
        assert len(numbers) <= 1, f"{name}: the tenant is sent {len(numbers)} times"
        said = rf"\${numbers[0] if numbers else 0}(?:::UUID)?"
        sql = statement.sql
        held = set(re.findall(rf"([\w$]+)\.tenant_id = {said}(?!\d)", sql))
        pairs = re.findall(r"([\w$]+)\.tenant_id = ([\w$]+)\.tenant_id", sql)
        clauses = [clause for clause in Scan(sql).froms() if clause[-1] != NO_ROWS]
        aliases = {alias for clause in clauses for _, alias in bases(clause)}
        while more := {a for pair in pairs for a in pair if set(pair) & held} - held:
            held |= more
        assert aliases <= held, f"{name}: {sorted(aliases - held)}\n{sql}"
