"""What a mutation answers to whom, and what lies in the database afterwards."""

import pytest

from tests import make
from tests.api.commands.cases import BY_MUTATION, Scene, finished, paid, written
from tests.api.commands.office import Office, local

pytestmark = pytest.mark.anyio

BODY = "Reports chest pain since Tuesday."


async def test_a_note_is_read_by_its_author_until_it_is_signed(office: Office) -> None:
    author, other = office.here.person("nurse@a"), office.here.person("provider@a")
    given = written(Scene(office, office.here, "a", author)) | {"body": BODY}
    made = (await office.do(author, "writeNote", "body state version", **given)).data["note"]
    assert (made["body"], made["version"]) == (BODY, 1)
    text = "query($id: ID!) { node(id: $id) { ... on Note { body } } }"
    assert (await office.ask(other, text, {"id": made["id"]})).data is None
    signed = await office.do(author, "signNote", "body state signedAt", id=made["id"], version=1)
    assert signed.data["note"]["body"] == BODY
    assert signed.data["note"]["signedAt"]
    assert (await office.ask(other, text, {"id": made["id"]})).data == {"body": BODY}


async def test_what_is_sealed_lies_nowhere_in_the_clear(office: Office) -> None:
    """As the owner of the database sees it: every table, every column."""
    author = office.here.person("nurse@a", "front_desk@a")
    given = written(Scene(office, office.here, "a", author))
    given |= {"body": BODY, "idempotencyKey": "sealed"}
    made = (await office.do(author, "writeNote", **given)).data["note"]["id"]
    national = "850101-4711"
    named = {"familyName": "Roe", "givenName": "Ana", "nationalId": national}
    unit = office.here.unit("a")
    registered = await office.do(author, "registerPatient", unit=unit, demographics=named)
    assert registered.outcome == "DONE"
    tenant = office.here.tenant.tenant_id
    tables = office.query(
        "select table_name as name from information_schema.columns"
        " where column_name = 'tenant_id' and table_schema = 'public'"
    )
    for secret in (BODY, national):
        for hidden in (secret, secret.encode().hex()):
            for table in tables:
                text = (
                    f"select count(*) as n from {table['name']} t"
                    " where tenant_id = %s and strpos(lower(t::text), lower(%s)) > 0"
                )
                assert office.query(text, tenant, hidden)[0]["n"] == 0, table
    (row,) = office.query("select body_sealed from note where id = %s", local(made))
    assert len(row["body_sealed"]) > len(BODY)


async def test_the_front_desk_is_shown_nothing_clinical(office: Office) -> None:
    desk = office.here.person("front_desk@a")
    scene = Scene(office, office.here, "a", desk)
    patient = scene.patient()
    visit = make.encounter(patient, scene.unit, reason="Zyxwvutson")
    scene.system.save(visit)
    given = {"id": f"Patient:{patient.id}", "version": 1, "demographics": {"city": "Bern"}}
    select = "city encounters { id reason maskedGroups } invoices { id } maskedGroups"
    answer = await office.do(desk, "updatePatient", select, **given)
    assert answer.outcome == "DONE", answer.body
    shown = answer.data["patient"]
    assert shown["city"] == "Bern"
    assert shown["invoices"] is None
    assert "BILLING" in shown["maskedGroups"]
    assert shown["encounters"] == [
        {"id": f"Encounter:{visit.id}", "reason": None, "maskedGroups": ["CLINICAL"]}
    ]
    masked = {(tuple(m["path"]), m["group"]) for m in answer.body["extensions"]["masked"]}
    assert (("updatePatient", "patient", "encounters", "reason"), "CLINICAL") in masked
    assert "Zyxwvutson" not in str(shown)


async def test_a_provider_sees_what_they_finish(office: Office) -> None:
    provider = office.here.person("provider@a")
    given = finished(Scene(office, office.here, "a", provider))
    answer = await office.do(provider, "finishEncounter", "state endedAt version reason", **given)
    shown = answer.data["encounter"]
    assert (shown["state"].upper(), shown["version"]) == ("FINISHED", 2)
    assert shown["endedAt"]


@pytest.mark.parametrize("role", ["front_desk", "biller", "clinic_admin"])
@pytest.mark.parametrize(
    ("amount", "said"), [("12.5", "12.50"), ("007", "7.00"), ("0.01", "0.01"), ("1000", "1000.00")]
)
async def test_a_receipt_is_the_same_for_all_who_take_money(
    office: Office, role: str, amount: str, said: str
) -> None:
    taker = office.here.person(f"{role}@a")
    given = paid(Scene(office, office.here, "a", taker)) | {"amount": amount}
    answer = await office.do(taker, "recordPayment", "amount { amount currency }", **given)
    receipt = answer.data["receipt"]
    assert receipt["amount"] == {"amount": said, "currency": "USD"}
    (row,) = office.query("select amount_minor from posting where id = %s", local(receipt["id"]))
    assert row["amount_minor"] == round(float(said) * 100)


async def test_the_front_desk_reads_no_posting(office: Office) -> None:
    desk = office.here.person("front_desk@a")
    given = paid(Scene(office, office.here, "a", desk))
    answer = await office.do(desk, "recordPayment", **given)
    text = "query($id: ID!) { node(id: $id) { id } }"
    assert (await office.ask(desk, text, {"id": answer.data["receipt"]["id"]})).data is None
    before = office.snapshot()
    above = await office.do(desk, "recordPayment", **given | {"unapplied": False})
    assert (above.outcome, above.user_error["path"]) == ("ABOVE_BALANCE", ["amount"])
    assert office.snapshot() == before


async def test_an_invoice_of_another_account_takes_no_payment(office: Office) -> None:
    biller = office.here.person("biller@a")
    scene = Scene(office, office.here, "a", biller)
    bill = make.invoice(scene.patient(), scene.unit)
    scene.system.save(bill)
    given = paid(scene) | {"invoice": f"Invoice:{bill.id}"}
    before = office.snapshot()
    answer = await office.do(biller, "recordPayment", **given)
    assert answer.user_error["path"] == ["invoice"]
    assert office.snapshot() == before


async def test_an_appointment_of_another_patient_is_not_kept(office: Office) -> None:
    provider = office.here.person("provider@a")
    scene = Scene(office, office.here, "a", provider)
    booked = scene.appointment()
    given = BY_MUTATION["startEncounter"].given(scene)
    before = office.snapshot()
    wrong = await office.do(
        provider, "startEncounter", **given, appointment=f"Appointment:{booked.id}"
    )
    assert wrong.user_error["path"] == ["appointment"]
    assert office.snapshot() == before
    right = given | {
        "patient": f"Patient:{booked.patient_id}",
        "appointment": f"Appointment:{booked.id}",
    }
    assert (await office.do(provider, "startEncounter", **right)).outcome == "DONE"
    (row,) = office.query("select state from appointment where id = %s", booked.id)
    assert row["state"] == "fulfilled"


async def test_fields_of_the_payload_by_other_names(office: Office) -> None:
    """Aliases, fragments and `__typename` of a payload, done and refused."""
    desk = office.here.person("front_desk@a")
    text = """mutation($input: UpdatePatientInput!) {
        changed: updatePatient(input: $input) { __typename who: patient { ...named } userErrors { __typename c: code } }
    } fragment named on Patient { __typename town: city }"""
    given = BY_MUTATION["updatePatient"].given(Scene(office, office.here, "a", desk))
    given |= {"demographics": {"city": "Uri"}}
    answer = await office.ask(desk, text, {"input": given})
    assert answer.data == {
        "__typename": "UpdatePatientPayload",
        "who": {"__typename": "Patient", "town": "Uri"},
        "userErrors": [],
    }
    wrong = given | {"version": 2, "demographics": {"city": "x" * 201}}
    answer = await office.ask(desk, text, {"input": wrong})
    assert answer.data == {
        "__typename": "UpdatePatientPayload",
        "who": None,
        "userErrors": [{"__typename": "InputError", "c": "INVALID"}],
    }
