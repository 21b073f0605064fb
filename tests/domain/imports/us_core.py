"""Clinical resources with the elements that US Core's profiles must support, https://hl7.org/fhir/us/core/STU6.1/

Written by hand. Every resource is of `patient` at `encounter` of `tests.domain.imports.bundles`.
"""

from typing import Any

from tests.domain.imports.bundles import Json, entry, ref

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"
UCUM = "http://unitsofmeasure.org"
WHEN = "2024-03-05T09:30:00-05:00"
AT = {"subject": ref("patient"), "encounter": ref("encounter")}
OF = {"patient": ref("patient"), "encounter": ref("encounter")}


def coded(system: str, code: str, display: str | None = None) -> Json:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def status(code: str) -> Json:
    """A concept whose codes FHIR fixes."""
    return {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/status", "code": code}]}


def quantity(value: float, unit: str, **more: Any) -> Json:
    """A Quantity in UCUM."""
    return {"value": value, "unit": unit, "system": UCUM, "code": unit} | more


def observation(called: str, code: Json, /, **more: Any) -> Json:
    """A final observation."""
    shared = {"resourceType": "Observation", "status": "final", "code": code} | AT
    return entry(called, shared | {"effectiveDateTime": WHEN} | more)


def blood_pressure(**more: Any) -> Json:
    """US Core Blood Pressure: a panel with two components."""
    pressures = (("8480-6", "Systolic", 128), ("8462-4", "Diastolic", 82))
    components = [
        {"code": coded(LOINC, code, name), "valueQuantity": quantity(value, "mm[Hg]")}
        for code, name, value in pressures
    ]
    panel = coded(LOINC, "85354-9", "Blood pressure panel")
    category = [status("vital-signs")]
    return observation("pressure", panel, category=category, component=components, **more)


def smoking_status(**more: Any) -> Json:
    """US Core Smoking Status: the answer is a code."""
    answer = coded(SNOMED, "8517006", "Ex-smoker")
    code = coded(LOINC, "72166-2", "Tobacco smoking status")
    category = [status("social-history")]
    given = {"category": category, "valueCodeableConcept": answer} | more
    return observation("smoking", code, **given)


def bmi_percentile(**more: Any) -> Json:
    """US Core Pediatric BMI for Age: a percentile."""
    code = coded(LOINC, "59576-9", "BMI for age percentile")
    given = {"valueQuantity": quantity(65, "%")} | more
    return observation("bmi", code, category=[status("vital-signs")], **given)


def laboratory(called: str = "glucose", /, **more: Any) -> Json:
    """US Core Laboratory Result: with reference range and interpretation."""
    given = {
        "category": [status("laboratory")],
        "valueQuantity": quantity(99.5, "mg/dL"),
        "referenceRange": [{"low": quantity(70, "mg/dL"), "high": quantity(99, "mg/dL")}],
        "interpretation": [status("H")],
    }
    return observation(called, coded(LOINC, "2339-0", "Glucose"), **(given | more))


def report(*results: str, **more: Any) -> Json:
    """US Core DiagnosticReport for Laboratory Results."""
    shared = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "category": [status("LAB")],
        "code": coded(LOINC, "24323-8", "Comprehensive metabolic panel"),
        "effectiveDateTime": WHEN,
        "issued": WHEN,
        "result": [ref(name) for name in results],
    }
    return entry("report", shared | AT | more)


def condition(called: str = "condition", /, **more: Any) -> Json:
    """US Core Condition, an encounter's diagnosis."""
    shared = {
        "resourceType": "Condition",
        "clinicalStatus": status("active"),
        "verificationStatus": status("confirmed"),
        "category": [status("encounter-diagnosis")],
        "code": coded(ICD, "I10", "Essential hypertension"),
        "onsetDateTime": "2023-11-01",
        "recordedDate": WHEN,
    }
    return entry(called, shared | AT | more)


def allergy(**more: Any) -> Json:
    """US Core AllergyIntolerance: without an encounter, as most are."""
    shared = {
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": status("active"),
        "verificationStatus": status("confirmed"),
        "type": "allergy",
        "category": ["medication"],
        "criticality": "high",
        "code": coded(RXNORM, "7980", "Penicillin G"),
        "patient": ref("patient"),
        "recordedDate": WHEN,
        "reaction": [{"manifestation": [coded(SNOMED, "271807003", "Skin rash")]}],
    }
    return entry("allergy", shared | more)


def medication_request(**more: Any) -> Json:
    """US Core MedicationRequest."""
    shared = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": coded(RXNORM, "316049", "Hydrochlorothiazide 25 MG"),
        "authoredOn": WHEN,
        "requester": ref("practitioner"),
        "dosageInstruction": [{"text": "One tablet in the morning"}],
        "dispenseRequest": {"validityPeriod": {"start": "2024-03-05", "end": "2024-06-05"}},
    }
    return entry("request", shared | AT | more)


def medication_statement(**more: Any) -> Json:
    """A MedicationStatement as other profiles have it."""
    shared = {
        "resourceType": "MedicationStatement",
        "status": "active",
        "medicationCodeableConcept": coded(RXNORM, "243670", "Aspirin 81 MG"),
        "subject": ref("patient"),
        "context": ref("encounter"),
        "effectivePeriod": {"start": "2022-01-01"},
        "dateAsserted": WHEN,
    }
    return entry("statement", shared | more)


def administration(**more: Any) -> Json:
    """A MedicationAdministration of the request."""
    shared = {
        "resourceType": "MedicationAdministration",
        "status": "completed",
        "medicationCodeableConcept": coded(RXNORM, "316049", "Hydrochlorothiazide 25 MG"),
        "subject": ref("patient"),
        "context": ref("encounter"),
        "effectiveDateTime": WHEN,
        "request": ref("request"),
    }
    return entry("administration", shared | more)


def procedure(**more: Any) -> Json:
    """US Core Procedure."""
    shared = {
        "resourceType": "Procedure",
        "status": "completed",
        "code": coded(SNOMED, "117015009", "Throat culture"),
        "performedPeriod": {"start": WHEN, "end": "2024-03-05T09:45:00-05:00"},
        "performer": [{"actor": ref("practitioner")}],
        "outcome": {"text": "No growth"},
    }
    return entry("procedure", shared | AT | more)


def immunization(**more: Any) -> Json:
    """US Core Immunization."""
    shared = {
        "resourceType": "Immunization",
        "status": "completed",
        "vaccineCode": coded(CVX, "140", "Influenza, seasonal"),
        "occurrenceDateTime": WHEN,
        "primarySource": True,
        "lotNumber": "AB123",
        "expirationDate": "2024-12-31",
        "doseQuantity": quantity(0.5, "mL"),
        "site": {"text": "Left arm"},
        "performer": [{"actor": ref("practitioner")}],
    }
    return entry("immunization", shared | OF | more)
