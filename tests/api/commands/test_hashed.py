"""What is kept of an input under an idempotency key: enough to know it again, nothing to guess it by."""

import hashlib
from typing import Any

import orjson
import pytest

from tests.api.commands.office import Office

pytestmark = pytest.mark.anyio


def update(office: Office, **demographics: Any) -> dict[str, Any]:
    patient = office.here.patient("a")
    return {"id": f"Patient:{patient.id}", "version": 1, "demographics": demographics}


async def test_the_hash_of_an_input_needs_a_key_of_the_health_system(office: Office) -> None:
    clerk = office.here.person("front_desk@a")
    given = update(office, national_id="123-45-6789")
    sent = {**given, "demographics": {"nationalId": "123-45-6789"}}
    done = await office.do(clerk, "updatePatient", idempotencyKey="hashed", **sent)
    assert done.outcome == "DONE"
    [row] = office.query("select input_hash from idempotency where key = 'hashed'")
    kept = bytes(row["input_hash"])
    assert len(kept) == 32
    names = [
        "family_name", "given_name", "preferred_name", "birth_date", "sex", "gender_identity",
        "phone", "email", "language", "address_line", "city", "postal_code", "country",
        "deceased_on",
    ]  # fmt: skip
    whole = {**given, "demographics": {**dict.fromkeys(names, ""), "national_id": "123-45-6789"}}
    for guess in (given, sent, whole):
        told = orjson.dumps(guess, option=orjson.OPT_SORT_KEYS)
        assert hashlib.sha256(told).digest() != kept


async def test_nothing_said_and_an_empty_text_are_two_inputs(office: Office) -> None:
    clerk = office.here.person("front_desk@a")
    given = update(office, city="Bern")
    done = await office.do(clerk, "updatePatient", idempotencyKey="said", **given)
    assert done.outcome == "DONE"
    other = {**given, "demographics": {"city": "Bern", "phone": ""}}
    again = await office.do(clerk, "updatePatient", idempotencyKey="said", **other)
    assert again.user_error["code"] == "IDEMPOTENCY_KEY_REUSED"
