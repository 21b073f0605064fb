"""A database with two large health systems, one even and one skewed, for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from tests import volume
from tests.database import Database, scratch
from tests.volume import Volume

# One invoice for each patient, and some that nobody has issued yet.
INVOICES = """
insert into invoice (tenant_id, id, clinic_id, unit_id, patient_id, number, state, issued_at, total_minor)
select tenant_id, uuidv7(), clinic_id, unit_id, patient_id, row_number() over (), 'issued',
    timestamptz '2026-01-01 00:00+00' + make_interval(mins => (abs(hashtext(id::text)) % 400000)), 1000
from appointment where tenant_id = :tenant"""


@dataclass(frozen=True)
class Filled:
    """The database and its two health systems of 20,000 patients at 20 clinics."""

    database: Database
    even: Volume
    skewed: Volume


@pytest.fixture(scope="session")
def filled(admin_url: str, template: str, worker_id: str) -> Iterator[Filled]:
    with scratch(admin_url, f"{worker_id}_pages", template) as database:
        with database.owner_engine.begin() as owner:
            volumes = [volume.fill(owner, skewed=skewed) for skewed in (False, True)]
            for each in volumes:
                owner.execute(text(INVOICES), {"tenant": each.tenant_id})
            volume.analyze(owner)
            owner.execute(text("analyze invoice"))
        yield Filled(database, *volumes)
