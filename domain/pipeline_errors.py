"""What the database can answer instead of rows. No message carries a value.

DatabaseError          PostgreSQL refused: its SQLSTATE, and the constraint and table by name
├── DeadlineExceeded   the unit's time is over (57014); a write may still have happened
├── OutcomeUnknown     the connection died after the unit was sent (08006)
└── Unavailable        nothing was sent: no connection, or the queue is full (08001)
"""

from psycopg import pq


class DatabaseError(Exception):
    """PostgreSQL's refusal. Its message and DETAIL are left out: both can quote a row."""

    def __init__(
        self, sqlstate: str, constraint: str | None = None, table: str | None = None
    ) -> None:
        super().__init__(f"The database refused with SQLSTATE {sqlstate or 'unknown'}.")
        self.sqlstate = sqlstate
        self.constraint = constraint
        self.table = table

    @classmethod
    def of(cls, result: pq.abc.PGresult) -> "DatabaseError":
        def field(code: pq.DiagnosticField) -> str | None:
            value = result.error_field(code)
            return value.decode("utf-8", "replace") if value else None

        return cls(
            field(pq.DiagnosticField.SQLSTATE) or "",
            field(pq.DiagnosticField.CONSTRAINT_NAME),
            field(pq.DiagnosticField.TABLE_NAME),
        )


class DeadlineExceeded(DatabaseError):
    """The unit was not answered in time."""

    def __init__(self) -> None:
        super().__init__("57014")


class OutcomeUnknown(DatabaseError):
    """The connection died under the unit. A read may be asked again, a write must be looked up."""

    def __init__(self) -> None:
        super().__init__("08006")


class Unavailable(DatabaseError):
    """Nothing was sent, so nothing happened: there is no connection, or too many wait."""

    def __init__(self) -> None:
        super().__init__("08001")
