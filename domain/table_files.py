"""Tables as spreadsheets write them, read line by line, with what is wrong told by line and code.

A byte order mark, commas, semicolons or tabs, quotes, a first line `sep=;` and columns in any order are taken.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 200_000
MOST_PROBLEMS = 100
_SEPARATORS = ",;\t"
_MARK = "\ufeff"
_LOST = "\ufffd"
"""What stands for a character that was read in another encoding than it was written in."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line, from 1 as editors count them; 0 is the file. `code` is stable."""

    line: int
    code: str
    message: str
    column: str | None = None


@dataclass(frozen=True)
class Row:
    """A line that says something: its cells by column, without the blanks around them."""

    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        """The cell, empty where the table has no such column."""
        return self.cells.get(column, "")


@dataclass(frozen=True)
class Form:
    """What a table may look like: its columns, of which one at least of `some` is there, and how many lines."""

    columns: tuple[str, ...]
    some: Collection[str]
    most: int
    things: str


def read_rows(text: str, form: Form) -> tuple[list[Row], list[Problem]]:
    """The lines of a table below its first, and what is wrong with it as a table. Never raises."""
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        return [], [Problem(0, "TOO_LARGE", f"A table has at most {MOST_BYTES} bytes.")]
    if _LOST in text or "\x00" in text:
        return [], [Problem(0, "NOT_UTF8", "Save the table as UTF-8 and send it again.")]
    lines = text.removeprefix(_MARK).splitlines()
    skipped = 0
    separator = None
    if lines and lines[0].lower().startswith("sep=") and len(lines[0]) == len("sep=;"):
        separator, skipped = lines[0][-1], 1
    rest = lines[skipped:]
    return _rows(csv.reader(rest, delimiter=separator or _separator(rest)), skipped, form)


def _separator(lines: list[str]) -> str:
    """The one that the first line has most of."""
    first = lines[0] if lines else ""
    return max(_SEPARATORS, key=first.count)


def _rows(reader: Any, skipped: int, form: Form) -> tuple[list[Row], list[Problem]]:
    rows: list[Row] = []
    problems: list[Problem] = []
    columns: list[str] | None = None
    try:
        for cells in reader:
            line = reader.line_num + skipped
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = [cell.strip().lower() for cell in cells]
                if strange := _of_columns(columns, line, form):
                    return [], [strange]
                continue
            if len(rows) + len(problems) >= form.most:
                message = (
                    f"A table has at most {form.most} {form.things}: give the rest another time."
                )
                return rows, [*problems, Problem(line, "TOO_MANY_LINES", message)]
            if any(cell.strip() for cell in cells[len(columns) :]):
                message = "This line has more cells than columns."
                problems.append(Problem(line, "TOO_MANY_CELLS", message))
                continue
            told = {c: cell.strip() for c, cell in zip(columns, cells, strict=False)}
            rows.append(Row(line, told))
    except csv.Error:
        line = reader.line_num + skipped
        return rows, [*problems, Problem(line, "NO_TABLE", "From here on this is no table.")]
    if columns is None:
        problems.append(Problem(0, "EMPTY", "The table is empty."))
    return rows, problems


def _of_columns(columns: list[str], line: int, form: Form) -> Problem | None:
    said = f"The first line names the columns: some of {', '.join(form.columns)}."
    named = [c for c in columns if c]
    if set(named) - set(form.columns) or not set(named) & set(form.some):
        return Problem(line, "COLUMN_UNKNOWN", said)
    return Problem(line, "COLUMN_TWICE", said) if len(named) != len(set(named)) else None
