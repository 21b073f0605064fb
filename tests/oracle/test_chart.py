"""The chart of a visit's day as the docs have it: one operation, few statements, the oracle's answers."""

import datetime as dt
import re

import pytest

from tests import who
from tests.database import ROOT
from tests.oracle.charts import BEGUN, DAY
from tests.oracle.stage import Stage

pytestmark = pytest.mark.anyio
TEXT = re.findall(r"```graphql\n(.*?)```", (ROOT / "docs/chart.md").read_text(), re.DOTALL)[0]
TREND = """query($p:ID! $c:String! $s:DateTime $u:DateTime $e:Boolean! $a:String) {
    observations(patient:$p code:$c since:$s until:$u includeEnteredInError:$e first:2 after:$a) {
        totalCount nodes { id effectiveAt } pageInfo { hasNextPage endCursor } } }"""
PEOPLE = (
    "provider",
    "nurse",
    "front_desk",
    "biller",
    "clinic_and_ward",
    "crowd",
    "privacy_officer",
)
of_people = pytest.mark.parametrize("name", PEOPLE)


@of_people
async def test_a_visits_day_is_three_statements(stage: Stage, name: str) -> None:
    for patient in stage.rows[0].all("patient"):
        values = {
            "patient": f"Patient:{patient.id}",
            "since": BEGUN.isoformat(),
            "until": (BEGUN + 3 * DAY).isoformat(),
            "followed": "8480-6",
        }
        stage.pipeline.units.clear()
        await stage.check(who.BY_NAME[name], TEXT, values)
        sent = sum(len(unit) for unit in stage.pipeline.units)
        assert sent == 3 if name in ("provider", "nurse") else sent <= 3


@of_people
async def test_a_measurement_over_time_to_the_last_page(stage: Stage, name: str) -> None:
    asked = {(o.patient_id, o.code) for o in stage.rows[0].all("observation")}
    for patient, code in sorted(asked, key=str)[::3]:
        for since, until, errors in (
            (None, None, True),
            (None, None, False),
            (BEGUN + DAY, None, True),
            (None, BEGUN + DAY + dt.timedelta(hours=1), False),
        ):
            values = {
                "p": f"Patient:{patient}",
                "c": code,
                "s": since and since.isoformat(),
                "u": until and until.isoformat(),
                "e": errors,
            }
            after, more = None, True
            while more:
                said = await stage.check(who.BY_NAME[name], TREND, values | {"a": after})
                page = said.data["observations"]
                more = page is not None and page["pageInfo"]["hasNextPage"]
                after = page and page["pageInfo"]["endCursor"]
