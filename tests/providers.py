"""Rows about a health system's identity providers, for tests that need one of each kind."""

from typing import Any

from domain.direct_logins import (
    DirectSession,
    ProviderWarning,
    SamlMessage,
    SamlRequest,
    SigningKey,
)
from domain.email_domains import EmailDomain
from domain.identity_providers import (
    HeldAccount,
    IdentityLink,
    IdentityProvider,
    ProviderTest,
    SignIn,
)
from domain.model import Base, new_id
from domain.organization import OrgUnit, Tenant
from domain.people import Person
from domain.role_mappings import RoleMapping
from tests import make


def provider(system: Tenant, **values: Any) -> IdentityProvider:
    """A provider that speaks OpenID Connect, open."""
    at = "https://login.corp.example"
    defaults: dict[str, Any] = {
        "id": new_id(),
        "protocol": "oidc",
        "vendor": "generic",
        "name": "Corp",
        "state": "active",
        "issuer": at,
        "endpoints": {
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/keys",
        },
        "certificates": [],
        "client_id": "caretree",
        "attributes": {"groups": "groups"},
    }
    return IdentityProvider(**{"tenant_id": system.tenant_id} | defaults | values)


def link(of: IdentityProvider, whom: Person, **values: Any) -> IdentityLink:
    """A person as the provider knows them."""
    defaults: dict[str, Any] = {"id": new_id(), "subject": f"s{make.number()}", "asserted": {}}
    key = {"tenant_id": of.tenant_id, "identity_provider_id": of.id, "person_id": whom.id}
    return IdentityLink(**key | defaults | values)


def domain(of: IdentityProvider, name: str = "corp.example", **values: Any) -> EmailDomain:
    """A domain that is proven to be the provider's, a moment ago."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "domain": name,
        "challenge": "caretree-domain=c",
        "state": "proven",
        "proven_at": make.now(),
        "checked_at": make.now(),
    }
    key = {"tenant_id": of.tenant_id, "identity_provider_id": of.id}
    return EmailDomain(**key | defaults | values)


def rule(
    author: Person, value: str, role: str, node: OrgUnit, of: IdentityProvider, **values: Any
) -> RoleMapping:
    """Whoever is in the group has the role at the node, by the word of the provider."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "source": "idp",
        "source_ref": str(of.id),
        "attribute": "groups",
        "match": "exact",
    }
    place = {"tenant_id": author.tenant_id, "unit_id": node.id, "created_by": author.id}
    return RoleMapping(**place | {"value": value, "role": role} | defaults | values)


def held(of: IdentityProvider, **values: Any) -> HeldAccount:
    """Somebody about whom an administrator has to decide."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "subject": f"s{make.number()}",
        "asserted": {"userName": ["nora"], "givenName": ["Nora"], "familyName": ["Corp"]},
        "reason": "NOT_KNOWN",
    }
    key = {"tenant_id": of.tenant_id, "identity_provider_id": of.id}
    return HeldAccount(**key | defaults | values)


def one_of_each(system: Tenant, whom: Person, node: OrgUnit) -> list[Base]:
    """A row of every table about providers."""
    of = provider(system)
    key = {"tenant_id": of.tenant_id, "identity_provider_id": of.id}
    came: dict[str, Any] = {
        "subject": "s",
        "sid": "sid",
        "authenticated_at": make.NOW,
        "outcome": "admitted",
    }
    return [
        of,
        link(of, whom),
        domain(of),
        rule(whom, "nurses", "nurse", node, of),
        held(of),
        SignIn(**key, id=new_id(), person_id=whom.id, created_at=make.NOW, **came),
        ProviderTest(**key, id=new_id(), started_by=whom.id, until=make.NOW, steps=[]),
        *directly(of, whom),
    ]


def directly(of: IdentityProvider, whom: Person) -> list[Base]:
    """A row of every table about providers that the API itself speaks with."""
    key = {"tenant_id": of.tenant_id, "identity_provider_id": of.id}
    way = {"client": "portal", "redirect_uri": "https://p.example/callback", "challenge": "c"}
    times = {"used_at": make.NOW, "authenticated_at": make.NOW, "ends_at": make.NOW}
    sealed = {"purpose": "tokens", "public": "{}", "private_sealed": b"s"}
    return [
        SigningKey(tenant_id=of.tenant_id, id=new_id(), **sealed),
        SamlRequest(**key, **way, id=new_id(), until=make.NOW),
        SamlMessage(**key, message_id="_m", until=make.NOW),
        DirectSession(**key, **way, **times, id=new_id(), person_id=whom.id, name_id="n"),
        ProviderWarning(**key, expires_at=make.NOW, days=7),
    ]
