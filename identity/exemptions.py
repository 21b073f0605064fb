"""A provider's word on second factors: taken for the logins at which it asserts that one was shown, and for no other.

That somebody came through a provider proves nothing of the kind. What is taken is named: values of `acr`, `amr` (RFC
8176), or of SAML's authentication context. Each login's own are kept with it (`sign_in`) and compared with what is
named at each request, so that a name that is taken back counts no more.
"""

from collections.abc import Sequence

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.errors import Invalid
from domain.identity_providers import IdentityProvider
from domain.organization import Tenant
from domain.plain_text import line
from domain.versions import change
from identity.deferral import defer_sync_provider

MOST = 10
_SAML = "urn:oasis:names:tc:SAML:2.0:ac:classes:"
ONE_FACTOR = frozenset(
    {"0", "1", "pwd", "pin", "fed", "kba", "rba", "user", "wia", "unspecified", "password"}
    | {f"{_SAML}{name}" for name in ("unspecified", "Password", "PasswordProtectedTransport")}
    | {f"{_SAML}{name}" for name in ("PreviousSession", "InternetProtocol", "Kerberos")}
)
"""What is said of logins with one factor, or with nothing."""


async def exempt_provider(
    session: AsyncSession,
    agent: Agent,
    provider: IdentityProvider,
    version: int,
    contexts: Sequence[str],
) -> IdentityProvider:
    """Say which assertions of a provider are second factors; none: its people show one here.

    Holds for everybody's next request. Raises Invalid (MFA_CONTEXTS), StaleVersion.
    """
    named = [line(context, "contexts") for context in contexts]
    if len(named) > MOST or len(set(named)) < len(named):
        raise Invalid(f"At most {MOST}, each once.", path=("contexts",), code="MFA_CONTEXTS")
    for context in named:
        if context.lower() in {one.lower() for one in ONE_FACTOR}:
            raise Invalid(
                f"{context} says nothing of a second factor.",
                path=("contexts",),
                code="MFA_CONTEXTS",
            )
    changed = await change(session, agent, provider, version, mfa_contexts=named)
    # Every cached actor is read anew.
    await session.execute(
        update(Tenant)
        .where(Tenant.tenant_id == agent.tenant_id)
        .values(version=Tenant.version + 1, updated_at=agent.now),
        execution_options={"synchronize_session": False},
    )
    record(session, agent, "tenant:configure", provider.id)
    await defer_sync_provider(session, agent.tenant_id, provider.id)
    return changed
