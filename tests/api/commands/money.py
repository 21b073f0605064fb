"""What the mutations of billing are about, saved, and their inputs."""

import itertools
from typing import TYPE_CHECKING, Any

from domain.patients import Patient
from tests import make

if TYPE_CHECKING:
    from tests.api.commands.scene import Scene

Input = dict[str, Any]
_numbers = itertools.count(1)


def charged(scene: "Scene") -> Input:
    price = make.price(scene.system.tenant, code=f"Z-{next(_numbers)}")
    scene.system.save(price)
    visit = f"Encounter:{scene.encounter().id}"
    return {"encounter": visit, "codeSystem": "INTERNAL", "code": price.code, "units": "2.5"}


def of_visit(scene: "Scene", **values: Any) -> tuple[Patient, Any, Any]:
    """A patient, a visit and a charge of 120.00 at it; saved."""
    patient = scene.patient()
    visit = make.encounter(patient, scene.unit)
    charge = make.charge(patient, scene.unit, encounter_id=visit.id, **values)
    scene.system.save(visit, charge)
    return patient, visit, charge


def struck(scene: "Scene") -> Input:
    _, _, charge = of_visit(scene)
    return {"id": f"ChargeItem:{charge.id}", "version": 1}


def billed(scene: "Scene") -> Input:
    patient, _, charge = of_visit(scene)
    return {
        "unit": scene.system.unit(scene.place),
        "patient": f"Patient:{patient.id}",
        "charges": [f"ChargeItem:{charge.id}"],
    }


def card(scene: "Scene") -> Input:
    payer = make.payer(scene.system.tenant)
    scene.system.save(payer)
    member = f"W{next(_numbers)}"
    return {
        "payer": f"Payer:{payer.id}",
        "priority": 1,
        "memberId": member,
        "startsOn": "2026-01-01",
    }


def insured(scene: "Scene") -> Input:
    patient = f"Patient:{scene.patient().id}"
    return {"unit": scene.system.unit(scene.place), "patient": patient, "terms": card(scene)}


def covered(scene: "Scene", patient: Patient) -> Any:
    """A coverage of the patient at the place; saved."""
    payer = make.payer(scene.system.tenant)
    made = make.coverage(patient, scene.unit, payer)
    scene.system.save(payer, made)
    return made


def reinsured(scene: "Scene") -> Input:
    cover = covered(scene, scene.patient())
    return {"id": f"Coverage:{cover.id}", "version": 1, "terms": card(scene)}


def claimed(scene: "Scene") -> Input:
    patient, visit, _ = of_visit(scene)
    cover = covered(scene, patient)
    return {"encounter": f"Encounter:{visit.id}", "coverage": f"Coverage:{cover.id}"}


def claim_in(scene: "Scene", queue: str) -> Any:
    """A claim of 120.00 that lies in a queue; saved."""
    patient, visit, charge = of_visit(scene)
    asked = make.claim(visit, covered(scene, patient), queue=queue)
    scene.system.save(asked, make.claim_item(asked, charge), make.claim_step(asked))
    return asked


def filed(scene: "Scene") -> Input:
    return {"id": f"Claim:{claim_in(scene, 'queued').id}", "version": 1}


def answered(scene: "Scene") -> Input:
    less = {"group": "CONTRACTUAL", "reasonCode": "45", "amount": "20.00"}
    item = {"sequence": 1, "paid": "100.00", "adjustments": [less]}
    asked = claim_in(scene, "filed")
    return {"id": f"Claim:{asked.id}", "version": 1, "currency": "USD", "items": [item]}


def invoiced(scene: "Scene") -> tuple[Patient, Any]:
    """A patient with an invoice of one line of 120.00; saved."""
    patient = scene.patient()
    bill = make.invoice(patient, scene.unit, number=10_000 + next(_numbers))
    line = make.invoice_line(bill)
    scene.system.save(bill, line)
    return patient, line


def cancelled(scene: "Scene") -> Input:
    """Of an invoice of which something is paid."""
    patient, line = invoiced(scene)
    paid = make.posting(patient, scene.unit)
    scene.system.save(paid, make.allocation(paid, line))
    return {"id": f"Invoice:{line.invoice_id}", "version": 1, "reason": "Wrong patient."}


def adjusted(scene: "Scene") -> Input:
    patient, line = invoiced(scene)
    return {
        "unit": scene.system.unit(scene.place),
        "patient": f"Patient:{patient.id}",
        "amount": "20.00",
        "currency": "USD",
        "group": "CONTRACTUAL",
        "reasonCode": "45",
        "allocations": [{"line": f"InvoiceLine:{line.id}", "amount": "20.00"}],
    }


def corrected(scene: "Scene") -> Input:
    posting = make.posting(scene.patient(), scene.unit)
    scene.system.save(posting)
    return {"id": f"Posting:{posting.id}", "reasonCode": "typo"}


def applied(scene: "Scene") -> Input:
    patient, line = invoiced(scene)
    posting = make.posting(patient, scene.unit)
    scene.system.save(posting)
    part = {"line": f"InvoiceLine:{line.id}", "amount": "50.00"}
    return {"id": f"Posting:{posting.id}", "currency": "USD", "allocations": [part]}
