"""The sync page: what directories asked for and what became of it, their tokens, and whom the guard holds."""

import datetime as dt
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry
from sqlalchemy import case, func
from sqlalchemy import literal_column as raw

from api.graph.encounters import local_id
from api.graph.people import Person
from api.graph.relay import After, Connection, First, Info, Node, root, value_type
from api.plan.attempts import agent_of
from api.plan.fetch import page
from api.plan.mapping import attribute, column, computed, enum_name, instant, joined, one, table
from api.plan.page import Listing
from authz.guard import guarded_session
from domain.scim import ScimToken as ScimTokens
from domain.scim_departures import ScimDeparture as ScimDepartures
from domain.scim_departures import ScimRelease as ScimReleases
from domain.scim_requests import Asked
from domain.scim_requests import ScimRequest as ScimRequests
from identity.scim.summaries import summary_of

TOKENS = Listing(ScimTokens, "tenant", "created_at", ScimTokens, descending=True)
REQUESTS = Listing(ScimRequests, "tenant", "created_at", ScimRequests, descending=True)
DEPARTURES = Listing(ScimDepartures, "tenant", "asked_at", ScimDepartures, descending=True)
strawberry.enum(Asked, name="ScimResource", description="What a request of a directory is about.")


def _ends(token: Any) -> Any:
    return func.least(token.expires_at, token.revoked_at)


def _warning(token: Any) -> Any:
    """The shortest of the terms of warning that has begun."""
    within: list[tuple[Any, Any]] = [
        (_ends(token) <= func.now() + raw(f"interval '{days} days'"), raw(str(days)))
        for days in (0, 7, 30, 60)
    ]
    return case(*within)


@table(
    ScimTokens,
    description="A bearer token of a directory; its text is shown once, when it is made.",
)
class ScimToken(Node):
    name: str | None = column("read", "What it is for.")
    scopes: list[str] | None = column("read", "Of `read`, `users`, `groups`.")
    created_at: dt.datetime | None = column("read", "When it was made.")
    ends_at: dt.datetime | None = computed(
        "read", "From when on it opens nothing: it expires, was replaced or revoked.",
        lambda token, *_: _ends(token),
    )  # fmt: skip
    ends_within: int | None = computed(
        "read",
        "A warning: it ends within 60, 30 or 7 days, or 0 where it has ended; else null.",
        lambda token, *_: _warning(token),
    )
    last_used_at: dt.datetime | None = column("read", "When it was last used, to the minute.")


@table(ScimRequests, description="A request of a directory, and how it was answered.")
class ScimRequest(Node):
    created_at: dt.datetime | None = column("read", "When it was answered.")
    method: str | None = column("read", "GET, POST, PUT, PATCH or DELETE.")
    resource: Asked | None = computed(
        "read", "What it is about.", lambda request, *_: enum_name(request.asked)
    )
    status: int | None = column("read", "How it was answered (HTTP); 400 and above was refused.")
    cause: str | None = column("read", "Why it was refused, in a sentence; else null.")
    subject: str | None = column(
        "read", "The user or group name that was sent with what was refused; null where none was."
    )
    milliseconds: int | None = column("read", "How long it took.")
    directory_request_id: str | None = column(
        "read", "What the directory calls it, where it says so.", attribute="outside_request_id"
    )

    @one("read", joined("id", "resource_id"))
    def person(self) -> Person | None:
        """Whom it is about; null for groups, and for whom nobody could tell."""

    @one("read", joined("id", "token_id"))
    def token(self) -> ScimToken | None:
        """By which token it came."""


@table(ScimDepartures, description="Somebody whom a directory shuts out, or takes a role from.")
class ScimDeparture(Node):
    asked_at: dt.datetime | None = column("read", "When the directory first asked for it.")
    refused_at: dt.datetime | None = column(
        "read", "When it was last refused, because too many leave at once; null where it was done."
    )

    @one("read", joined("id", "id"))
    def person(self) -> Person | None:
        """Who it is."""


@table(ScimReleases, description="An administrator's word that departures are meant.")
class ScimRelease(Node):
    until: dt.datetime | None = column("read", "Until then none is held.")
    created_at: dt.datetime | None = column("read", "When it was given.")

    @one("read", joined("id", "released_by"))
    def released_by(self) -> Person | None:
        """Who gave it."""


@value_type("How the directories of the health system are doing.")
class ScimSync:
    last_request_at: str | None = strawberry.field(description="When one last asked for anything.")
    requests: int = strawberry.field(description="Requests within the last day.")
    failures: int = strawberry.field(description="Of these, how many were refused.")
    users: int = strawberry.field(description="People whom directories pushed.")
    groups: int = strawberry.field(description="Groups that directories pushed.")
    held_departures: int = strawberry.field(description="People whom the guard holds.")
    departures_a_day: int = strawberry.field(
        description="So many may leave in a day before the guard holds the others."
    )
    departures_few: int = strawberry.field(
        description="No fewer than these leave in a day without a question."
    )
    departures_most: int = strawberry.field(description="No more than these do.")
    departures_percent: int = strawberry.field(
        description="In between, the share of those whom directories pushed."
    )
    version: int = strawberry.field(
        description="Rises with every change of the health system: changes of these limits are based on it."
    )
    released_until: str | None = strawberry.field(
        description="Until when the guard holds nobody; null where it stands."
    )


@strawberry.type
class Query:
    @root("tenant:read", "How directories are doing; null for whoever may not see it.")
    async def scim_sync(self, info: Info) -> ScimSync | None:
        context = info.context
        actor = context.actor
        whole = SimpleNamespace(tenant_id=actor.tenant_id)
        if not actor.predicate("tenant", "read").allows(whole):
            return None
        async with guarded_session(context.cell, actor) as session:
            found = await summary_of(session, agent_of(context))
        await context.still_valid()
        moments = {"last_request_at": found.last_request_at, "released_until": found.released_until}
        told = {name: at and instant(at) for name, at in moments.items()}
        return ScimSync(**vars(found) | told)

    @root("tenant:read", "Tokens of directories, the newest first, those that have ended too.")
    async def scim_tokens(
        self, info: Info, first: First = 50, after: After = None
    ) -> Connection[ScimToken] | None:
        return await page(info._raw_info, TOKENS, node=None, first=first, after=after)

    @root("tenant:read", "Requests of directories, the newest first; kept for some weeks.")
    async def scim_requests(
        self,
        info: Info,
        failed: Annotated[
            bool | None, strawberry.argument(description="Only those refused, or carried out.")
        ] = None,
        person: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only about this person.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[ScimRequest] | None:
        good, whose = local_id(person, "Person")
        if not good:
            return None
        return await page(
            info._raw_info,
            REQUESTS,
            node=None,
            first=first,
            after=after,
            filters=lambda row, c, _: [*_ended_so(row, failed), *_about(row, c, whose)],
            variant=failed,
            values={"resource_id": whose},
        )

    @root("tenant:read", "Who left lately by a directory's word, or is held, the newest first.")
    async def scim_departures(
        self,
        info: Info,
        held: Annotated[
            bool | None, strawberry.argument(description="Only who is held, or who is not.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[ScimDeparture] | None:
        def filters(row: Any, *_: Any) -> list[Any]:
            refused = attribute(row, "refused_at")
            return [] if held is None else [refused.isnot(None) if held else refused.is_(None)]

        return await page(
            info._raw_info,
            DEPARTURES,
            node=None,
            first=first,
            after=after,
            filters=filters,
            variant=held,
        )


def _ended_so(row: Any, failed: bool | None) -> list[Any]:
    status: Any = attribute(row, "status")
    bound: Any = raw("400")  # as the index has it
    return [] if failed is None else [status >= bound if failed else status < bound]


def _about(row: Any, c: Any, whose: Any) -> list[Any]:
    found = attribute(row, "resource_id")
    return [] if whose is None else [found == c.binds.value("resource_id", found.type)]
