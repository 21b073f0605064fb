"""What administrators do about directories: make tokens, replace and revoke them, let held departures pass."""

import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry

from api.graph.login_rules import BASED, CONFIGURE, system
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.scim_sync import ScimRelease, ScimToken
from api.plan.write import Extra, Payload, Work, perform
from domain.scim import ScimToken as ScimTokens
from identity.scim.departures import Limits, release, set_limits
from identity.scim.summaries import summary_of
from identity.scim.tokens import SCOPES, Made, make_token, revoke_token, rotate_token

TOKEN = Payload("scimToken", "ScimToken", model=ScimTokens)
RELEASE = Payload("scimRelease", "ScimRelease")
LIMITS = Payload("", "DepartureLimits")  # no row is shown: the limits are told as they are by then


@strawberry.input(description="A token for a directory.")
class AddScimTokenInput:
    name: str = strawberry.field(description="What it is for.")
    scopes: list[str] | None = strawberry.field(
        default=None, description="Of `read`, `users`, `groups`; all of them where left out."
    )
    days: int = strawberry.field(default=365, description="So long it opens, up to 730.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A token that gets a successor.")
class RotateScimTokenInput:
    id: strawberry.ID = strawberry.field(description="The token.")
    overlap_days: int = strawberry.field(
        default=7, description="So long the old one opens too, up to 30."
    )
    days: int = strawberry.field(default=365, description="So long the new one opens, up to 730.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A token that opens nothing any more.")
class RevokeScimTokenInput:
    id: strawberry.ID = strawberry.field(description="The token.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Departures that are meant.")
class ReleaseScimDeparturesInput:
    hours: int = strawberry.field(default=24, description="So long none is held, up to 168.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="How many people directories may shut out in a day.")
class SetDepartureLimitsInput:
    version: int = strawberry.field(description=BASED)
    few: int = strawberry.field(description="These always leave without a question: 1 to 100.")
    most: int = strawberry.field(description="More never do: up to 2,000.")
    percent: int = strawberry.field(
        description="In between, the share of those whom directories pushed: 1 to 50."
    )
    idempotency_key: str | None = idempotency_key()


@value_type("How many people directories may shut out in a day before the others are held.")
class DepartureLimits:
    few: int = strawberry.field(description="These always leave without a question.")
    most: int = strawberry.field(description="More never do.")
    percent: int = strawberry.field(
        description="In between, the share of those whom directories pushed."
    )
    version: int = strawberry.field(description="The health system's, after the change.")


@value_type("The limits as they are now.")
class DepartureLimitsPayload:
    limits: DepartureLimits | None = strawberry.field(description="The limits.")
    user_errors: list[UserError] = payload_errors()


@value_type("The token.")
class ScimTokenPayload:
    scim_token: ScimToken | None = strawberry.field(description="The token.")
    user_errors: list[UserError] = payload_errors()


@value_type("A new token, with its text.")
class NewScimTokenPayload:
    scim_token: ScimToken | None = strawberry.field(description="The token.")
    secret: str | None = strawberry.field(
        description="Its text, shown this once; null where a request is repeated."
    )
    user_errors: list[UserError] = payload_errors()


@value_type("The release.")
class ScimReleasePayload:
    scim_release: ScimRelease | None = strawberry.field(description="The release.")
    user_errors: list[UserError] = payload_errors()


async def _limits(work: Work, _: uuid.UUID) -> dict[str, Any]:
    """The payload's field `limits`."""
    await work.session.flush()
    found = await summary_of(work.session, work.agent)
    return {
        "limits": {
            "__typename": "DepartureLimits",
            "few": found.departures_few,
            "most": found.departures_most,
            "percent": found.departures_percent,
            "version": found.version,
        }
    }


def _days(number: int) -> dt.timedelta:
    """So many days; what is out of all bounds is refused by the command as what is a little out."""
    return dt.timedelta(days=max(-1, min(number, 10_000)))


def _shown(made: list[Made]) -> Extra:
    """The text of a token that was just made, and nowhere else."""

    async def extra(_: Work, __: uuid.UUID) -> dict[str, Any]:
        return {"secret": made[0].text if made else None}

    return extra


@strawberry.type
class Mutation:
    @root("tenant:configure", "Make a token for a directory; several may live at once.")
    async def add_scim_token(
        self, info: Info, input: Annotated[AddScimTokenInput, GIVEN]
    ) -> NewScimTokenPayload | None:
        made: list[Made] = []

        async def command(work: Work) -> uuid.UUID:
            new = SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id)
            agent = await work.create("tenant:configure", new)
            scopes = SCOPES if input.scopes is None else input.scopes
            lasts = _days(input.days)
            made.append(
                await make_token(
                    work.session, agent, input.name, scopes=scopes, lasts=lasts, new=work.new_id
                )
            )
            return made[0].id

        return await perform(
            info._raw_info, "addScimToken", TOKEN, input, command, extra=_shown(made)
        )

    @root("tenant:configure", "Make a token's successor; the old one opens for a while more.")
    async def rotate_scim_token(
        self, info: Info, input: Annotated[RotateScimTokenInput, GIVEN]
    ) -> NewScimTokenPayload | None:
        made: list[Made] = []

        async def command(work: Work) -> uuid.UUID:
            old = await work.load(ScimTokens, input.id, "ScimToken")
            agent = await work.require("tenant:configure", old)
            overlap, lasts = _days(input.overlap_days), _days(input.days)
            made.append(
                await rotate_token(
                    work.session, agent, old.id, overlap=overlap, lasts=lasts, new=work.new_id
                )
            )
            return made[0].id

        return await perform(
            info._raw_info, "rotateScimToken", TOKEN, input, command, extra=_shown(made)
        )

    @root("tenant:configure", "Refuse a token from the next request on.")
    async def revoke_scim_token(
        self, info: Info, input: Annotated[RevokeScimTokenInput, GIVEN]
    ) -> ScimTokenPayload | None:
        async def command(work: Work) -> uuid.UUID:
            token = await work.load(ScimTokens, input.id, "ScimToken")
            agent = await work.require("tenant:configure", token)
            await revoke_token(work.session, agent, token.id)
            return token.id

        return await perform(info._raw_info, "revokeScimToken", TOKEN, input, command)

    @root("tenant:configure", "Let departures pass that the guard would hold.")
    async def release_scim_departures(
        self, info: Info, input: Annotated[ReleaseScimDeparturesInput, GIVEN]
    ) -> ScimReleasePayload | None:
        async def command(work: Work) -> uuid.UUID:
            new = SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id)
            agent = await work.create("tenant:configure", new)
            lasts = _days(input.hours) / 24
            return (await release(work.session, agent, lasts, work.new_id)).id

        return await perform(info._raw_info, "releaseScimDepartures", RELEASE, input, command)

    @root(CONFIGURE, "Change how many people directories may shut out in a day.")
    async def set_departure_limits(
        self, info: Info, input: Annotated[SetDepartureLimitsInput, GIVEN]
    ) -> DepartureLimitsPayload | None:
        async def command(work: Work) -> uuid.UUID:
            agent = await work.create(CONFIGURE, system(work.agent.tenant_id))
            work.tree_changes += 1
            limits = Limits(input.few, input.most, input.percent)
            await set_limits(work.session, agent, limits, input.version)
            return work.agent.tenant_id

        return await perform(
            info._raw_info, "setDepartureLimits", LIMITS, input, command, extra=_limits
        )
