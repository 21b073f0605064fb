"""A health system that a directory pushes at, over the routes of the product and its own database role."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from api.wiring import INIT
from domain.audit import Agent
from domain.control import IdentityCluster, TenantEntry
from domain.people import Person, RoleGrant
from domain.pipeline import Pipeline
from domain.role_mappings import RoleMapping
from identity.actors import ActorLoader
from identity.keys import KeyCache
from identity.registry import Registry
from identity.scim.departures import release
from identity.scim.entrance import Entrance
from identity.scim.journal import Journal
from identity.scim.limits import Limit
from identity.scim.routes import Directories, routes
from identity.scim.tokens import Made, make_token
from identity.sync import cell_session
from identity.tokens import Tokens
from tests import directories as pushed
from tests import make, web
from tests.database import Database

PUBLIC = "https://api.example"
USERS = "/Users"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@dataclass
class Corp:
    """A health system with one administrator, and a directory that has a token for it."""

    tree: make.Tree
    admin: Person
    admin_grant: RoleGrant
    slug: str
    token: Made
    database: Database
    app: AsyncEngine
    owner: AsyncEngine
    served: Directories = field(repr=False)
    http: httpx.AsyncClient = field(repr=False)

    @property
    def tenant_id(self) -> UUID:
        return self.tree.tenant.tenant_id

    @property
    def base(self) -> str:
        return f"/{self.slug}/scim/v2"

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """A request of the directory."""
        headers = {"authorization": f"Bearer {self.token.text}", **more.pop("headers", {})}
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        sent = content if body is not None else {}
        return await self.http.request(
            method, f"{self.base}{path}", headers=headers, **sent, **more
        )

    async def user(self, name: str, /, **more: Any) -> dict[str, Any]:
        """Somebody whom the directory pushes."""
        answer = await self.ask("POST", "/Users", {"userName": name, **more})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def group(self, name: str, /, *members: str, **more: Any) -> dict[str, Any]:
        """A group that the directory pushes."""
        listed = [{"value": member} for member in members]
        answer = await self.ask("POST", "/Groups", {"displayName": name, "members": listed, **more})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def patch(self, path: str, *operations: dict[str, Any], **more: Any) -> httpx.Response:
        body = {"schemas": [PATCH], "Operations": list(operations)}
        return await self.ask("PATCH", path, body, **more)

    def rule(self, group: str, role: str, **values: Any) -> RoleMapping:
        """Whoever is in the group has the role at the first clinic."""
        place = {"tenant_id": self.tenant_id, "unit_id": self.tree.clinics[0].id}
        plain = {"source": "scim", "source_ref": "", "attribute": "groups", "match": "exact"}
        named = {"id": uuid4(), "value": group, "role": role, "created_by": self.admin.id}
        made = RoleMapping(**place | plain | named | values)
        make.save(self.database, made)
        return made

    def crowd(self, number: int) -> list[str]:
        """People whom the directory pushed some time ago; answers their ids."""
        people = [make.person(self.tree.tenant) for _ in range(number)]
        make.save(self.database, *people)
        make.save(self.database, *(pushed.user(person) for person in people))
        return [str(person.id) for person in people]

    async def release(self) -> None:
        """An administrator lets all departures pass."""
        async with self.at_work(self.admin.id) as (session, agent):
            await release(session, agent, dt.timedelta(hours=1))

    async def write(self, sql: str, **values: Any) -> None:
        """Change rows as the owner; `:t` is the health system."""
        async with self.owner.begin() as connection:
            await connection.execute(text(sql), {"t": self.tenant_id, **values})

    async def read(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows as the owner sees them; `:t` is the health system."""
        async with self.owner.connect() as connection:
            rows = await connection.execute(text(sql), {"t": self.tenant_id, **values})
            return [tuple(row) for row in rows]

    async def roles(self, user_id: str) -> list[str]:
        """The roles that somebody holds now by the directory's word."""
        rows = await self.read(
            "select role from role_grant where tenant_id = :t and person_id = :p and source = 'scim'"
            " and (valid_until is null or valid_until > now()) order by role",
            p=UUID(user_id),
        )
        return [str(row[0]) for row in rows]

    @asynccontextmanager
    async def at_work(self, person_id: UUID | None = None) -> AsyncIterator[Any]:
        """A command's transaction of the product."""
        agent = Agent(self.tenant_id, dt.datetime.now(dt.UTC), person_id=person_id)
        async with cell_session(self.app, self.tenant_id) as session:
            yield session, agent


def where(made: dict[str, Any]) -> str:
    """The path of a resource below the base."""
    found: str = made["meta"]["location"].split("/scim/v2", 1)[1]
    return found


def register(database: Database, tree: make.Tree) -> str:
    """Let the registry know a health system; answers its slug."""
    cluster, slug = uuid4(), f"s{uuid4().hex[:12]}"
    with database.owner_engine.begin() as connection:
        at = "http://127.0.0.1:9"
        values = {"name": str(cluster), "region": "nowhere", "url": at, "public_url": at}
        connection.execute(insert(IdentityCluster).values(id=cluster, **values))
        connection.execute(
            insert(TenantEntry).values(
                id=tree.tenant.tenant_id,
                slug=slug,
                cell="main",
                region="nowhere",
                identity_cluster_id=cluster,
                realm=f"o{cluster.hex[:14]}",
                issuer=f"{at}/realms/{cluster.hex}",
                state="active",
            )
        )
    return slug


def directories(
    app: AsyncEngine,
    pipeline: Pipeline,
    limit: Limit | None = None,
    http: httpx.AsyncClient | None = None,
) -> Directories:
    """What the product's routes work with."""
    entrance = Entrance(pipeline, limit or Limit(None, 100_000))
    registry = Registry(app)
    tokens = Tokens(registry, KeyCache(http or web.client()))
    actors = ActorLoader(tokens, pipeline)
    return Directories(registry, app, pipeline, PUBLIC, entrance, Journal(app), actors)


def application(served: Directories) -> Starlette:
    """The product's routes."""
    return Starlette(routes=routes(lambda: served))


@asynccontextmanager
async def opened(
    database: Database, app: AsyncEngine, owner: AsyncEngine, limit: Limit | None = None
) -> AsyncIterator[Corp]:
    """A health system of its own, with its directory's token."""
    tree = make.tree(second_approval=False)
    admin = make.person(tree.tenant, email=f"admin{make.number()}@clinic.example")
    grant = make.grant(admin, "system_admin", tree.root)
    make.save(database, *tree.rows, admin, grant)
    slug = register(database, tree)
    agent = Agent(tree.tenant.tenant_id, dt.datetime.now(dt.UTC))
    async with cell_session(app, tree.tenant.tenant_id) as session:
        token = await make_token(session, agent, "HR")
    pipeline = Pipeline(database.app_url, 1, INIT)
    await pipeline.start()
    served = directories(app, pipeline, limit)
    transport = httpx.ASGITransport(application(served))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        yield Corp(tree, admin, grant, slug, token, database, app, owner, served, http)
    await pipeline.stop()


@pytest.fixture
async def corp(
    database: Database, app_engine: AsyncEngine, owner_engine: AsyncEngine
) -> AsyncIterator[Corp]:
    async with opened(database, app_engine, owner_engine) as corp:
        yield corp


@pytest.fixture
async def other(
    database: Database, app_engine: AsyncEngine, owner_engine: AsyncEngine
) -> AsyncIterator[Corp]:
    """Another health system."""
    async with opened(database, app_engine, owner_engine) as corp:
        yield corp
