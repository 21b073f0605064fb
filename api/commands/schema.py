"""`caretree schema`: the GraphQL schema as a document."""

from pathlib import Path
from typing import Annotated

import typer

import api
from api.cli import fail
from api.schema import build_schema

NAME = "schema"
COMMITTED = Path(api.__file__).with_name("schema.graphql")


def printed() -> str:
    """The schema in the schema definition language, as it is committed."""
    return build_schema().as_str().rstrip() + "\n"


def command(
    write: Annotated[bool, typer.Option("--write", help="Write api/schema.graphql.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail if the file differs.")] = False,
) -> None:
    """Print the schema, write it to its file, or compare the two."""
    text = printed()
    if write:
        COMMITTED.write_text(text)
    elif check:
        if not COMMITTED.is_file() or COMMITTED.read_text() != text:
            fail("api/schema.graphql is not what the code says: run `caretree schema --write`.")
    else:
        typer.echo(text, nl=False)
