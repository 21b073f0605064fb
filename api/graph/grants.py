"""Who holds which role where, and what waits for a second person: for those who administer and watch, and one's own."""

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Text, func, or_

from api.graph.organization import OrgUnit, node_argument, unit_of
from api.graph.people import Person
from api.graph.relay import After, Connection, First, Info, Node, Within, root
from api.plan.compile import Compiler
from api.plan.fetch import page
from api.plan.mapping import column, computed, enum_name, joined, one, parse_id, table
from api.plan.page import Listing
from domain.approvals import GrantRequest as GrantRequests
from domain.approvals import RequestState
from domain.people import RoleGrant

LISTING = Listing(RoleGrant, "grant", "created_at", RoleGrant, descending=True)
REQUESTS = Listing(GrantRequests, "grant", "created_at", GrantRequests, descending=True)
strawberry.enum(RequestState, name="GrantRequestState", description="What became of a request.")
person_of = joined("id", "person_id")


@table(RoleGrant, name="Grant", description="A role that somebody holds at a node, for a time.")
class Grant(Node):
    role: str | None = column("read", "Name of the role.")
    valid_from: dt.datetime | None = column("read", "When it begins.")
    valid_until: dt.datetime | None = column("read", "When it ends; null without end.")
    source: str | None = column(
        "read", "Where it comes from: `local` where somebody gave it here, else what keeps it."
    )
    reason: str | None = column("read", "What was said when it was given.")
    created_at: dt.datetime | None = column("read", "When it was given.")
    version: int | None = column("read", "Rises with every change.")

    @one("read", person_of)
    def person(self) -> Person | None:
        """Who holds it."""

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """The node; the role holds below it too."""

    @one("read", joined("id", "granted_by"))
    def granted_by(self) -> Person | None:
        """Who gave it; null where the product itself did."""


@table(
    GrantRequests,
    name="GrantRequest",
    description="A role that somebody is to get once a second person has approved.",
)
class GrantRequest(Node):
    role: str | None = column("read", "Name of the role.")
    valid_from: dt.datetime | None = column("read", "When it begins; null for at once.")
    valid_until: dt.datetime | None = column("read", "When it ends; null without end.")
    reason: str | None = column("read", "What was said when it was asked for.")
    state: RequestState | None = computed(
        "read", "What became of it.", lambda request, *_: enum_name(request.state)
    )
    created_at: dt.datetime | None = column("read", "When it was asked for.")
    lapses_at: dt.datetime | None = column("read", "Until when it can be approved.")
    decided_at: dt.datetime | None = column("read", "When it was approved or declined.")
    version: int | None = column("read", "Rises with every change.")

    @one("read", person_of)
    def person(self) -> Person | None:
        """Who is to hold it."""

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """The node."""

    @one("read", joined("id", "requested_by"))
    def requested_by(self) -> Person | None:
        """Who asked for it."""

    @one("read", joined("id", "decided_by"))
    def decided_by(self) -> Person | None:
        """Who approved or declined it."""

    @one("read", joined("id", "grant_id"))
    def grant(self) -> Grant | None:
        """What came of it."""


@strawberry.type
class Query:
    @root(
        "grant:read",
        "Grants, the newest first: those that you may see, of the whole health system or at a node and below.",
    )
    async def grants(
        self,
        info: Info,
        node: Within = None,
        person: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only this person's.")
        ] = None,
        role: Annotated[str | None, strawberry.argument(description="Only of this role.")] = None,
        include_ended: Annotated[
            bool, strawberry.argument(description="Also those that are over or were revoked.")
        ] = False,
        first: First = 50,
        after: After = None,
    ) -> Connection[Grant] | None:
        known, unit = node_argument(info, node)
        whose = person and parse_id(person, "Person")
        if not known or (person is not None and not whose):
            return None
        below = info.context.actor.tree.nodes_under(unit) if unit else None

        def filters(row: Any, c: Compiler, _: bool) -> Sequence[ColumnElement[bool]]:
            out: list[ColumnElement[bool]] = []
            if below is not None:
                out.append(row.unit_id == func.any(c.binds.units("units")))
            if whose:
                out.append(row.person_id == c.binds.value("person"))
            if role is not None:
                out.append(row.role == c.binds.value("role", Text()))
            if not include_ended:
                out.append(or_(row.valid_until.is_(None), row.valid_until > func.now()))
            return out

        return await page(
            info._raw_info,
            LISTING,
            node=None,
            first=first,
            after=after,
            filters=filters,
            variant=include_ended,
            values={"units": below, "person": whose and whose[1], "role": role},
        )

    @root("grant:read", "Roles that wait, or waited, for a second person's approval.")
    async def grant_requests(
        self,
        info: Info,
        state: Annotated[
            RequestState | None, strawberry.argument(description="Only in this state.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[GrantRequest] | None:
        values = {"state": None if state is None else state.value}
        return await page(
            info._raw_info,
            REQUESTS,
            node=None,
            first=first,
            after=after,
            values=values,
        )
