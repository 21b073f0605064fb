"""Run by Alembic for one chain (`cell` or `control`): one connection, one lock, one transaction, short waits.

The caller (`migrations.run`) hands over the engine, the chain and the metadata in the configuration's attributes.
"""

import re
import time
from typing import Any

from alembic import context
from sqlalchemy import Connection

from migrations.run import Chain

# Another migrator may be at work: wait for it. A table that clinics use: give up soon and try again later.
WAIT_FOR_MIGRATOR = 120.0
LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "60s"

# Not in the models: jobs are their library's, partitions are made month by month.
FOREIGN = re.compile(r"^(procrastinate_|idx_procrastinate_|audit_event_(default|\d{4}_\d{2}))")


def main() -> None:
    """Upgrade, downgrade or compare, as the command said."""
    attributes = context.config.attributes
    chain: Chain = attributes["chain"]
    with attributes["engine"].connect() as connection:
        settle(connection, chain)
        try:
            migrate(connection, chain, attributes["metadata"])
        finally:
            connection.rollback()
            connection.exec_driver_sql(f"select pg_advisory_unlock({chain.lock})")
            connection.commit()


def settle(connection: Connection, chain: Chain) -> None:
    """Take the chain's lock and set the times that a statement may wait and run."""
    take_turn(connection, chain)
    limit(connection)
    connection.exec_driver_sql("set timezone = 'UTC'")
    if chain.schema != "public":
        connection.exec_driver_sql(f"create schema if not exists {chain.schema}")
    connection.commit()


def take_turn(connection: Connection, chain: Chain) -> None:
    """Wait until no other migrator is at work. Raises TimeoutError.

    Asked again and again: whoever waits inside the server holds a snapshot there, and an index that the other makes
    CONCURRENTLY would wait for its end.
    """
    until = time.monotonic() + WAIT_FOR_MIGRATOR
    asked = f"select pg_try_advisory_lock({chain.lock})"
    while not connection.exec_driver_sql(asked).scalar_one():
        connection.rollback()
        if time.monotonic() > until:
            raise TimeoutError("another migrator has been at work for too long")
        time.sleep(0.2)


def limit(connection: Connection) -> None:
    """The times for a revision; set again after each, since one may have needed others."""
    connection.exec_driver_sql(f"set lock_timeout = '{LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"set statement_timeout = '{STATEMENT_TIMEOUT}'")


def migrate(connection: Connection, chain: Chain, metadata: Any) -> None:
    """All pending revisions in one transaction, with row-level security out of the way of an owner who needs it."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=None if chain.schema == "public" else chain.schema,
        include_schemas=chain.schema != "public",
        include_name=lambda name, kind, _parents: is_ours(name, kind, chain),
        compare_type=True,
        compare_server_default=True,
        on_version_apply=lambda *_, **__: limit(connection),
    )
    with context.begin_transaction():
        lifted = lift_force(connection, chain)
        context.run_migrations()
        if lifted:
            restore_force(connection, chain)


def is_ours(name: str | None, kind: str, chain: Chain) -> bool:
    """Whether the comparison with the models should look at it."""
    if kind == "schema":
        return name == (None if chain.schema == "public" else chain.schema)
    return name is None or not FOREIGN.match(name)


def lift_force(connection: Connection, chain: Chain) -> bool:
    """Take FORCE off where the owner has no BYPASSRLS: else a data migration changes no row, in silence."""
    exempt = connection.exec_driver_sql(
        "select rolbypassrls or rolsuper from pg_roles where rolname = current_user"
    ).scalar_one()
    if not exempt:
        for table in walled(connection, chain, forced=True):
            connection.exec_driver_sql(f"alter table {table} no force row level security")
    return not exempt


def restore_force(connection: Connection, chain: Chain) -> None:
    """Every table with a wall is forced again, also those that an interrupted run left without."""
    for table in walled(connection, chain, forced=False):
        connection.exec_driver_sql(f"alter table {table} force row level security")


def walled(connection: Connection, chain: Chain, *, forced: bool) -> list[str]:
    """The tables with row-level security whose FORCE is as asked, quoted."""
    rows = connection.exec_driver_sql(
        "select oid::regclass::text from pg_class where relkind in ('r', 'p') and relrowsecurity"
        " and relnamespace = to_regnamespace(%s) and relforcerowsecurity = %s order by 1",
        (chain.schema, forced),
    )
    return list(rows.scalars())


main()
