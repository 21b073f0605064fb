"""ExplanationOfBenefit, https://hl7.org/fhir/R4/explanationofbenefit.html: the payer's answer to a claim, posted."""

import datetime as dt
from collections.abc import Sequence

from domain.imports.answer_rows import Answered, insert_answers
from domain.imports.answers import answer_of
from domain.imports.bundles import Entry
from domain.imports.chart import moment, patient_of
from domain.imports.concepts import one_line
from domain.imports.fields import Reader
from domain.imports.kinds import Kind
from domain.imports.work import Draft, Skip, Work

REFERENCE_LENGTH = 80
COMPLETE = ("complete", "partial")


def draft(entry: Entry, work: Work) -> Draft:
    """Which claim is answered, with what, and when. Raises Fault, Skip."""
    resource = entry.resource
    if resource.need("status") != "active":
        raise Skip("it is not active")
    if resource.need("outcome") not in COMPLETE:
        raise Skip("the payer has not decided")
    patient = patient_of(resource, "patient", work)
    claim_id = work.refer(resource, "claim", "Claim")
    if claim_id is None:
        raise Skip("it answers no claim")
    answer = answer_of(resource, work.tenant)
    if answer.paid < 0:
        raise resource.fault("payment.amount.value", "This is below zero.")
    values = Answered(
        claim_id,
        patient,
        answer,
        _answered_at(resource, work),
        one_line(_number(entry), resource, "identifier", work, REFERENCE_LENGTH),
    )
    return Draft(entry, work.local[entry.index], {"answer": values})


def _answered_at(resource: Reader, work: Work) -> dt.datetime:
    paid = moment(resource.part("payment"), "date", "UTC", work)
    found = paid or moment(resource, "created", "UTC", work)
    if found is None:
        raise Skip("it does not say on which day it was")
    return found


def _number(entry: Entry) -> str | None:
    """The payer's number."""
    return next((key.value for key, _, _ in entry.identifiers()), None)


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Post them."""
    await insert_answers(work, [(made, made.values["answer"]) for made in drafts])


KIND = Kind(
    "ExplanationOfBenefit",
    draft,
    write,
    after=frozenset({"Claim", "Patient"}),
    resources=frozenset({"claim", "invoice", "posting"}),
)
