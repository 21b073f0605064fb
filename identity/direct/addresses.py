"""Where the API is the other side of a provider, and what it calls itself there.

Everything hangs below one address for each health system, `<our address>/direct/<realm>`: the issuer of its tokens.
Below that each provider has addresses of its own, so that it can answer for no other.
"""

from urllib.parse import urlsplit
from uuid import UUID

from domain.identity_providers import IdentityProvider
from identity.saml.parties import Provider, ServiceProvider

PREFIX = "/direct"


def issuer_at(public_url: str, realm: str) -> str:
    """The issuer of tokens of a health system that the API itself makes."""
    return f"{public_url.rstrip('/')}{PREFIX}/{realm}"


def us(issuer: str, provider_id: UUID) -> ServiceProvider:
    """We, as this provider knows us. Its metadata's address is the entity id."""
    at = f"{issuer}/{provider_id}"
    return ServiceProvider(f"{at}/metadata", f"{at}/acs", f"{at}/slo")


def them(provider: IdentityProvider) -> Provider:
    """The provider, as its metadata describe it."""
    at = provider.endpoints
    return Provider(
        entity_id=provider.issuer,
        sso_url=at["single_sign_on_redirect"],
        certificates=tuple(provider.certificates),
        slo_url=at.get("single_logout_redirect"),
    )


def login_details(issuer: str, provider_id: str) -> dict[str, str]:
    """What a portal needs for the authorization-code flow with PKCE (S256) by a provider; as the realm's."""
    return {
        "issuer": issuer,
        "authorizationEndpoint": f"{issuer}/{provider_id}/login",
        "tokenEndpoint": f"{issuer}/token",
        "endSessionEndpoint": f"{issuer}/logout",
    }


def origin_of(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
