"""kill -9 in the middle of an import, and a rerun that ends as an undisturbed import does."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from domain.imports import Sources
from tests import make
from tests.database import ROOT
from tests.domain.imports import money, us_core
from tests.domain.imports.bundles import (
    archive,
    bundle,
    encounter,
    organization,
    patient,
    practitioner,
    ref,
    url_of,
)
from tests.domain.imports.conftest import Target

pytestmark = pytest.mark.anyio
BUNDLES, VISITS = 60, 25
KILLS = 4

CONTENT = {
    "patients": "select mrn_assigner, mrn, family_name, version from patient where tenant_id = :t order by 2",
    "sites": "select p.mrn, s.family_key from patient_site s join patient p on p.tenant_id = s.tenant_id"
    " and p.id = s.patient_id where s.tenant_id = :t order by 1",
    "encounters": "select p.mrn, d.family_name, e.started_at, e.state, e.version from encounter e"
    " join patient p on p.tenant_id = e.tenant_id and p.id = e.patient_id"
    " join practitioner d on d.tenant_id = e.tenant_id and d.id = e.practitioner_id"
    " where e.tenant_id = :t order by 1, 3",
    "findings": "select p.mrn, o.code, o.value_quantity, o.part, o.version from observation o"
    " join patient p on p.tenant_id = o.tenant_id and p.id = o.patient_id where o.tenant_id = :t order by 1, 2, 3",
    "claims": "select p.mrn, c.queue, c.step, c.total_minor, c.paid_minor, c.version from claim c"
    " join patient p on p.tenant_id = c.tenant_id and p.id = c.patient_id where c.tenant_id = :t order by 1",
    "ledger": "select p.mrn, o.kind, o.amount_minor, a.amount_minor from posting o"
    " join patient p on p.tenant_id = o.tenant_id and p.id = o.patient_id"
    " join allocation a on a.tenant_id = o.tenant_id and a.posting_id = o.id where o.tenant_id = :t order by 1, 2",
    "invoices": "select number, total_minor from invoice where tenant_id = :t order by 1",
    "names": "select source, resource_type, external_id from external_reference where tenant_id = :t"
    " order by 1, 2, 3",
    "events": "select action, cardinality(subject_ids) from audit_event where tenant_id = :t order by 2",
}


def life(number: int) -> bytes:
    """A patient with visits at one of a few hospitals."""
    who, doctor, hospital = f"p{number}", f"d{number % 7}", f"o{number % 5}"
    visits = [
        encounter(
            f"{who}-{n}",
            subject=ref(who),
            participant=[{"individual": ref(doctor)}],
            serviceProvider=ref(hospital),
            period={"start": f"2020-01-{n + 1:02d}T10:00:00Z"},
        )
        for n in range(VISITS)
    ]
    at = {"subject": ref(who), "encounter": ref(f"{who}-0")}
    asked = money.item(1, 100 + number, encounter=[at["encounter"]])
    filed = money.claim(asked, called=f"{who}-claim", patient=at["subject"])
    settled = money.answer(
        money.said(1, 80), called=f"{who}-eob", patient=at["subject"], claim=ref(f"{who}-claim")
    )
    pressure = us_core.blood_pressure(**at) | {"fullUrl": url_of(f"{who}-pressure")}
    glucose = us_core.laboratory(f"{who}-glucose", **at)
    documented = (pressure, glucose, filed, settled)
    return bundle(patient(who), organization(hospital), practitioner(doctor), *visits, *documented)


def content(target: Target) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [tuple(row) for row in target.rows(q)] for name, q in CONTENT.items()}


async def test_killed_and_run_again(target: Target, tmp_path: Path) -> None:
    files = archive(tmp_path / "lives.tar.gz", {f"{n}.json": life(n) for n in range(BUNDLES)})
    calm = make.tree(clinics=1)
    make.save(target.database, *calm.rows)
    undisturbed = Target(calm, target.database, target.engine)
    calmly = await undisturbed.take(*(source.raw for source in Sources([files])))  # type: ignore[union-attr]  # no file of it is broken
    assert calmly.failed == 0, calmly.problems[:3]
    chance = random.Random(4)
    for _ in range(KILLS):
        killed_after(target, files, bundles=chance.randint(1, 9), pause=chance.random() / 20)
    part = target.counts()
    assert 0 < part["patient"] < BUNDLES
    assert part["encounter"] == part["patient"] * VISITS
    process = started(target, files)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert out.splitlines()[-1] == str(BUNDLES)
    assert content(target) == content(undisturbed)


def started(target: Target, files: Path) -> subprocess.Popen[str]:
    arguments = (
        target.database.app_url,
        str(target.tenant_id),
        str(target.tree.clinics[0].id),
        str(files),
    )
    module = [sys.executable, "-m", "tests.domain.imports.importing"]
    return subprocess.Popen([*module, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def killed_after(target: Target, files: Path, *, bundles: int, pause: float) -> None:
    """Run until so many more bundles are done and some milliseconds more, then kill -9."""
    done = target.counts()["patient"]
    with started(target, files) as process:
        assert process.stdout is not None
        for told in process.stdout:
            if int(told) >= done + bundles:
                break
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
