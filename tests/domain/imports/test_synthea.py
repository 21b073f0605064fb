"""The 93 sample bundles: everything of ours is taken, twice is once, and quickly."""

import resource
from pathlib import Path

import pytest
from sqlalchemy import select

from domain.imports import Run, Sources
from domain.patients import Patient, check_sites
from tests.domain.imports.conftest import Target, keys

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
RESOURCES = {
    "Patient": 92,
    "Organization": 66,
    "Practitioner": 102,
    "Encounter": 2262,
    "Observation": 12162,
    "DiagnosticReport": 828,
    "Condition": 635,
    "AllergyIntolerance": 64,
    "MedicationRequest": 586,
    "Procedure": 1399,
    "Immunization": 1097,
}
# A LOINC code that says it is SNOMED CT's.
MISCODED = ("Procedure", "it has no code of SNOMED CT or ICD-10-PCS or CPT")


async def test_the_sample_bundles(target: Target, synthea: Path) -> None:
    peaks: list[int] = []
    for again in (False, True):
        run = Run(target.engine, target.tenant_id, keys(target.tenant_id), await target.rule())
        report = await run.take(
            Sources([synthea]),
            lambda _: peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
        )
        assert (report.bundles, report.failed) == (93, 0), report.problems[:3]
        assert dict(report.tally.taken) == ({} if again else RESOURCES)
        assert report.tally.changed.total() == 0
        assert report.tally.left_out.total() == 0
        assert report.tally.skipped[MISCODED] == 13
        assert report.tally.resources == 25119
        assert report.tally.resources / report.seconds >= 300
    # The archive's own window is filled during the first run; a second one needs nothing more (KiB).
    assert peaks[-1] - peaks[92] < 8_000
    counts = target.counts()
    assert (counts["patient"], counts["encounter"], counts["practitioner"]) == (92, 2262, 102)
    clinics = target.rows("select distinct clinic_id from encounter where tenant_id = :t")
    assert len(clinics) == 3
    with target.database.owner_engine.connect() as connection:
        own = select(Patient).where(Patient.tenant_id == target.tenant_id)
        assert connection.execute(check_sites(own)).all() == []
