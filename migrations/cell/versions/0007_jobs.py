"""Background jobs: the tables of procrastinate, by the schema that the installed library brings.

A job is deferred in the transaction of the command that needs it, so the application may add jobs but reads
none; the worker does all else. A newer library with migrations of its own needs a revision of ours that
applies them where they are missing; a test names the last one that this schema holds.

Revision: 0007
"""

from importlib.resources import files

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

GRANTS = """\
grant insert on procrastinate_jobs, procrastinate_events to caretree_app;
grant select (id) on procrastinate_jobs to caretree_app;
grant usage on sequence procrastinate_jobs_id_seq, procrastinate_events_id_seq to caretree_app;
grant select, insert, update, delete on procrastinate_workers, procrastinate_jobs,
    procrastinate_periodic_defers, procrastinate_events to caretree_worker;
grant usage on sequence procrastinate_jobs_id_seq, procrastinate_events_id_seq,
    procrastinate_periodic_defers_id_seq, procrastinate_workers_id_seq to caretree_worker;
"""

DROP = """\
do $$
declare name text;
begin
    for name in select oid::regprocedure from pg_proc where proname like 'procrastinate\\_%' loop
        execute 'drop function ' || name || ' cascade';
    end loop;
end
$$;
drop table procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs, procrastinate_workers;
drop type procrastinate_job_to_defer_v1, procrastinate_job_event_type, procrastinate_job_status;
"""


def upgrade() -> None:
    """The library's tables, functions and triggers, then who may use them."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(files("procrastinate").joinpath("sql", "schema.sql").read_text())
    bind.exec_driver_sql(GRANTS)


def downgrade() -> None:
    """Drop what this revision made; jobs not done are lost."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(DROP)
