"""Operators log in to a realm of their own, order what becomes of health systems, and pass no other door."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette

from api.app import create_app
from api.platform import app as platform_app
from api.platform.graph import schema as platform_schema
from api.schema import build_schema
from api.settings import Settings
from domain.control import TenantEntry
from domain.operators import LifecycleOrder, OperatorRealm, OrderKind
from domain.operators import Operator as Operators
from domain.organization import Tenant
from domain.people import Person
from identity.lifecycle import suspend_tenant
from identity.operators import (
    NewOperator,
    Operator,
    add_operator,
    ensure_realm,
    remove_operator,
)
from identity.order_runs import due
from identity.orders import Ordered, place
from identity.sync import FirstLogin, cell_session
from tests.database import Database
from tests.identity.browser import Browser
from tests.identity.conftest import ADMIN_CALLBACK, CALLBACK, PASSWORD, KeycloakServer, World
from tests.identity.conftest import drop_realm as drop
from tests.serving import serving

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
TOTP = "0123456789abcdefghij"
ORDER = "{ order { id state failure notBefore slug } userErrors { code path } }"
CREATE = f"mutation($input: CreateTenantInput!) {{ createTenant(input: $input) {ORDER} }}"
LINK = """mutation($slug: String!, $scopes: [String!]!) { createSetupLink(input: {slug: $slug, scopes: $scopes})
    { link { id url expiresAt scopes } userErrors { code path } } }"""


@dataclass
class Office:
    """Both applications as they are served, over one world, and two operators' tokens."""

    world: World
    platform: httpx.AsyncClient
    api: httpx.AsyncClient
    tokens: dict[str, str]

    async def ask(self, query: str, who: str = "ops.one", **variables: Any) -> Any:
        """What the platform answers; its errors are the test's failure."""
        answer = (await self.raw(query, self.tokens[who], **variables)).json()
        assert "errors" not in answer, answer
        return answer["data"]

    async def raw(self, query: str, token: str, **variables: Any) -> httpx.Response:
        body = {"query": query, "variables": variables}
        return await self.platform.post("/graphql", json=body, headers=bearer(token))

    async def until_done(self, order_id: str) -> dict[str, Any]:
        """The order, once it was carried out."""
        query = "query($id: ID!) { order(id: $id) { state failure step report } }"
        for _ in range(600):
            order: dict[str, Any] = (await self.ask(query, id=order_id))["order"]
            if order["state"] != "APPROVED":
                return order
            await asyncio.sleep(0.2)
        raise AssertionError(order)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def new(slug: str, **values: Any) -> dict[str, Any]:
    """The input of a new health system."""
    people = {
        "admin": {"userName": "ada", "givenName": "Ada", "familyName": "Admin"},
        "privacyOfficer": {"userName": "otto", "givenName": "Otto", "familyName": "Officer"},
    }
    plain = {"slug": slug, "name": "Test Health", "region": "test", "mfa": "NONE"}
    return {**plain, **people, "idempotencyKey": slug, **values}


async def served(stack: AsyncExitStack, app: Starlette) -> httpx.AsyncClient:
    await stack.enter_async_context(serving(app))
    transport = httpx.ASGITransport(app)
    return await stack.enter_async_context(
        httpx.AsyncClient(transport=transport, base_url="http://test")
    )


@pytest.fixture
async def office(
    world: World, database: Database, keycloak: KeycloakServer, tmp_path: Path
) -> AsyncIterator[Office]:
    entry = await ensure_realm(world.platform, region="test")
    login = FirstLogin(PASSWORD, temporary=False, totp_secret=TOTP)
    for name in ("ops.one", "ops.two"):
        await add_operator(world.platform, NewOperator(name, "Olga", "Operator"), login)
    tokens = {}
    for name in ("ops.one", "ops.two"):
        async with Browser(entry.issuer, ADMIN_CALLBACK, "admin-portal") as browser:
            browser.totp = TOTP
            tokens[name] = (await browser.login(name, PASSWORD))["access_token"]
    settings = Settings(
        environment="development",
        database_url=SecretStr(database.app_url),
        platform_database_url=SecretStr(database.platform_url),
        key_file=tmp_path / "keys.json",
        keycloak_url=keycloak.url,
        keycloak_admin_client_id=keycloak.account.client_id,
        keycloak_admin_client_secret=SecretStr(keycloak.account.secret),
        portal_url="http://127.0.0.1:9",
        connections=1,
    )
    async with AsyncExitStack() as stack:
        platform = await served(stack, platform_app.create_app(settings))
        api = await served(stack, create_app(settings))
        yield Office(world, platform, api, tokens)
    async with AsyncSession(world.platform.control) as session:
        await drop(world.platform, keycloak.url, entry.realm)
        realms = await session.scalars(select(TenantEntry.realm).where(TenantEntry.slug.like("h%")))
        for realm in realms.all():
            await drop(world.platform, keycloak.url, realm)


async def test_an_operator_passes_no_other_door(office: Office) -> None:
    """Every root field of the API, as an operator; every root field of the platform, as an administrator."""
    made = await office.world.tenant()
    async with Browser(made.issuer, CALLBACK) as browser:
        admin = (await browser.login("admin", PASSWORD))["access_token"]
    doors = (
        (build_schema()._schema, office.api, office.tokens["ops.one"]),
        (platform_schema()._schema, office.platform, admin),
    )
    tried = 0
    for schema, client, token in doors:
        for type_ in (schema.query_type, schema.mutation_type, schema.subscription_type):
            for name in type_.fields if type_ else ():
                body = {"query": f"{type_.name.lower()} {{ {name} }}" if type_ else ""}
                answer = await client.post("/graphql", json=body, headers=bearer(token))
                assert answer.status_code == 401, name
                assert "data" not in answer.json()
                tried += 1
    assert tried > 150
    assert (await office.ask("{ viewer { userName } }"))["viewer"] == {"userName": "ops.one"}
    for type_name in platform_schema()._schema.type_map:
        assert type_name not in {"Patient", "Encounter", "Appointment", "Invoice", "Person"}


async def test_who_operates_no_more_or_shows_one_factor_is_refused(office: Office) -> None:
    async with AsyncSession(office.world.platform.control) as session:
        entry = (await session.scalars(select(OperatorRealm))).one()
    async with Browser(entry.issuer, ADMIN_CALLBACK) as browser:  # the portal that asks for less
        browser.totp = TOTP
        tokens = await browser.login("ops.two", PASSWORD)
    answer = await office.raw("{ viewer { id } }", tokens["access_token"])
    assert answer.status_code == 401
    await remove_operator(office.world.platform, "ops.two")
    answer = await office.raw("{ viewer { id } }", office.tokens["ops.two"])
    assert answer.status_code == 401
    async with office.world.platform.control.begin() as connection:
        await connection.execute(
            update(Operators)
            .where(Operators.user_name == "ops.two")
            .values(active=True, tokens_valid_from=None)
        )


async def test_a_health_system_is_ordered_once_and_set_up_by_a_link(office: Office) -> None:
    slug = "h" + office.world.platform.portals.redirects[0][-1] + "ordered"
    first, again = [await office.ask(CREATE, input=new(slug)) for _ in range(2)]
    order = first["createTenant"]["order"]
    assert order["id"] == again["createTenant"]["order"]["id"]
    refused = await office.ask(CREATE, input=new(slug, name="Another"))
    assert refused["createTenant"]["userErrors"][0]["code"] == "IDEMPOTENCY_KEY_REUSED"
    taken = await office.ask(CREATE, input=new(slug, idempotencyKey="other"))
    assert taken["createTenant"]["userErrors"] == [{"code": "SLUG_TAKEN", "path": ["slug"]}]
    wrong = await office.ask(CREATE, input=new("H", idempotencyKey="wrong"))
    assert wrong["createTenant"]["userErrors"][0]["path"] == ["slug"]
    done = await office.until_done(order["id"])
    assert (done["state"], done["step"]) == ("DONE", "active"), done
    made = (await office.ask(LINK, slug=slug, scopes=["tree"]))["createSetupLink"]["link"]
    text = made["url"].rsplit("#", 1)[1]
    assert made["scopes"] == ["tree"]
    # A second link takes over what nobody has fetched; the first one opens its own door all the same.
    second = (await office.ask(LINK, slug=slug, scopes=["people"]))["createSetupLink"]["link"]
    assert (await office.api.post("/setup", content=text)).json()["firstPasswords"] == {}
    both = (await office.api.post("/setup", content=second["url"].rsplit("#", 1)[1])).json()
    assert both["firstPasswords"].keys() == {"ada", "otto"}
    async with Browser(done["report"]["issuer"], CALLBACK) as browser:
        assert await browser.login("ada", both["firstPasswords"]["ada"])
    async with AsyncSession(office.world.platform.control) as session:
        kept = await session.scalars(select(LifecycleOrder).where(LifecycleOrder.slug == slug))
        told = [(row.sealed, str(row.input), str(row.report)) for row in kept.all()]
    assert all(sealed is None for sealed, *_ in told)
    assert not any(text[-43:] in part for _, *parts in told for part in parts)
    assert not any(both["firstPasswords"]["ada"] in part for _, *parts in told for part in parts)


async def redeemed(office: Office, slug: str, *scopes: str) -> str:
    """The bearer token of a link with these scopes."""
    made = await office.ask(LINK, slug=slug, scopes=scopes or ["tree", "people", "identity"])
    text = made["createSetupLink"]["link"]["url"].rsplit("#", 1)[1]
    return str((await office.api.post("/setup", content=text)).json()["bearer"])


async def asked(office: Office, token: str, query: str, **variables: Any) -> Any:
    """What the API answers."""
    body = {"query": query, "variables": variables}
    return (await office.api.post("/graphql", json=body, headers=bearer(token))).json()


async def may(office: Office, token: str, query: str, **variables: Any) -> bool:
    """Whether it was done: no error, and the object is answered."""
    answer = await asked(office, token, query, **variables)
    return "errors" not in answer and all(all(p.values()) for p in answer["data"].values())


async def refused(office: Office, token: str) -> bool:
    body = {"query": "{ organization { id } }"}
    answer = await office.api.post("/graphql", json=body, headers=bearer(token))
    return answer.status_code == 401


async def test_a_link_is_good_once_and_until_it_ends(office: Office) -> None:
    made = await office.world.tenant()
    links = await office.ask(LINK, slug=made.slug, scopes=["tree"])
    text = links["createSetupLink"]["link"]["url"].rsplit("#", 1)[1]
    tree = (await office.api.post("/setup", content=text)).json()["bearer"]
    again = await office.api.post("/setup", content=text)
    assert (again.status_code, again.json()) == (404, {"code": "NOT_FOUND"})
    for bad in ("", "x", text[:-1], text.replace(made.slug, "nobody-here"), tree):
        assert (await office.api.post("/setup", content=bad)).status_code == 404
    assert (await office.api.post("/graphql", json={}, headers=bearer(text))).status_code == 401
    people = await redeemed(office, made.slug, "people")

    assert not await refused(office, tree)
    assert (await office.api.post("/setup/finish", headers=bearer(tree))).status_code == 204
    assert await refused(office, tree)
    assert (await office.api.post("/setup/finish", headers=bearer(tree))).status_code == 401
    end = (
        'mutation($s: String!) { endSetupLinks(input: {slug: $s, idempotencyKey: "e"}) { ended } }'
    )
    assert (await office.ask(end, s=made.slug))["endSetupLinks"]["ended"] == 1
    assert await refused(office, people)
    late = await redeemed(office, made.slug)
    assert not await refused(office, late)
    await suspend_tenant(office.world.platform, made.slug)
    assert await refused(office, late)


CREATE_UNIT = (
    "mutation($p: ID!, $n: String!)"
    " { createOrgUnit(input: {parent: $p, name: $n}) { orgUnit { id } } }"
)


async def test_a_link_gives_the_right_to_what_it_says_and_to_no_patient(office: Office) -> None:
    made = await office.world.tenant()
    root = f"OrgUnit:{made.root_unit_id}"
    scopes = ("tree", "people", "identity")
    tree, people, identity = [await redeemed(office, made.slug, scope) for scope in scopes]
    assert await may(office, tree, CREATE_UNIT, p=root, n="North")
    assert not await may(office, people, CREATE_UNIT, p=root, n="South")
    add = 'mutation { createPerson(input: {userName: "nils", givenName: "Nils", familyName: "New"}) { person { id } } }'
    assert await may(office, people, add)
    assert not await may(office, tree, add.replace("nils", "nora"))
    table = "mutation($t: String!) { importPeople(input: {table: $t, dryRun: false}) { orgUnit { id } made given } }"
    lines = "login,given_name,family_name,role\ntable.one,Tilda,One,regional_director\n"
    assert await may(office, people, table, t=lines)
    assert not await may(office, tree, table, t=lines.replace("table.one", "table.two"))
    admins = lines.replace("table.one", "table.two").replace("regional_director", "system_admin")
    assert not await may(office, people, table, t=admins)
    give = "mutation($p: ID!, $r: String!, $u: ID!) { giveGrant(input: {person: $p, role: $r, unit: $u}) { grant { id } } }"
    async with cell_session(office.world.platform.cell, made.tenant_id) as session:
        query = select(Person.id).where(Person.user_name == "nils")
        nils = f"Person:{await session.scalar(query)}"
    assert await may(office, people, give, p=nils, r="regional_director", u=root)
    for role in ("system_admin", "privacy_officer", "auditor", "system_viewer", "setup_people"):
        assert not await may(office, people, give, p=nils, r=role, u=root), role
    jit = "mutation($v: Int!) { setJitMode(input: {mode: OFF, version: $v}) { rules { jitMode } } }"
    async with cell_session(office.world.platform.cell, made.tenant_id) as session:
        version = await session.scalar(select(Tenant.version))
    assert not await may(office, people, jit, v=version)
    assert await may(office, identity, jit, v=version)
    for token in (tree, people, identity):
        seen = (await asked(office, token, "{ patients { totalCount nodes { id } } }"))["data"][
            "patients"
        ]
        assert seen is None or seen["nodes"] == []


async def test_what_takes_two_waits_for_another_operator(office: Office) -> None:
    made = await office.world.tenant()
    control = office.world.platform.control
    async with AsyncSession(control) as session:
        row = (
            await session.scalars(select(Operators).where(Operators.user_name == "ops.one"))
        ).one()
    mine = Operator(row.id, row.user_name, dt.datetime.now(dt.UTC))
    ordered = Ordered(OrderKind.SUSPEND, made.slug, {})
    order = await place(office.world.platform, mine, ordered, key="two", two=True)
    assert order.state == "requested"
    assert order.id not in await due(control)
    decide = f"mutation($i: DecideInput!) {{ approveOrder(input: $i) {ORDER} }}"
    own = (await office.ask(decide, i={"id": str(order.id)}))["approveOrder"]
    assert own["userErrors"][0]["code"] == "OWN_REQUEST"
    approved = (await office.ask(decide, "ops.two", i={"id": str(order.id)}))["approveOrder"]
    assert approved["order"]["state"] == "APPROVED"
    assert (await office.until_done(str(order.id)))["state"] == "DONE"
    late = (await office.ask(decide, "ops.two", i={"id": str(order.id)}))["approveOrder"]
    assert late["userErrors"][0]["code"] == "ILLEGAL_STATE"
