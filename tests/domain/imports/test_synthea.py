"""The 93 sample bundles: everything of ours is taken, twice is once, quickly, and to the cent."""

import os
import resource
import tarfile
import time
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine

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
    "Claim": 2848,
    "ExplanationOfBenefit": 2262,
}
SKIPPED = {
    # A LOINC code that says it is SNOMED CT's.
    ("Procedure", "it has no code of SNOMED CT or ICD-10-PCS or CPT"): 13,
    ("CarePlan", "plans of care, goals and teams are not kept here"): 257,
    ("Goal", "plans of care, goals and teams are not kept here"): 158,
    ("ImagingStudy", "documents and images stay where they are"): 46,
}
CENT = Decimal("0.01")
SUMS = {
    "charges": "select sum(amount_minor) from charge_item where tenant_id = :t",
    "lines": "select sum(amount_minor) from invoice_line where tenant_id = :t",
    "invoices": "select sum(total_minor) from invoice where tenant_id = :t and state = 'issued'",
    "claims": "select sum(total_minor) from claim where tenant_id = :t",
    "items": "select sum(total_minor) from claim_item where tenant_id = :t",
    "payments": "select sum(amount_minor) from posting where tenant_id = :t and kind = 'payment'",
    "applied": "select sum(amount_minor) from allocation where tenant_id = :t",
    "paid": "select sum(paid_minor) from claim where tenant_id = :t",
    "paid items": "select sum(paid_minor) from claim_item where tenant_id = :t",
    "left": "select sum(total_minor - paid_minor - adjusted_minor - patient_minor) from claim where tenant_id = :t",
    "numbers": "select max(number) - count(*) from invoice where tenant_id = :t",
}


async def test_the_sample_bundles(target: Target, synthea: Path) -> None:
    peaks: list[int] = []
    clock = Clock(target.engine)
    for again in (False, True):
        before = clock.seconds()
        run = Run(target.engine, target.tenant_id, keys(target.tenant_id), await target.rule())
        report = await run.take(
            Sources([synthea]),
            lambda _: peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
        )
        assert (report.bundles, report.failed) == (93, 0), report.problems[:3]
        assert dict(report.tally.taken) == ({} if again else RESOURCES)
        assert report.tally.changed.total() == 0
        assert report.tally.left_out.total() == 0
        assert dict(report.tally.skipped) == SKIPPED
        assert report.tally.resources == 25119
        # One core's time: what this process and its connections at the server have used.
        seconds = clock.seconds() - before
        told = (
            f"{report.tally.resources / seconds:.0f}/s of one core, {report.seconds:.0f} s in all"
        )
        print(told)
        assert report.tally.resources / seconds >= 300, told
        check_money(target, synthea, report.money())
    # The archive's own window is filled during the first run; a second one needs nothing more (KiB).
    assert peaks[-1] - peaks[92] < 8_000
    counts = target.counts()
    assert (counts["patient"], counts["encounter"], counts["practitioner"]) == (92, 2262, 102)
    clinics = target.rows("select distinct clinic_id from encounter where tenant_id = :t")
    assert len(clinics) == 3
    check_groups(target)
    with target.database.owner_engine.connect() as connection:
        own = select(Patient).where(Patient.tenant_id == target.tenant_id)
        assert connection.execute(check_sites(own)).all() == []


class Clock:
    """Seconds of processor: of this process and of the server's side of its connections (proc(5), utime and stime)."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._open: set[int] = set()
        self._closed = 0.0
        event.listen(engine.sync_engine, "connect", self._connected)
        event.listen(engine.sync_engine, "close", self._closing)

    def seconds(self) -> float:
        return time.process_time() + self._closed + sum(map(self._used, self._open))

    def _connected(self, connection: Any, _record: object) -> None:
        self._open.add(connection.driver_connection.info.backend_pid)

    def _closing(self, connection: Any, _record: object) -> None:
        pid = connection.driver_connection.info.backend_pid
        self._closed += self._used(pid)
        self._open.discard(pid)

    @staticmethod
    def _used(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def documents(synthea: Path, type_: str) -> Iterator[Any]:
    """The resources of a type, read without any code of ours."""
    with tarfile.open(synthea) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None and member.name.endswith(".json"):
                listed = (entry["resource"] for entry in orjson.loads(file.read())["entry"])
                yield from (one for one in listed if one["resourceType"] == type_)


def check_money(target: Target, synthea: Path, told: dict[str, dict[str, str]]) -> None:
    """Charges are those of the source; of payments, which have fractions of a cent, each is to the cent."""
    charged = sum(Decimal(str(c["total"]["value"])) for c in documents(synthea, "Claim"))
    answers = documents(synthea, "ExplanationOfBenefit")
    exact = [Decimal(str(answer["payment"]["amount"]["value"])) for answer in answers]
    paid = sum(amount.quantize(CENT, ROUND_HALF_UP) for amount in exact)
    assert told["charged"]["source"] == told["charged"]["stored"] == f"{charged:.2f}"
    assert told["paid"]["source"] == told["paid"]["stored"] == f"{paid:.2f}"
    assert Decimal(told["paid"]["exact"]) == sum(exact, Decimal(0)).quantize(CENT)
    sums = {name: target.one(query)[0] for name, query in SUMS.items()}
    assert {sums[n] for n in ("charges", "lines", "invoices", "claims", "items")} == {charged * 100}
    assert {sums[n] for n in ("payments", "applied", "paid", "paid items")} == {paid * 100}
    assert (sums["left"], sums["numbers"]) == (0, 0)


def check_groups(target: Target) -> None:
    """Each result belongs to its report, each pressure to its panel."""
    query = "select part, count(*) from observation where tenant_id = :t group by part"
    parts = {part: count for part, count in target.rows(query)}
    assert (parts["member"], parts["component"]) == (6795, 1558)
