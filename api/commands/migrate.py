"""`caretree migrate`: brings the databases up to this version."""

from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from api.cli import fail
from api.settings import load
from domain.database import sqlstate_of
from migrations.run import upgrade

NAME = "migrate"


def command() -> None:
    """Migrate the cell and the control plane, as their owner. Safe to repeat."""
    settings = load()
    owner = settings.required("owner_database_url")
    control = settings.control_owner_database_url
    try:
        upgrade(owner, control.get_secret_value() if control else None)
    except SQLAlchemyError as error:
        state = sqlstate_of(error)
        fail(
            f"The database refused with SQLSTATE {state}."
            if state
            else "The database of CARETREE_OWNER_DATABASE_URL cannot be reached."
        )
    except RuntimeError as error:
        fail(str(error))
    Console().print("The databases are up to date.")
