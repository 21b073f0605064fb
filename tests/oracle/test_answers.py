"""Every root field, page, filter, id and nested field answers each of the cast as the oracle says."""

from typing import Any

import pytest
from graphql import GraphQLObjectType

from api.schema import build_schema
from tests import who
from tests.oracle.documents import (
    AT_A_NODE,
    AT_CLINIC,
    AT_UNIT,
    LISTS,
    PAGE_INFO,
    connection,
    everything,
)
from tests.oracle.fields import NODE_TYPES, TYPES
from tests.oracle.money_roots import EVERY_ROOT
from tests.oracle.stage import Stage

pytestmark = pytest.mark.anyio
LOGIN = "{id client startedAt current}"
SYNC = (
    "{scimSync{lastRequestAt requests failures users groups heldDepartures departuresADay departuresFew departuresMost"
    " departuresPercent version releasedUntil}}"
)
PREVIEW = (
    "query($policy:MfaPolicy!){mfaPreview(policy:$policy methods:[TOTP]){required newlyRequired neverShown"
    " concerned{person userName givenName familyName hasShownOne enrolBy}}}"
)
of_the_cast = pytest.mark.parametrize("one", who.CAST, ids=lambda one: one.name)


def test_the_oracle_knows_every_field() -> None:
    schema = build_schema()._schema
    types = schema.type_map
    for name, type_ in TYPES.items():
        found = types[name]
        assert isinstance(found, GraphQLObjectType)
        extra = ({"id"} if type_.table else set()) | ({"maskedGroups"} if type_.groups else set())
        assert set(found.fields) == {*type_.fields, *extra}, name
    query = schema.query_type
    assert query is not None
    assert set(query.fields) == set(EVERY_ROOT)


@of_the_cast
async def test_first_pages_with_everything_in_them(stage: Stage, one: who.Who) -> None:
    for root, type_name in LISTS.items():
        depth = 2 if type_name == "Patient" else 1
        await stage.check(one, f"{{{root}(first:100){connection(type_name, depth)}}}")


@of_the_cast
async def test_the_house_and_oneself(stage: Stage, one: who.Who) -> None:
    await stage.check(one, f"{{organization{everything('OrgUnit', 2)}}}")
    me = everything("Person", 0)
    grants = "{id role unitId unitName validFrom validUntil}"
    await stage.check(one, f"{{viewer{{userName me{me} grants{grants}}}}}")
    await stage.check(one, "{loginRules{idleMinutes longestMinutes jitMode version}}")
    await stage.check(one, "{mfaSettings{policy methods graceDays version}}")
    for policy in ("NONE", "ADMINS", "ALL"):
        await stage.check(one, PREVIEW, {"policy": policy})
    await stage.check(one, SYNC)
    for other in who.CAST:
        whose = {"p": f"Person:{stage.systems[0].people[other.name].id}"}
        await stage.check(
            one, f"query($p:ID!){{mine:sessions{LOGIN} sessions(person:$p){LOGIN}}}", whose
        )
    for place in who.NODES:
        node = {"n": stage.unit(place)}
        rooms = everything("BookableResource", 1)
        await stage.check(one, f"query($n:ID!){{bookableResources(clinic:$n){rooms}}}", node)
        await stage.check(one, "query($n:ID!){viewer{permissions(node:$n)}}", node)


@of_the_cast
async def test_how_patients_are_reminded(stage: Stage, one: who.Who) -> None:
    """What is said at each level, asked at each level; the address of a webhook for who manages the unit."""
    for place in ("system", "north", "n1", "n1a", "s1", "lone"):
        for root, type_name in AT_UNIT.items():
            rows = everything(type_name, 1)
            node = {"n": stage.unit(place)}
            await stage.check(one, f"query($n:ID!){{{root}(node:$n){rows}}}", node)


@of_the_cast
async def test_opening_hours_and_open_slots(stage: Stage, one: who.Who) -> None:
    """Over the days on which the clocks change in Berlin, and two weeks before, in Chicago."""
    slots = "{__typename resource name kind hasRules slots{startsAt endsAt}}"
    services = stage.rows[0].all("healthcare_service")
    for place in ("system", "north", "n1", "n1a", "n2", "s1b", "lone"):
        node = {"n": stage.unit(place)}
        for root, type_name in AT_CLINIC.items():
            rows = everything(type_name, 1)
            await stage.check(one, f"query($n:ID!){{{root}(clinic:$n){rows}}}", node)
        for asked in ('date:"2027-03-27" days:3', 'date:"2027-03-13" days:2 minutes:30'):
            await stage.check(one, f"query($n:ID!){{availability(clinic:$n {asked}){slots}}}", node)
        for service in services[:3]:
            asked = f'date:"2027-03-28" days:1 service:"HealthcareService:{service.id}"'
            await stage.check(one, f"query($n:ID!){{availability(clinic:$n {asked}){slots}}}", node)
    resources = [f'"BookableResource:{r.id}"' for r in stage.rows[0].all("bookable_resource")]
    for also in resources[::3]:
        asked = f'date:"2027-03-28" days:1 together:[{also}] resources:[{",".join(resources[:9])}]'
        text = f"query($n:ID!){{availability(clinic:$n {asked}){slots}}}"
        await stage.check(one, text, {"n": stage.unit("n1")})


@pytest.mark.parametrize("asked", ["days:0", "days:32", "minutes:4", "minutes:481"])
async def test_what_availability_cannot_be_asked(stage: Stage, asked: str) -> None:
    text = f'query($n:ID!){{availability(clinic:$n date:"2027-03-28" {asked}){{name}}}}'
    await stage.check(who.BY_NAME["nurse"], text, {"n": stage.unit("n1")})


@of_the_cast
async def test_the_books(stage: Stage, one: who.Who) -> None:
    closes, ages = everything("DailyClose", 1), everything("Receivables", 0)
    owing = "{totalCount edges{cursor} nodes" + everything("PatientReceivables", 1) + "}"
    for place in who.NODES:
        for day in ("2025-09-05", "2025-11-20"):
            node = {"n": stage.unit(place), "d": day}
            asked = f"dailyCloses(clinic:$n){closes} receivables(clinic:$n on:$d){ages}"
            asked += f" debtors(clinic:$n on:$d first:100){owing}"
            asked += " few:debtors(clinic:$n on:$d first:2){pageInfo{hasNextPage endCursor}}"
            await stage.check(one, f"query($n:ID! $d:Date){{{asked}}}", node)
    text = f"query($p:ID!){{coverages(patient:$p){everything('Coverage', 1)}}}"
    for patient in stage.rows[0].all("patient")[::6]:
        await stage.check(one, text, {"p": f"Patient:{patient.id}"})


@of_the_cast
async def test_pages_to_the_end(stage: Stage, one: who.Who) -> None:
    for root in LISTS:
        await to_the_end(stage, one, root, {}, 100 if root == "chargeMaster" else 7)
    await to_the_end(stage, one, "patients", {"orderBy": "FAMILY_NAME_DESC"}, 5)


NODES = ("system", "north", "n1", "n1a", "n2b", "s1", "s1b", "lone", "lonec")


@of_the_cast
async def test_pages_of_a_node_to_the_end(stage: Stage, one: who.Who) -> None:
    for root in AT_A_NODE:
        for place in NODES:
            await to_the_end(stage, one, root, {"node": stage.unit(place)}, 4)


@of_the_cast
async def test_pages_of_a_node_with_everything_in_them(stage: Stage, one: who.Who) -> None:
    for root in AT_A_NODE:
        text = f"query($n:ID){{{root}(first:100 node:$n){connection(LISTS[root], 1)}}}"
        for place in ("north", "n1", "n1a", "s1b"):
            await stage.check(one, text, {"n": stage.unit(place)})


TYPES_OF_ARGUMENTS = {"node": "ID", "orderBy": "PatientOrder! = FAMILY_NAME_ASC"}


async def to_the_end(
    stage: Stage, one: who.Who, root: str, arguments: dict[str, Any], first: int
) -> None:
    """Follow the cursors through all pages."""
    declared = "".join(f" ${name}:{TYPES_OF_ARGUMENTS[name]}" for name in arguments)
    given = "".join(f" {name}:${name}" for name in arguments)
    rows = f"{{totalCount totalCountIsExact nodes{{id}} edges{{cursor}} pageInfo{PAGE_INFO}}}"
    text = (
        f"query($first:Int! $after:String{declared})"
        f"{{page:{root}(first:$first after:$after{given}){rows}}}"
    )
    after, seen, more = None, [], True
    while more:
        said = await stage.check(one, text, {"first": first, "after": after, **arguments})
        page = said.data["page"]
        if page is None:
            return
        seen += [row["id"] for row in page["nodes"]]
        more, after = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
    assert len(seen) == len(set(seen))


def all_ids(stage: Stage) -> list[str]:
    """The ids of all rows of both health systems, of every type; of the many prices some."""
    out = []
    for type_ in NODE_TYPES:
        for rows in stage.rows:
            ids = [f"{type_.name}:{row.id}" for row in rows.all(type_.table or "")]
            out += ids[:: 40 if type_.table == "charge_master" else 1]
    return sorted(set(out))


@of_the_cast
async def test_nodes_of_all_ids_of_both_systems(stage: Stage, one: who.Who) -> None:
    parts = " ".join(f"...on {t.name}{everything(t.name, 0)}" for t in NODE_TYPES)
    text = f"query($ids:[ID!]!){{nodes(ids:$ids){{id __typename {parts}}}}}"
    ids = all_ids(stage)
    for start in range(0, len(ids), 100):
        await stage.check(one, text, {"ids": ids[start : start + 100]})


WITH_ALL_IDS = ("system_admin", "auditor", "clinic_and_ward", "ward_biller")


@of_the_cast
async def test_node_of_ids_of_both_systems(stage: Stage, one: who.Who) -> None:
    """Some ask for every id; the others for a part each, which together is all."""
    ids = all_ids(stage)
    if one.name not in WITH_ALL_IDS:
        ids = ids[who.CAST.index(one) % 18 :: 18]
    for id_ in ids:
        await stage.check(one, "query($id:ID!){node(id:$id){id __typename}}", {"id": id_})
    # Several in one document, each with a plan of its own.
    some = {f"i{i}": id_ for i, id_ in enumerate(ids[::30])}
    declared = " ".join(f"${name}:ID!" for name in some)
    fields = " ".join(f"n{name}:node(id:${name}){{id __typename}}" for name in some)
    await stage.check(one, f"query({declared}){{{fields}}}", some)


@of_the_cast
async def test_single_rows_with_everything_in_them(stage: Stage, one: who.Who) -> None:
    for root in ("patient", "encounter", "appointment", "invoice"):
        type_ = TYPES[root.title()]
        text = f"query($id:ID!){{{root}(id:$id){everything(type_.name, 1)}}}"
        for row in stage.rows[0].all(root):
            await stage.check(one, text, {"id": f"{type_.name}:{row.id}"})
    text = f"query($id:ID!){{account(patient:$id){everything('Account', 1)}}}"
    for rows in stage.rows:
        for row in rows.all("patient"):
            await stage.check(one, text, {"id": f"Patient:{row.id}"})


@of_the_cast
async def test_values_of_which_a_link_alone_is_asked(stage: Stage, one: who.Who) -> None:
    """Where nothing else in the statement says of what type the health system is."""
    patient = f"Patient:{stage.rows[0].all('patient')[0].id}"
    for asked in (
        "account(patient:$id){clinics{clinic{zone}}}",
        "patient(id:$id){careTeam{practitioner{active}}}",
    ):
        await stage.check(one, f"query($id:ID!){{{asked}}}", {"id": patient})
