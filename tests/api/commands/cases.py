"""The mutations as data: who may carry out each by permissions.md, who sees its target and may not, and its input."""

import datetime as dt
import itertools
from typing import Any

from tests import make
from tests.api.commands.charting import (
    CVX,
    PULSE,
    RXNORM,
    SNOMED,
    amended,
    at_visit,
    code,
    cosigned,
    of_encounter,
    of_entry,
    put_right,
    revised,
    struck_out,
)
from tests.api.commands.diary import (
    awaited,
    closed,
    ended,
    left,
    offered,
    opened,
    promised,
    reoffered,
    reopened,
    replied,
    shifted,
    withdrawn,
)
from tests.api.commands.money import (
    adjusted,
    answered,
    applied,
    billed,
    cancelled,
    charged,
    claimed,
    corrected,
    filed,
    insured,
    reinsured,
    struck,
)
from tests.api.commands.office import soon
from tests.api.commands.reminding import hooked, mannered, ruled, worded
from tests.api.commands.scene import Case as Case
from tests.api.commands.scene import Scene as Scene

ADMINS = frozenset({"clinic_admin", "regional_director", "system_admin"})
CLINICAL = frozenset({"nurse", "provider"}) | ADMINS
SCHEDULING = frozenset({"provider", "front_desk"}) | ADMINS
EVERYBODY = CLINICAL | {"front_desk", "biller", "system_viewer", "privacy_officer", "auditor"}
SEE_PATIENTS = EVERYBODY - {"auditor"}
SEE_ENCOUNTERS = SEE_PATIENTS - {"privacy_officer"}
SEE_APPOINTMENTS = SEE_ENCOUNTERS - {"biller"}
LOWEST = {
    "system_admin": "system",
    "system_viewer": "system",
    "privacy_officer": "system",
    "auditor": "system",
    "regional_director": "r",
}
"""Role -> where it is held; the others are of clinics."""

Input = dict[str, Any]
_numbers = itertools.count(1)


def registered(scene: Scene) -> Input:
    named = {"familyName": f"Zyxwvutson{next(_numbers)}", "givenName": "Ana"}
    return {"unit": scene.system.unit(scene.place), "demographics": named}


def updated(scene: Scene) -> Input:
    demographics = {"city": "Zyxwvutson"}
    return {"id": f"Patient:{scene.patient().id}", "version": 1, "demographics": demographics}


def admitted(scene: Scene) -> Input:
    elsewhere = scene.system.patient("c")
    born = elsewhere.birth_date
    assert isinstance(born, dt.date)
    return {
        "unit": scene.system.unit(scene.place),
        "mrn": elsewhere.mrn,
        "birthDate": born.isoformat(),
        "familyName": elsewhere.family_name,
    }


def added(scene: Scene) -> Input:
    # From the clinic to one of its departments; at a department to itself, which is no change.
    further = {"a": "a2"}.get(scene.place, scene.place)
    return {"patient": f"Patient:{scene.patient().id}", "unit": scene.system.unit(further)}


def started(scene: Scene) -> Input:
    patient = f"Patient:{scene.patient().id}"
    return {"unit": scene.system.unit(scene.place), "patient": patient, "reason": "Zyxwvutson"}


def finished(scene: Scene) -> Input:
    return {"id": f"Encounter:{scene.encounter().id}", "version": 1}


def written(scene: Scene) -> Input:
    encounter = f"Encounter:{scene.encounter().id}"
    return {"encounter": encounter, "kind": "NURSING", "body": "Zyxwvutson"}


def signed(scene: Scene) -> Input:
    return {"id": f"Note:{scene.note(scene.asker).id}", "version": 1}


def booked(scene: Scene) -> Input:
    doctor = scene.system.doctor(scene.place)
    return {
        "unit": scene.system.unit(scene.place),
        "patient": f"Patient:{scene.patient().id}",
        "practitioner": f"Practitioner:{doctor.id}",
        "startsAt": soon(next(_numbers)).isoformat(),
        "minutes": 30,
        "reason": "Zyxwvutson",
    }


def rescheduled(scene: Scene) -> Input:
    starts_at = soon(next(_numbers)).isoformat()
    return {
        "id": f"Appointment:{scene.appointment().id}",
        "version": 1,
        "startsAt": starts_at,
        "minutes": 30,
    }


def changed(scene: Scene) -> Input:
    return {"id": f"Appointment:{scene.appointment().id}", "version": 1}


def held(scene: Scene) -> Input:
    until = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=30)
    kept = scene.appointment(state="pending", expires_at=until)
    return {"id": f"Appointment:{kept.id}", "version": 1}


def recurring(scene: Scene) -> Input:
    # Apart from all other visits of these tests, and from each other.
    given = booked(scene)
    begins = soon(24 * 100 + next(_numbers))
    return given | {"startsAt": begins.isoformat(), "frequency": "WEEKLY", "visits": 3}


def missed(scene: Scene) -> Input:
    ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=next(_numbers))
    return {"id": f"Appointment:{scene.appointment(starts_at=ago).id}", "version": 1}


def paid(scene: Scene) -> Input:
    return {
        "unit": scene.system.unit(scene.place),
        "patient": f"Patient:{scene.patient().id}",
        "amount": "12.50",
        "currency": "USD",
        "method": "CASH",
        "reference": "Zyxwvutson",
        "unapplied": True,
    }


DOCTORS = CLINICAL - {"nurse"}
MEDICINE, SUBSTANCE = {"medicine": code(RXNORM, "6809")}, {"substance": code(RXNORM, "7980")}
CHART = (
    Case(
        "arriveEncounter",
        "encounter:arrive",
        CLINICAL | {"front_desk"},
        SEE_ENCOUNTERS,
        of_encounter("planned"),
    ),
    Case(
        "progressEncounter",
        "encounter:progress",
        CLINICAL,
        SEE_ENCOUNTERS,
        of_encounter("arrived", state="TRIAGED"),
    ),
    Case("cancelEncounter", "encounter:cancel", DOCTORS, SEE_ENCOUNTERS, of_encounter("arrived")),
    Case("reviseNote", "note:write_draft", CLINICAL, CLINICAL, revised),
    Case("amendNote", "note:amend", CLINICAL, CLINICAL, amended),
    Case("cosignNote", "note:cosign", DOCTORS, CLINICAL, cosigned),
    Case(
        "recordObservations",
        "observation:record",
        CLINICAL,
        SEE_ENCOUNTERS,
        at_visit(observations=[PULSE, PULSE]),
    ),
    Case(
        "updateObservation",
        "observation:record",
        CLINICAL,
        CLINICAL,
        of_entry("Observation", make.observation, {"state": "preliminary"}, state="FINAL"),
    ),
    Case(
        "correctObservation",
        "observation:mark_entered_in_error",
        CLINICAL,
        CLINICAL,
        put_right,
        told="observation:correct",
    ),
    Case(
        "recordCondition",
        "condition:record",
        DOCTORS,
        SEE_ENCOUNTERS,
        at_visit(diagnosis=code(SNOMED, "38341003")),
    ),
    Case(
        "updateCondition",
        "condition:record",
        DOCTORS,
        CLINICAL,
        of_entry("Condition", make.condition, clinicalStatus="RESOLVED"),
    ),
    Case("recordAllergy", "allergy:record", DOCTORS, SEE_ENCOUNTERS, at_visit(**SUBSTANCE)),
    Case(
        "updateAllergy",
        "allergy:record",
        DOCTORS,
        CLINICAL,
        of_entry("AllergyIntolerance", make.allergy, clinicalStatus="RESOLVED"),
    ),
    Case(
        "orderMedication",
        "medication_request:record",
        DOCTORS,
        SEE_ENCOUNTERS,
        at_visit(**MEDICINE),
    ),
    Case(
        "updateMedicationRequest",
        "medication_request:record",
        DOCTORS,
        CLINICAL,
        of_entry("MedicationRequest", make.request, state="ON_HOLD"),
    ),
    Case(
        "recordMedicationStatement",
        "medication_statement:record",
        CLINICAL,
        SEE_ENCOUNTERS,
        at_visit(**MEDICINE),
    ),
    Case(
        "updateMedicationStatement",
        "medication_statement:record",
        CLINICAL,
        CLINICAL,
        of_entry("MedicationStatement", make.statement, state="STOPPED"),
    ),
    Case(
        "recordProcedure",
        "procedure:record",
        DOCTORS,
        SEE_ENCOUNTERS,
        at_visit(procedure=code(SNOMED, "29303009")),
    ),
    Case(
        "updateProcedure",
        "procedure:record",
        DOCTORS,
        CLINICAL,
        of_entry("Procedure", make.procedure, {"state": "in-progress"}, state="COMPLETED"),
    ),
    Case(
        "recordImmunization",
        "immunization:record",
        CLINICAL,
        SEE_ENCOUNTERS,
        at_visit(vaccine=code(CVX, "140")),
    ),
    Case("markEnteredInError", "observation:mark_entered_in_error", CLINICAL, CLINICAL, struck_out),
)
CASES: tuple[Case, ...] = (
    Case("registerPatient", "patient:create", SCHEDULING, EVERYBODY, registered, anywhere=True),
    Case("updatePatient", "patient:update", SCHEDULING, SEE_PATIENTS, updated),
    Case("admitPatient", "patient:admit", SCHEDULING, EVERYBODY, admitted, anywhere=True),
    Case("addPatientSite", "patient:add_site", SCHEDULING, SEE_PATIENTS, added),
    Case("startEncounter", "encounter:start", CLINICAL, SEE_PATIENTS, started),
    Case("finishEncounter", "encounter:finish", CLINICAL - {"nurse"}, SEE_ENCOUNTERS, finished),
    Case("writeNote", "note:write_draft", CLINICAL, SEE_ENCOUNTERS, written),
    Case("signNote", "note:sign", CLINICAL, CLINICAL, signed),
    *CHART,
    Case("bookAppointment", "appointment:book", SCHEDULING, EVERYBODY, booked, anywhere=True),
    Case(
        "rescheduleAppointment",
        "appointment:reschedule",
        SCHEDULING,
        SEE_APPOINTMENTS,
        rescheduled,
    ),
    Case("cancelAppointment", "appointment:cancel", SCHEDULING, SEE_APPOINTMENTS, changed),
    Case(
        "checkInAppointment",
        "appointment:check_in",
        SCHEDULING | {"nurse"},
        SEE_APPOINTMENTS,
        changed,
    ),
    Case("holdAppointment", "appointment:hold", SCHEDULING, EVERYBODY, booked, anywhere=True),
    Case("confirmAppointment", "appointment:confirm", SCHEDULING, SEE_APPOINTMENTS, held),
    Case(
        "overbookAppointment",
        "appointment:overbook",
        SCHEDULING - {"front_desk"},
        EVERYBODY,
        booked,
        anywhere=True,
    ),
    Case(
        "bookAppointmentSeries",
        "appointment:book_series",
        SCHEDULING,
        EVERYBODY,
        recurring,
        anywhere=True,
    ),
    Case(
        "cancelAppointmentSeries",
        "appointment:cancel_series",
        SCHEDULING,
        SEE_APPOINTMENTS,
        ended,
    ),
    Case("moveAppointmentSeries", "appointment:move_series", SCHEDULING, SEE_APPOINTMENTS, shifted),
    Case("joinWaitlist", "appointment:wait", SCHEDULING, EVERYBODY, awaited, anywhere=True),
    Case("offerFromWaitlist", "appointment:offer", SCHEDULING, SEE_APPOINTMENTS, promised),
    Case("acceptWaitlistOffer", "appointment:accept", SCHEDULING, SEE_APPOINTMENTS, replied),
    Case("declineWaitlistOffer", "appointment:decline", SCHEDULING, SEE_APPOINTMENTS, replied),
    Case("leaveWaitlist", "appointment:leave_waitlist", SCHEDULING, SEE_APPOINTMENTS, left),
    Case("noShowAppointment", "appointment:no_show", SCHEDULING, SEE_APPOINTMENTS, missed),
    Case("addHealthcareService", "schedule:add_service", ADMINS, EVERYBODY, offered, anywhere=True),
    Case(
        "changeHealthcareService",
        "schedule:change_service",
        ADMINS,
        SEE_APPOINTMENTS,
        reoffered,
    ),
    Case("addScheduleRule", "schedule:add_rule", ADMINS, EVERYBODY, opened, anywhere=True),
    Case("changeScheduleRule", "schedule:change_rule", ADMINS, SEE_APPOINTMENTS, reopened),
    Case("addScheduleClosure", "schedule:close", ADMINS, EVERYBODY, closed, anywhere=True),
    Case("withdrawScheduleClosure", "schedule:reopen", ADMINS, SEE_APPOINTMENTS, withdrawn),
    Case("addReminderRule", "reminder_rule:add", ADMINS, EVERYBODY, ruled, anywhere=True),
    Case("setReminderSettings", "reminder_rule:set", ADMINS, EVERYBODY, mannered, anywhere=True),
    Case(
        "setReminderWebhook",
        "reminder_rule:set_webhook",
        ADMINS,
        EVERYBODY,
        hooked,
        anywhere=True,
    ),
    Case(
        "setReminderTemplate",
        "reminder_rule:set_template",
        ADMINS,
        EVERYBODY,
        worded,
        anywhere=True,
    ),
    Case(
        "recordPayment",
        "payment:record",
        frozenset({"front_desk", "biller"}) | ADMINS,
        SEE_PATIENTS,
        paid,
    ),
)
KEEPS_BOOKS = frozenset({"biller"}) | ADMINS
SEE_BOOKS = KEEPS_BOOKS | {"system_viewer"}
TAKES_CARDS = KEEPS_BOOKS | {"front_desk"}
CASES += (
    Case("recordCharge", "charge:record", KEEPS_BOOKS | {"provider"}, SEE_ENCOUNTERS, charged),
    Case(
        "voidCharge",
        "charge:record",
        KEEPS_BOOKS | {"provider"},
        SEE_BOOKS | {"provider"},
        struck,
        told="charge:void",
    ),
    Case("issueInvoice", "invoice:issue", KEEPS_BOOKS, SEE_PATIENTS, billed),
    Case("cancelInvoice", "invoice:cancel", KEEPS_BOOKS, SEE_BOOKS, cancelled),
    Case("recordCoverage", "coverage:record", TAKES_CARDS, SEE_PATIENTS, insured),
    Case(
        "changeCoverage",
        "coverage:record",
        TAKES_CARDS,
        SEE_BOOKS | {"front_desk"},
        reinsured,
    ),
    Case("createClaim", "claim:create", KEEPS_BOOKS, SEE_ENCOUNTERS, claimed),
    Case("fileClaim", "claim:file", KEEPS_BOOKS, SEE_BOOKS, filed),
    Case("adjudicateClaim", "claim:adjudicate", KEEPS_BOOKS, SEE_BOOKS, answered),
    Case("adjustAccount", "posting:adjust", KEEPS_BOOKS, SEE_PATIENTS, adjusted),
    Case("correctPosting", "posting:correct", KEEPS_BOOKS, SEE_BOOKS, corrected),
    Case("allocatePosting", "posting:allocate", KEEPS_BOOKS, SEE_BOOKS, applied),
)
BY_MUTATION = {case.mutation: case for case in CASES}
