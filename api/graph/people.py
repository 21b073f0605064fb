"""People who work here: names for everyone, logins and addresses for those who manage them."""

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy import literal_column as raw

from api.graph.organization import node_argument
from api.graph.relay import After, Connection, First, Info, Node, Within, root, value_type
from api.plan.fetch import get, page
from api.plan.mapping import column, computed, enum_name, instant, table
from api.plan.page import Listing
from authz.explain import permissions_at
from domain.people import Person as People
from domain.people import RoleGrant
from domain.realms import PersonSync
from identity.sync_states import SyncState, state_of

LISTING = Listing(People, "person", "family_name", People)


strawberry.enum(
    SyncState,
    name="SyncState",
    description="How far Keycloak follows; what FAILED is tried again each night, or when asked for.",
)


def _of_sync(build: Callable[[Any, Any], ColumnElement[Any]]) -> Any:
    """A value of what was kept of the person's user in Keycloak, of which there may be nothing yet."""

    def expression(person: Any, c: Any, _: Any) -> ColumnElement[Any]:
        sync = c.alias(PersonSync)
        found = select(build(person, sync)).where(
            sync.tenant_id == c.tenant(), sync.person_id == person.id
        )
        return found.correlate(person).scalar_subquery()

    return expression


def _sync_state(person: Any, c: Any, get: Any) -> ColumnElement[Any]:
    found = _of_sync(lambda p, sync: enum_name(state_of(p, sync)))(person, c, get)
    return func.coalesce(found, raw(f"'{SyncState.PENDING.name}'"))


@table(People, description="Somebody who can log in.")
class Person(Node):
    given_name: str | None = column("read", "Given names.")
    family_name: str | None = column("read", "Family name.")
    active: bool | None = column("read", "False once they have left.")
    user_name: str | None = column("manage", "What they log in as.")
    email: str | None = column("manage", "Where mail reaches them.")
    version: int | None = column("manage", "Rises with every change of them or of their grants.")
    shut_out: bool | None = column(
        "manage", "Whether an administrator shut them out; a directory does not let them in again."
    )
    sync_state: SyncState | None = computed("manage", "How far Keycloak follows.", _sync_state)
    sync_cause: str | None = computed(
        "manage",
        "Why the last try to follow failed; null where it did not.",
        _of_sync(lambda _, sync: sync.cause),
    )
    synced_at: dt.datetime | None = computed(
        "manage", "When Keycloak last followed.", _of_sync(lambda _, sync: sync.synced_at)
    )


@value_type("A role that you hold at a node of the tree.")
class HeldGrant:
    id: strawberry.ID = strawberry.field(description="The grant.")
    role: str = strawberry.field(description="Name of the role.")
    unit_id: strawberry.ID = strawberry.field(description="The node; the role holds below it too.")
    unit_name: str = strawberry.field(description="What people call the node.")
    valid_from: str = strawberry.field(description="When it began.")
    valid_until: str | None = strawberry.field(description="When it ends; null without end.")


@value_type("Your second factor in this session.")
class SecondFactor:
    shown: bool = strawberry.field(description="Whether you have shown one.")
    proven_at: str | None = strawberry.field(
        description="When you last proved who you are with it; sensitive actions want it recent."
    )
    enrol_by: str | None = strawberry.field(
        description="Until when you may come without one: set one up before. Null where you need"
        " none, or have no time left."
    )


@value_type("You: who you are here, which roles you hold and what they let you do.")
class Viewer:
    user_name: str = strawberry.field(description="What you log in as.")

    @root("own", "You as a person of the directory.")
    async def me(self, info: Info) -> Person | None:
        return await get(info._raw_info, Person, f"Person:{info.context.actor.person_id}")

    @root("own", "Your grants that count now.")
    def grants(self, info: Info) -> list[HeldGrant]:
        actor = info.context.actor
        return [
            HeldGrant(
                id=strawberry.ID(f"Grant:{grant.id}"),
                role=grant.role,
                unit_id=strawberry.ID(f"OrgUnit:{grant.unit_id}"),
                unit_name=actor.tree.units[grant.unit_id].name,
                valid_from=instant(grant.valid_from),
                valid_until=None if grant.valid_until is None else instant(grant.valid_until),
            )
            for grant in actor.grants
        ]

    @root("own", "Your second factor.")
    def second_factor(self, info: Info) -> SecondFactor:
        session = info.context.actor.session
        return SecondFactor(
            shown=session.mfa,
            proven_at=None if session.proven_at is None else instant(session.proven_at),
            enrol_by=None if session.enrol_by is None else instant(session.enrol_by),
        )

    @root("own", "What you may do at a node, as `resource:action`; empty for an unknown node.")
    def permissions(
        self,
        info: Info,
        node: Annotated[strawberry.ID, strawberry.argument(description="The unit.")],
    ) -> list[str]:
        known, unit = node_argument(info, node)
        return permissions_at(info.context.actor, unit) if known and unit else []


def _holds_here(c: Any, person: Any) -> Any:
    """Whether the person holds a grant, now, at one of the units of the request."""
    grant = c.alias(RoleGrant)
    now = func.now()
    return exists(
        select(grant.id)
        .where(
            grant.tenant_id == c.tenant(),
            grant.person_id == person.id,
            grant.unit_id == func.any(c.binds.units("units")),
            grant.valid_from <= now,
            or_(grant.valid_until.is_(None), grant.valid_until > now),
        )
        .correlate(person)
    )


@strawberry.type
class Query:
    @root("own", "Who you are here.")
    def viewer(self, info: Info) -> Viewer | None:
        return Viewer(user_name=info.context.actor.user_name)

    @root(
        "person:read", "People by family name; with `node`, those who hold a role at it or below."
    )
    async def people(
        self,
        info: Info,
        node: Within = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[Person] | None:
        known, unit = node_argument(info, node)
        if not known:
            return None
        below = info.context.actor.tree.nodes_under(unit) if unit else None
        return await page(
            info._raw_info,
            LISTING,
            node=None,
            first=first,
            after=after,
            filters=lambda row, c, _: [] if below is None else [_holds_here(c, row)],
            values={"units": below},
        )
