"""Makes the demo world's operators and the realm in which they log in, as `caretree platform operator` does."""

from dev.demo import cast
from dev.demo.logins import login_of
from dev.state import State
from identity.operators import NewOperator, add_operator, ensure_realm
from identity.tenants import Platform


async def seed_operators(platform: Platform, state: State, region: str) -> str:
    """Where they log in. A second run changes nothing. Raises what `ensure_realm` raises."""
    entry = await ensure_realm(platform, region=region)
    for one in cast.OPERATORS:
        draft = NewOperator(one.login, one.given_name, one.family_name)
        await add_operator(platform, draft, login_of(state, one, totp=True))
    return entry.issuer
