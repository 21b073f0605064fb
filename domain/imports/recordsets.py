"""Many rows as one parameter of one statement: a JSON array, read by PostgreSQL as a table."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import JSON, Text, cast, column, func, literal


def recordset(model: type[Any], rows: Sequence[dict[str, Any]]) -> Any:
    """The rows as a table with columns of the model's types; a column that only some of them have is null elsewhere."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [column(name, model.__table__.c[name].type) for name in names]
    # Exact numbers go as text: JSON's would be read as binary ones on the way.
    given = literal(orjson.dumps(rows, default=str).decode(), Text)
    table = func.json_to_recordset(cast(given, JSON)).table_valued(*columns, name="given")
    return table.render_derived(with_types=True)
