"""What the realm wrote down of logins that it refused, told to whoever tries a provider.

A refused login never arrives here, so its verdict comes from the realm's events. They name a code and no person; while
one provider is tried and several fail at the same moment, the codes of all of them are told.
"""

import datetime as dt
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.identity_providers import ProviderTest
from identity.keycloak import Realm
from identity.provider_tests import Step
from identity.sync import cell_session

PAGE = 200
KINDS = (
    "IDENTITY_PROVIDER_RESPONSE_ERROR",
    "IDENTITY_PROVIDER_LOGIN_ERROR",
    "IDENTITY_PROVIDER_FIRST_LOGIN_ERROR",
    "IDENTITY_PROVIDER_POST_LOGIN_ERROR",
)
SAID = {
    "invalid_signature": (
        "signature",
        "What the provider sent is not signed as it has to be: compare its certificate, and have the assertion itself"
        " signed, with SHA-256.",
    ),
    "invalid_saml_response": (
        "response",
        "The answer does not fit what was asked: compare entity ids, audience and the clocks.",
    ),
    "invalid_saml_document": ("response", "What the provider sent cannot be read."),
    "invalid_destination": ("audience", "The answer was meant for another address."),
    "identity_provider_login_failure": (
        "login",
        "The provider refused, or its token could not be taken: compare client id, secret and issuer.",
    ),
}


async def tell_refusals(
    cell: AsyncEngine, realm: Realm, tenant_id: UUID, test_id: UUID
) -> tuple[Step, ...]:
    """Write to a test that waits why the realm refused its logins so far, if it did. Safe to repeat.

    The test goes on: a login that arrives before its end replaces what is written here.
    """
    async with cell_session(cell, tenant_id) as session:
        test = await session.get(ProviderTest, (tenant_id, test_id))
    if test is None or test.finished_at is not None:
        return ()
    since = int(test.created_at.timestamp() * 1000)
    codes = {
        str(event.get("error", ""))
        async for event in realm.events("events", since, PAGE, {"type": KINDS})
    }
    steps = tuple(
        Step(name, False, said)
        for name, said in (
            SAID.get(code, ("login", f"The realm refused it ({code}).")) for code in sorted(codes)
        )
    )
    if steps:
        async with cell_session(cell, tenant_id) as session:
            await session.execute(
                update(ProviderTest)
                .where(
                    ProviderTest.tenant_id == tenant_id,
                    ProviderTest.id == test_id,
                    ProviderTest.finished_at.is_(None),
                )
                .values(steps=[str(one) for one in steps], updated_at=dt.datetime.now(dt.UTC)),
                execution_options={"synchronize_session": False},
            )
    return steps
