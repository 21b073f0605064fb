"""What a schema of the database consists of, told by PostgreSQL itself, so that two can be compared."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

VERSIONS = "alembic_version"

COLUMNS = """
select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    pg_get_expr(d.adbin, d.adrelid), coalesce(nullif(k.collname, 'default'), '')
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
left join pg_collation k on k.oid = a.attcollation
where c.relnamespace = to_regnamespace(:schema) and c.relkind in ('r', 'p')"""

CONSTRAINTS = """
select c.relname, o.conname, pg_get_constraintdef(o.oid)
from pg_class c join pg_constraint o on o.conrelid = c.oid and o.contype <> 'n'
where c.relnamespace = to_regnamespace(:schema)"""

INDEXES = """
select tablename, indexname, replace(indexdef, ' ' || schemaname || '.', ' ') from pg_indexes
where schemaname = :schema"""

PARTITIONED = """
select c.relname, pg_get_partkeydef(c.oid) from pg_class c
where c.relnamespace = to_regnamespace(:schema) and c.relkind in ('r', 'p')"""

WALLS = """
select c.relname, c.relrowsecurity, c.relforcerowsecurity, array_to_string(coalesce(c.relacl, acldefault('r', c.relowner)), ' ')
from pg_class c where c.relnamespace = to_regnamespace(:schema) and c.relkind in ('r', 'p')"""

POLICIES = """
select tablename, policyname, cmd, array_to_string(roles, ' '), qual, with_check from pg_policies
where schemaname = :schema"""

OTHERS = {
    "functions": """
        select p.oid::regprocedure::text, pg_get_functiondef(p.oid), array_to_string(coalesce(p.proacl, acldefault('f', p.proowner)), ' ')
        from pg_proc p where p.pronamespace = to_regnamespace(:schema) and p.prokind = 'f'
        and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')""",
    "statistics": """
        select stxname, stxrelid::regclass::text, stxkeys::text, stxkind::text from pg_statistic_ext
        where stxnamespace = to_regnamespace(:schema)""",
    "sequences": """
        select relname, array_to_string(coalesce(relacl, acldefault('s', relowner)), ' ') from pg_class
        where relnamespace = to_regnamespace(:schema) and relkind = 'S'""",
    "types": """
        select t.typname from pg_type t left join pg_class c on c.oid = t.typrelid
        where t.typnamespace = to_regnamespace(:schema) and t.typtype in ('e', 'd')
        and not exists (select from pg_depend d where d.objid = t.oid and d.deptype = 'e')""",
    "rights on columns": """
        select c.relname, a.attname, r.grantee::regrole::text, string_agg(r.privilege_type, ' ' order by r.privilege_type)
        from pg_class c join pg_attribute a on a.attrelid = c.oid and not a.attisdropped
        cross join lateral aclexplode(a.attacl) r
        where c.relnamespace = to_regnamespace(:schema) group by 1, 2, 3""",
    "triggers": """
        select c.relname, g.tgname from pg_trigger g join pg_class c on c.oid = g.tgrelid
        where not g.tgisinternal and c.relnamespace = to_regnamespace(:schema)""",
}


@dataclass
class Catalogue:
    """Tables by name, each with its parts; and what lies beside tables."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    access: dict[str, list[Any]] = field(default_factory=dict)
    others: dict[str, list[Any]] = field(default_factory=lambda: {kind: [] for kind in OTHERS})

    def forget_version_table(self) -> None:
        """Alembic's own table stays when everything else has gone."""
        self.tables.pop(VERSIONS, None)
        self.access.pop(VERSIONS, None)

    def only(self, names: set[str]) -> "Catalogue":
        """The tables of these names."""
        return Catalogue({name: table for name, table in self.tables.items() if name in names})


def catalogue(connection: Connection, schema: str) -> Catalogue:
    """Read what the schema has. The extension that exclusion constraints need is expected in `public`."""
    connection.execute(text(f"set local search_path = {schema}, public"))
    given = {"schema": schema}
    found = Catalogue()

    def ask(statement: str) -> list[Any]:
        return sorted((tuple(row) for row in connection.execute(text(statement), given)), key=repr)

    for name, key in ask(PARTITIONED):
        found.tables[name] = {
            "partitioned by": key,
            "columns": [],
            "constraints": [],
            "indexes": [],
        }
    parts = {"columns": COLUMNS, "constraints": CONSTRAINTS, "indexes": INDEXES}
    for part, statement in parts.items():
        for name, *rest in ask(statement):
            found.tables[name][part].append(tuple(rest))
    for name, *rest in [*ask(WALLS), *ask(POLICIES)]:
        found.access.setdefault(name, []).append(tuple(rest))
    found.others = {kind: ask(statement) for kind, statement in OTHERS.items()}
    return found
