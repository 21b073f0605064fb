"""Migrates the two schemas. The configuration is code, so there is no file that knows a machine's paths.

From the command line: `python -m migrations.run upgrade|downgrade|check|revision …`, with the owner's URL in
CARETREE_OWNER_DATABASE_URL and, where the control plane lives elsewhere, CARETREE_CONTROL_OWNER_DATABASE_URL.
"""

import argparse
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, MetaData, create_engine, pool
from sqlalchemy.engine import make_url

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Chain:
    """One history: its folder, the schema that it fills, and the number of its advisory lock."""

    name: str
    schema: str
    lock: int


CELL = Chain("cell", "public", 7_265_001)
CONTROL = Chain("control", "control", 7_265_002)
CHAINS = {chain.name: chain for chain in (CELL, CONTROL)}


def upgrade(owner_url: str, control_url: str | None = None, target: str = "head") -> None:
    """Bring the cell, and the control plane at `control_url` (default: the same database), to `target`.

    URLs are the owner's. Raises RuntimeError with a sentence when the database roles are missing.
    """
    for chain, url in ((CELL, owner_url), (CONTROL, control_url or owner_url)):
        upgrade_chain(chain, url, target if chain is CELL else "head")


def upgrade_chain(chain: Chain, url: str, target: str = "head") -> None:
    """Bring one schema up to a revision."""
    engine = engine_of(url)
    try:
        command.upgrade(configuration(chain, engine), target)
    finally:
        engine.dispose()


def downgrade(chain: Chain, url: str, target: str) -> None:
    """Take one schema back to a revision (`base`: to nothing)."""
    engine = engine_of(url)
    try:
        command.downgrade(configuration(chain, engine), target)
    finally:
        engine.dispose()


def check(chain: Chain, url: str) -> None:
    """Compare the migrated schema with the models; raises alembic.util.CommandError where they differ."""
    engine = engine_of(url)
    try:
        command.check(configuration(chain, engine, models(chain)))
    finally:
        engine.dispose()


def revision(chain: Chain, url: str, message: str, rev_id: str) -> None:
    """Write a new revision file with what the models have and the database has not, to be edited by hand."""
    engine = engine_of(url)
    try:
        command.revision(
            configuration(chain, engine, models(chain)),
            message=message,
            autogenerate=True,
            rev_id=rev_id,
        )
    finally:
        engine.dispose()


def configuration(
    chain: Chain, engine: Engine | None = None, metadata: MetaData | None = None
) -> Config:
    """Alembic's configuration of one chain. Without an engine only the history can be read.

    Only a comparison needs the models; a migration runs without them.
    """
    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(HERE))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(HERE / chain.name / "versions"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes.update(chain=chain, engine=engine, metadata=metadata)
    return config


def models(chain: Chain) -> MetaData:
    """The tables that the chain should lead to."""
    from domain.control import ControlBase
    from domain.tables import load

    base = load()
    return ControlBase.metadata if chain is CONTROL else base.metadata


def engine_of(url: str) -> Engine:
    """An engine for the owner over psycopg, whatever driver the URL names."""
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), poolclass=pool.NullPool
    )


def main(arguments: list[str] | None = None) -> None:
    """Carry out one command."""
    parser = argparse.ArgumentParser(prog="python -m migrations.run")
    parser.add_argument("command", choices=["upgrade", "downgrade", "check", "revision"])
    parser.add_argument(
        "target", nargs="?", default="head", help="a revision; or a new one's number"
    )
    parser.add_argument("--chain", choices=CHAINS, default=None)
    parser.add_argument("--message", default="change")
    asked = parser.parse_args(arguments)
    cell = os.environ.get("CARETREE_OWNER_DATABASE_URL")
    if not cell:
        sys.exit("Set CARETREE_OWNER_DATABASE_URL to the database owner's URL.")
    urls = {"cell": cell, "control": os.environ.get("CARETREE_CONTROL_OWNER_DATABASE_URL") or cell}
    for name in [asked.chain] if asked.chain else list(CHAINS):
        chain, url = CHAINS[name], urls[name]
        match asked.command:
            case "upgrade":
                upgrade_chain(chain, url, asked.target)
            case "check":
                check(chain, url)
            case "downgrade":
                downgrade(chain, url, asked.target)
            case _:
                revision(chain, url, asked.message, asked.target)


if __name__ == "__main__":
    main()
