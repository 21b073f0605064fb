"""What a login that only tries a provider tells whoever connects it: a verdict for each step, in plain words.

The login is a real one, through the realm, with the settings that everybody will log in by. The realm refuses what
is wrong with signature, issuer, audience and times, so a login that arrives here has passed those; one that does not
arrive leaves an event there, which `identity/login_events.py` tells.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.identity_providers import IdentityProvider, ProviderState, ProviderTest
from domain.organization import OrgUnit
from identity.assertions import Assertion, draft_of
from identity.mapping_sources import Matching, Source, by_place, rules_of

NEEDED = ("userName or email", "givenName", "familyName")


@dataclass(frozen=True)
class Step:
    """One line of a verdict: what was looked at, whether it passed, and a sentence about it."""

    name: str
    passed: bool
    said: str

    def __str__(self) -> str:
        return f"{self.name}: {'passed' if self.passed else 'failed'}. {self.said}"


async def judge(
    session: AsyncSession, agent: Agent, provider: IdentityProvider, assertion: Assertion
) -> list[Step]:
    """The verdict about a login that has arrived."""
    signer = "the published keys" if provider.protocol == "oidc" else "the certificate on file"
    return [
        Step("signature", True, f"What the provider sent is signed with {signer}."),
        Step("issuer", True, f"It comes from {provider.issuer}."),
        Step("audience", True, "It is meant for this health system."),
        Step("times", True, "It was sent just now, and the clocks agree."),
        Step("subject", True, "It names the person by an id of its own."),
        *_of_attributes(provider, assertion),
        _of_person(assertion),
        await _of_roles(session, agent, provider, assertion),
    ]


def _of_attributes(provider: IdentityProvider, assertion: Assertion) -> Iterator[Step]:
    for ours, theirs in sorted(provider.attributes.items()):
        number = len(assertion.values.get(ours, ()))
        said = f"{number} of {theirs}" if number else f"the provider sent no {theirs}"
        # What people are known by is needed; of what rules look at, a person may have none.
        yield Step(f"attribute {ours}", True, f"For {ours}: {said}.")


def _of_person(assertion: Assertion) -> Step:
    draft = draft_of(assertion)
    if draft is None:
        return Step("person", False, f"It needs {', '.join(NEEDED)}, with one value each.")
    return Step("person", True, "It says the names that a person here needs.")


async def _of_roles(
    session: AsyncSession, agent: Agent, provider: IdentityProvider, assertion: Assertion
) -> Step:
    rules = await rules_of(session, agent, Source.of(provider.id))
    places = by_place(Matching(rules).of(assertion.values))
    if not places:
        why = "no rule matches" if rules else "there are no rules yet"
        return Step("roles", True, f"It would give no role: {why}.")
    units = await session.execute(
        select(OrgUnit.id, OrgUnit.name).where(
            OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id.in_({unit for _, unit in places})
        )
    )
    names = {row.id: row.name for row in units}
    told = ", ".join(sorted(f"{role} at {names[unit]}" for role, unit in places))
    return Step("roles", True, f"It would give: {told}.")


async def finish(
    session: AsyncSession, agent: Agent, provider: IdentityProvider, steps: list[Step]
) -> None:
    """Write the verdict to the test that waits; a provider whose every step passed is tested from now on."""
    passed = all(one.passed for one in steps)
    waiting = (
        select(ProviderTest.id)
        .where(
            ProviderTest.tenant_id == agent.tenant_id,
            ProviderTest.identity_provider_id == provider.id,
            ProviderTest.finished_at.is_(None),
            ProviderTest.until > agent.now,
        )
        .order_by(ProviderTest.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    await session.execute(
        update(ProviderTest)
        .where(ProviderTest.tenant_id == agent.tenant_id, ProviderTest.id == waiting)
        .values(
            finished_at=agent.now,
            passed=passed,
            steps=[str(one) for one in steps],
            version=ProviderTest.version + 1,
            updated_at=agent.now,
        ),
        execution_options={"synchronize_session": False},
    )
    if passed and provider.state == ProviderState.DRAFT:
        provider.state = ProviderState.TESTED.value
        provider.version += 1
        provider.updated_at = agent.now
        record(session, agent, "tenant:configure", provider.id)
