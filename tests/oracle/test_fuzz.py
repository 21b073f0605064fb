"""Leak fuzz: random documents for twenty people; not one row or value too many, not one too few.

FUZZ_QUERIES scales the number of documents, FUZZ_SEED picks others. 400 are two and a half times as many as it took to find
the last of 25 mistakes that were planted in the planner (docs/decisions/oracle.md); a change of the planner itself is
worth FUZZ_QUERIES=2000.
"""

import asyncio
import os
import time

import pytest
from graphql import validate

from tests import who
from tests.oracle.generate import Generator
from tests.oracle.stage import Stage
from tests.oracle.table import VARIANTS, Switches

pytestmark = pytest.mark.anyio

QUERIES = int(os.environ.get("FUZZ_QUERIES", "400"))
SEED = int(os.environ.get("FUZZ_SEED", "20261121"))
INHERIT, _, BREAK_GLASS, BOTH = VARIANTS
ASKERS: tuple[tuple[str, Switches], ...] = (
    ("system_admin", INHERIT),
    ("system_admin", BREAK_GLASS),
    ("system_viewer", INHERIT),
    ("system_viewer", BOTH),
    ("privacy_officer", INHERIT),
    ("auditor_and_nurse", INHERIT),
    ("director", INHERIT),
    ("ward_admin", BREAK_GLASS),
    ("provider", INHERIT),
    ("provider_of_region", BREAK_GLASS),
    ("nurse", INHERIT),
    ("ward_nurse", INHERIT),
    ("front_desk", INHERIT),
    ("biller", INHERIT),
    ("ward_biller", BREAK_GLASS),
    ("nurse_and_desk", INHERIT),
    ("clinic_and_ward", INHERIT),
    ("crowd", INHERIT),
    ("viewer_once_nurse", BOTH),
    ("expired", INHERIT),
)


PARTS = 4
"""So that several workers of a test run share the work."""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
async def test_random_documents(stage: Stage, part: int) -> None:
    made = Generator(SEED + part, stage.rows)
    begun, spent, queries = time.perf_counter(), time.process_time(), QUERIES // PARTS
    for _ in range(queries):
        text, variables = made.document()
        assert not validate(stage.schema._schema, stage.document(text)), text
        askers = [stage.check(who.BY_NAME[name], text, variables, s) for name, s in ASKERS]
        await asyncio.gather(*askers)
        stage.documents.clear()
    took = time.perf_counter() - begun
    asked = queries * len(ASKERS)
    print(
        f"{asked / took:.0f} queries a second, {(time.process_time() - spent) / asked * 1000:.1f} ms CPU each"
    )
