"""By which rules people of the health system log in: how long that lasts, and whose first login makes a person."""

import uuid
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry
from sqlalchemy import select

from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform
from authz.guard import Forbidden, GuardedSession, guarded_session
from domain.errors import NotFound
from domain.organization import JitMode, Tenant
from identity.lifecycle import set_jit_mode, set_session_limits

CONFIGURE = "tenant:configure"
RULES = Payload("", "LoginRules")  # no row is shown: the rules are told as they are by then
strawberry.enum(
    JitMode,
    name="JitMode",
    description="Whose first login makes a person: ALL of any identity provider's, RESTRICTED to providers that say so,"
    " OFF of nobody's.",
)
BASED = "The version that the change is based on."


@value_type("By which rules people log in.")
class LoginRules:
    idle_minutes: int = strawberry.field(description="How long a login lasts without use.")
    longest_minutes: int = strawberry.field(description="How long it lasts at the most.")
    jit_mode: JitMode = strawberry.field(description="Whose first login makes a person.")
    version: int = strawberry.field(
        description="Rises with every change of these, and of the tree."
    )


@strawberry.input(description="How long logins are to last.")
class SetSessionLimitsInput:
    version: int = strawberry.field(description=BASED)
    idle_minutes: int = strawberry.field(description="Without use; a minute or more.")
    longest_minutes: int = strawberry.field(description="At the most; a day (1440) or less.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Whose first login is to make a person.")
class SetJitModeInput:
    version: int = strawberry.field(description=BASED)
    mode: JitMode = strawberry.field(description="Whose.")
    idempotency_key: str | None = idempotency_key()


@value_type("The rules as they are now.")
class LoginRulesPayload:
    rules: LoginRules | None = strawberry.field(description="The rules.")
    user_errors: list[UserError] = payload_errors()


async def found(session: GuardedSession, tenant_id: uuid.UUID) -> Any:
    """The rules' columns."""
    names = (Tenant.session_idle, Tenant.session_max, Tenant.jit_mode, Tenant.version)
    query = select(*names).where(Tenant.tenant_id == tenant_id)
    return (await session.execute(query)).one()


async def told(work: Work, _: uuid.UUID) -> dict[str, Any]:
    """The payload's field `rules`."""
    await work.session.flush()
    row = await found(work.session, work.agent.tenant_id)
    return {
        "rules": {
            "__typename": "LoginRules",
            "idleMinutes": row.session_idle // 60,
            "longestMinutes": row.session_max // 60,
            "jitMode": row.jit_mode.upper(),
            "version": row.version,
        }
    }


def system(tenant_id: uuid.UUID) -> Any:
    """The health system as far as the policy looks at it."""
    return SimpleNamespace(tenant_id=tenant_id, id=tenant_id)


@strawberry.type
class Query:
    @root(CONFIGURE, "By which rules people log in; for who may change them.")
    async def login_rules(self, info: Info) -> LoginRules | None:
        context = info.context
        tenant_id = context.actor.tenant_id
        async with guarded_session(context.cell, context.actor) as session:
            try:
                await session.require(CONFIGURE, system(tenant_id))
            except (NotFound, Forbidden):
                return None
            row = await found(session, tenant_id)
        await context.still_valid()
        return LoginRules(
            idle_minutes=row.session_idle // 60,
            longest_minutes=row.session_max // 60,
            jit_mode=JitMode(row.jit_mode),
            version=row.version,
        )


@strawberry.type
class Mutation:
    @root(CONFIGURE, "Change how long logins last; who has been in for longer is out at once.")
    async def set_session_limits(
        self, info: Info, input: Annotated[SetSessionLimitsInput, GIVEN]
    ) -> LoginRulesPayload | None:
        async def command(work: Work) -> uuid.UUID:
            idle, longest = input.idle_minutes * 60, input.longest_minutes * 60
            agent = await work.create(CONFIGURE, system(work.agent.tenant_id))
            work.tree_changes += 1
            await set_session_limits(work.session, agent, idle, longest, input.version)
            return work.agent.tenant_id

        return await perform(info._raw_info, "setSessionLimits", RULES, input, command, extra=told)

    @root(CONFIGURE, "Change whose first login makes a person.")
    async def set_jit_mode(
        self, info: Info, input: Annotated[SetJitModeInput, GIVEN]
    ) -> LoginRulesPayload | None:
        async def command(work: Work) -> uuid.UUID:
            agent = await work.create(CONFIGURE, system(work.agent.tenant_id))
            work.tree_changes += 1
            await set_jit_mode(work.session, agent, input.mode, input.version)
            return work.agent.tenant_id

        return await perform(info._raw_info, "setJitMode", RULES, input, command, extra=told)
