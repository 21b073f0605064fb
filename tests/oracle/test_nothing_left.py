"""Where @skip and @include leave an object without a field, its JSON is an empty object, not an error."""

import pytest

from tests import who
from tests.oracle.stage import Stage

pytestmark = pytest.mark.anyio
OFF = "@skip(if:true)"
ON = "@include(if:$on)"


@pytest.mark.parametrize(
    "selection",
    [
        f"patients{{nodes{{mrn {OFF}}}}}",
        f"patients{{nodes{{mrn {ON}}}}}",
        f"patients{{edges{{node{{mrn {OFF}}}}}}}",
        f"patients{{edges{{cursor {OFF}}}}}",
        f"patients{{pageInfo{{hasNextPage {OFF}}}}}",
        f"patients{{nodes {OFF} {{id}}}}",
        f"patients{{nodes{{encounters{{id {OFF}}} observations{{id {ON}}}}}}}",
        f"patients{{nodes{{encounters{{notes{{id {OFF}}} patient{{id {OFF}}}}}}}}}",
        f"encounters{{nodes{{patient{{mrn {OFF}}} reason}}}}",
        f"invoices{{nodes{{total{{amount {OFF}}} lines{{amount{{currency {OFF}}}}}}}}}",
        f"organization{{name {OFF}}}",
        f"viewer{{me{{familyName {OFF}}}}}",
        f"... {OFF} {{patients{{nodes{{id}}}}}}",
    ],
)
async def test_an_empty_object(stage: Stage, selection: str) -> None:
    text = f"query($on:Boolean! = false){{{selection} __typename}}"
    for name in ("system_admin", "nurse_and_desk", "float"):
        for on in (False, True):
            await stage.check(who.BY_NAME[name], text, {"on": on})


async def test_single_rows(stage: Stage) -> None:
    patient = f"Patient:{stage.rows[0].all('patient')[0].id}"
    for text in (
        f"query($i:ID!){{patient(id:$i){{mrn {OFF}}}}}",
        f"query($i:ID!){{node(id:$i){{id {OFF}}}}}",
        f"query($i:ID!){{nodes(ids:[$i]){{...on Patient{{mrn {OFF}}}}}}}",
        f"query($i:ID!){{account(patient:$i){{id {OFF}}}}}",
        f"query($i:ID!){{account(patient:$i){{clinics{{clinic{{id {OFF}}}}}}}}}",
    ):
        await stage.check(who.BY_NAME["system_admin"], text, {"i": patient})


async def test_one_name_for_texts_of_several_types(stage: Stage) -> None:
    """A note's text is opened in Python; what another type gives the same name stays as it is."""
    ids = [
        f"{t}:{row.id}"
        for t in ("Note", "Patient", "Condition")
        for row in stage.rows[0].all(t.lower())
    ]
    for ids_ in (ids[:100], ids[40:140]):
        text = "query($i:[ID!]!){nodes(ids:$i){...on Note{x:body} ...on Patient{x:mrn} ...on Condition{x:code}}}"
        await stage.check(who.BY_NAME["nurse_of_all"], text, {"i": ids_})
