"""Rows on their way into the database: collected by table, written by COPY in the order of the foreign keys."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from psycopg import AsyncConnection, sql
from sqlalchemy.dialects.postgresql import Range

Row: TypeAlias = Mapping[str, object]
"""A row by column. All rows of one table name the same columns in the same order."""

TABLES = (
    "charge_master",
    "payer",
    "bookable_resource",
    "resource_assignment",
    "patient",
    "patient_site",
    "coverage",
    "appointment",
    "appointment_block",
    "encounter",
    "note",
    "observation",
    "condition",
    "allergy_intolerance",
    "medication_request",
    "medication_statement",
    "procedure",
    "immunization",
    "charge_item",
    "invoice",
    "invoice_line",
    "posting",
    "allocation",
    "audit_event",
)
"""The tables that are filled, referenced ones first."""


class Batch:
    """Rows that belong together and are committed together."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {name: [] for name in TABLES}

    def add(self, table: str, row: Row) -> None:
        """Put a row into a table."""
        self.tables[table].append(row)

    def __len__(self) -> int:
        return sum(map(len, self.tables.values()))


async def copy(connection: AsyncConnection[Any], batch: Batch) -> None:
    """Write the rows over psycopg's connection, in its transaction. Who writes must be exempt from the walls."""
    async with connection.cursor() as cursor:
        for table, rows in batch.tables.items():
            if not rows:
                continue
            columns = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
            command = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier(table), columns)
            async with cursor.copy(command) as stream:
                for start in range(0, len(rows), 2000):
                    await stream.write("".join(map(line, rows[start : start + 2000])))


def line(row: Row) -> str:
    """A row in the text format of COPY."""
    return "\t".join([_TEXT[type(v)](v) for v in row.values()]) + "\n"


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _array(values: list[object]) -> str:
    return "{" + ",".join(f'"{v}"' for v in values) + "}"


def _range(value: Range[dt.datetime]) -> str:
    return f"[{value.lower},{value.upper})"


_TEXT: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "\\N",
    str: lambda v: v.translate(_ESCAPES),
    uuid.UUID: str,
    int: str,
    float: repr,
    bool: lambda v: "t" if v else "f",
    bytes: lambda v: "\\\\x" + v.hex(),
    dt.datetime: str,
    dt.date: str,
    Decimal: str,
    list: _array,
    Range: _range,
}
