"""Who needs a second factor: what the health system says, what another rule would change, and changing it."""

import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry

from api.context import Context
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.attempts import agent_of
from api.plan.mapping import instant
from api.plan.write import Payload, Work, perform
from authz.guard import GuardedSession, guarded_session
from domain.organization import MfaPolicy, Tenant
from domain.second_factors import MfaMethod
from identity.mfa import rule_of
from identity.second_factors import configure_mfa, drafted_rule, previewed

NOTHING = Payload("", "")
MOST = 200
"""People whom a preview names."""
strawberry.enum(MfaPolicy, name="MfaPolicy", description="Who must show a second factor.")
strawberry.enum(MfaMethod, name="MfaMethod", description="A kind of second factor.")
Methods = Annotated[
    list[MfaMethod],
    strawberry.argument(
        description="The kinds that count; logins set up the first app or passkey."
    ),
]


@value_type("What a health system says of second factors.")
class MfaSettings:
    policy: MfaPolicy = strawberry.field(description="Who must show one.")
    methods: list[MfaMethod] = strawberry.field(
        description="The kinds that count; logins set up the first app or passkey of them."
    )
    grace_days: int = strawberry.field(
        description="How long whoever comes under the rule has for setting one up."
    )
    version: int = strawberry.field(description="Take it to `updateMfaSettings`.")


@value_type("Somebody who would need a second factor and needs none now.")
class MfaConcerned:
    person: strawberry.ID = strawberry.field(description="The person.")
    user_name: str = strawberry.field(description="What they log in as.")
    given_name: str = strawberry.field(description="Given names.")
    family_name: str = strawberry.field(description="Family name.")
    has_shown_one: bool = strawberry.field(description="Whether they ever showed one here.")
    enrol_by: str | None = strawberry.field(
        description="Until when they could come without; null where they would be asked at once."
    )


@value_type("What a rule would change if it were said now.")
class MfaPreview:
    required: int = strawberry.field(description="How many would need a second factor.")
    newly_required: int = strawberry.field(description="How many of them need none now.")
    never_shown: int = strawberry.field(
        description="How many of those who would need one have never shown one here."
    )
    concerned: list[MfaConcerned] = strawberry.field(
        description=f"Who needs none now, by family name; {MOST} at the most."
    )


@strawberry.input(description="Who must show a second factor from now on.")
class UpdateMfaSettingsInput:
    policy: MfaPolicy = strawberry.field(description="Who must show one.")
    methods: list[MfaMethod] = strawberry.field(
        description="The kinds that count; logins set up the first app or passkey of them."
    )
    grace_days: int = strawberry.field(
        description="How long whoever comes under it has for setting one up: 0 to 90 days."
    )
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("What holds now.")
class MfaSettingsPayload:
    mfa_settings: MfaSettings | None = strawberry.field(description="What holds now.")
    user_errors: list[UserError] = payload_errors()


def _may(context: Context, action: str) -> bool:
    whole = SimpleNamespace(tenant_id=context.actor.tenant_id)
    return context.actor.predicate("tenant", action).allows(whole)


async def _settings(session: GuardedSession) -> MfaSettings | None:
    tenant = await session.get(
        Tenant, {"tenant_id": session.actor.tenant_id}, populate_existing=True
    )
    if tenant is None:
        return None
    rule = rule_of(tenant)
    return MfaSettings(
        policy=rule.policy,
        methods=list(rule.methods),
        grace_days=rule.grace.days,
        version=tenant.version,
    )


async def _answered(work: Work, _: uuid.UUID) -> dict[str, Any]:
    found = await _settings(work.session)
    assert found is not None  # it was changed in this transaction
    return {
        "mfaSettings": {
            "__typename": "MfaSettings",
            "policy": found.policy.name,
            "methods": [method.name for method in found.methods],
            "graceDays": found.grace_days,
            "version": found.version,
        }
    }


@strawberry.type
class Query:
    @root("tenant:read", "What the health system says of second factors.")
    async def mfa_settings(self, info: Info) -> MfaSettings | None:
        if not _may(info.context, "read"):
            return None
        async with guarded_session(info.context.cell, info.context.actor) as session:
            found = await _settings(session)
        await info.context.still_valid()
        return found

    @root("tenant:configure", "Who would be asked for a second factor by another rule.")
    async def mfa_preview(
        self,
        info: Info,
        policy: Annotated[MfaPolicy, strawberry.argument(description="Who must show one.")],
        methods: Methods,
        grace_days: Annotated[
            int, strawberry.argument(description="How long people have for setting one up.")
        ] = 0,
    ) -> MfaPreview | None:
        context = info.context
        if not _may(context, "configure"):
            return None
        wanted, agent = drafted_rule(policy, methods, grace_days), agent_of(context)
        async with guarded_session(context.cell, context.actor) as session:
            found = await previewed(session, agent, wanted)
        await context.still_valid()
        return MfaPreview(
            required=found.required,
            newly_required=len(found.newly),
            never_shown=found.without,
            concerned=[
                MfaConcerned(
                    person=strawberry.ID(f"Person:{one.person_id}"),
                    user_name=one.user_name,
                    given_name=one.given_name,
                    family_name=one.family_name,
                    has_shown_one=one.shown_at is not None,
                    enrol_by=_told(one.enrol_by(found.rule, agent.now)),
                )
                for one in found.newly[:MOST]
            ],
        )


def _told(moment: dt.datetime | None) -> str | None:
    return None if moment is None else instant(moment)


@strawberry.type
class Mutation:
    @root(
        "tenant:configure",
        "Change who must show a second factor: with everybody's next request, and at their next login.",
    )
    async def update_mfa_settings(
        self, info: Info, input: Annotated[UpdateMfaSettingsInput, GIVEN]
    ) -> MfaSettingsPayload | None:
        async def command(work: Work) -> uuid.UUID:
            whole = SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id)
            agent = await work.create("tenant:configure", whole)
            wanted = drafted_rule(input.policy, input.methods, input.grace_days)
            await configure_mfa(work.session, agent, wanted, input.version)
            work.tree_changes += 1  # the health system's version
            return work.new_id

        return await perform(
            info._raw_info, "updateMfaSettings", NOTHING, input, command, extra=_answered
        )
