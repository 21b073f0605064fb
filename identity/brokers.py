"""Identity providers of a health system as its realm has them, kept at what the cell says.

The realm checks what a provider signs; everything that loosens it is off: signatures and the issuer are demanded,
SHA-256, a subject that never changes, PKCE, every attribute taken anew at each login (`FORCE`), nothing trusted about
e-mail addresses, no tokens kept, and the realm's own second factor behind it. A user of a provider gets a name of its
own in the realm (provider and subject), so that nobody is taken for somebody else there; who they are is decided here
(`identity/arrivals.py`).
"""

import datetime as dt
import re
from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.identity_providers import IdentityProvider, Protocol, ProviderState
from domain.sealing import TenantKeys
from identity.keycloak import Json, Realm
from identity.keycloak_failures import Conflict, NotFound
from identity.sync import cell_session

SECRET = "identity_provider.client_secret_sealed"  # noqa: S105 - the name of a column
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
SKEW = "30"
FIRST_LOGIN = "first-broker-login"
POST_LOGIN = "post-broker-mfa"
EXEMPT = "post-broker-exempt"
_PEM = re.compile(r"-----[A-Z ]+-----|\s")
_MASKED = "**********"
_PROVING = {"amr": "amr", "acr": "acr", "authTime": "auth_time"}


async def sync_provider(
    cell: AsyncEngine, realm: Realm, keys: TenantKeys, issuer: str, provider_id: UUID
) -> None:
    """Make the provider in the realm, or bring it up to date. Safe to repeat.

    `realm` speaks as svc-identity, `issuer` is its public address, `keys` are the health system's.
    """
    tenant_id = keys.tenant_id
    async with cell_session(cell, tenant_id) as session:
        provider = await session.scalar(
            select(IdentityProvider).where(
                IdentityProvider.tenant_id == tenant_id, IdentityProvider.id == provider_id
            )
        )
    if provider is None or provider.direct:
        return
    wanted = representation(provider, issuer, _secret(provider, keys), _is_open(provider))
    alias = wanted["alias"]
    try:
        present = await realm.provider(alias)
    except NotFound:
        present = None
    if present is None:
        try:
            await realm.create_provider(wanted)
        except Conflict:  # the same job, elsewhere
            present = await realm.provider(alias)
    if present is not None:
        # Keycloak shows no secret, so a provider is always written: it may be the secret that has changed.
        await realm.update_provider({**wanted, "internalId": present["internalId"]})
    await _sync_mappers(realm, alias, list(mappers(provider)))


def _secret(provider: IdentityProvider, keys: TenantKeys) -> str | None:
    sealed = provider.client_secret_sealed
    return None if sealed is None else keys.open(SECRET, provider.id, sealed).decode()


def _is_open(provider: IdentityProvider) -> bool:
    """Whether anybody gets as far as the provider's login: of an active one, and for a test."""
    testing = provider.test_until is not None and provider.test_until > dt.datetime.now(dt.UTC)
    return provider.state == ProviderState.ACTIVE or testing


def representation(
    provider: IdentityProvider, issuer: str, secret: str | None, enabled: bool
) -> Json:
    """Keycloak's representation of a provider; `issuer` is the realm's public address."""
    oidc = provider.protocol == Protocol.OIDC
    return {
        "alias": str(provider.id),
        "providerId": provider.protocol,
        "enabled": enabled,
        "trustEmail": False,
        "storeToken": False,
        "addReadTokenRoleOnCreate": False,
        "linkOnly": False,
        "hideOnLogin": True,
        "firstBrokerLoginFlowAlias": FIRST_LOGIN,
        # Who is exempt is asked by the API what the provider asserted (`identity/actors.py`).
        "postBrokerLoginFlowAlias": EXEMPT if provider.mfa_contexts else POST_LOGIN,
        "config": {
            "syncMode": "FORCE",
            "validateSignature": "true",
            "allowedClockSkew": SKEW,
            **(_oidc(provider, secret) if oidc else _saml(provider, issuer)),
        },
    }


def _oidc(provider: IdentityProvider, secret: str | None) -> Json:
    """OpenID Connect Core 1.0 with the code flow and PKCE (RFC 7636)."""
    at = provider.endpoints
    return {
        "issuer": provider.issuer,
        "authorizationUrl": at["authorization_endpoint"],
        "tokenUrl": at["token_endpoint"],
        "useJwksUrl": "true",
        "jwksUrl": at["jwks_uri"],
        **({"logoutUrl": at["end_session_endpoint"]} if at.get("end_session_endpoint") else {}),
        "clientId": provider.client_id,
        "clientSecret": secret,
        "clientAuthMethod": "client_secret_post",
        "defaultScope": at.get("scope", "openid profile email"),
        "pkceEnabled": "true",
        "pkceMethod": "S256",
        "passMaxAge": "true",  # who shall prove once more who they are does so there
        **_userinfo(at),
        "disableNonce": "false",
        "isAccessTokenJWT": "false",
        "backchannelSupported": "false",
        "uiLocales": "false",
    }


def _userinfo(at: Json) -> Json:
    """Its ID token is signed and suffices, but for vendors that leave the profile out of it."""
    if at.get("userinfo") == "true" and at.get("userinfo_endpoint"):
        return {"disableUserInfo": "false", "userInfoUrl": at["userinfo_endpoint"]}
    return {"disableUserInfo": "true"}


def _saml(provider: IdentityProvider, issuer: str) -> Json:
    """SAML 2.0 Web Browser SSO with the POST binding for what comes back."""
    at = provider.endpoints
    certificates = ",".join(_PEM.sub("", pem) for pem in provider.certificates)
    return {
        "entityId": at.get("sp_entity_id") or issuer,
        "idpEntityId": provider.issuer,
        "singleSignOnServiceUrl": at["single_sign_on_service"],
        **(
            {"singleLogoutServiceUrl": at["single_logout_service"]}
            if at.get("single_logout_service")
            else {}
        ),
        "signingCertificate": certificates,
        "wantAssertionsSigned": "true",
        "wantAssertionsEncrypted": "false",
        "wantAuthnRequestsSigned": "true",
        "signatureAlgorithm": "RSA_SHA256",
        "xmlSigKeyInfoKeyNameTransformer": at.get("key_name", "NONE"),
        "principalType": "SUBJECT",
        "nameIDPolicyFormat": at.get("name_id_format", PERSISTENT),
        "allowCreate": "true",
        "postBindingResponse": "true",
        "postBindingAuthnRequest": "true",
        "postBindingLogout": "true",
        "useMetadataDescriptorUrl": "false",
        "forceAuthn": "false",
        "validateSignatures": "true",
    }


def mappers(provider: IdentityProvider) -> Iterator[Json]:
    """How the provider's assertions become what `identity/assertions.py` reads."""
    oidc = provider.protocol == Protocol.OIDC
    subject = "${CLAIM.sub}" if oidc else "${NAMEID}"
    kind = "oidc-username-idp-mapper" if oidc else "saml-username-idp-mapper"
    yield _mapper(
        provider, "user name", kind, "IMPORT", template="${ALIAS}." + subject, target="LOCAL"
    )
    yield _mapper(provider, "subject", kind, "FORCE", template=subject, target="BROKER_USERNAME")
    sources = (_PROVING if oidc else {}) | provider.attributes
    for ours, theirs in sorted(sources.items()):
        place = {"user.attribute": f"asserted_{ours}"}
        if oidc:
            # A dot leads into an object, unless it is part of the name itself, as in names that are addresses.
            claim = theirs.replace(".", "\\.") if "://" in theirs else theirs
            told = {"claim": claim, **place}
            yield _mapper(provider, ours, "oidc-user-attribute-idp-mapper", "FORCE", **told)
        else:
            told = {"attribute.name": theirs, **place}
            yield _mapper(provider, ours, "saml-user-attribute-idp-mapper", "FORCE", **told)


def _mapper(provider: IdentityProvider, name: str, kind: str, mode: str, /, **config: str) -> Json:
    return {
        "name": name,
        "identityProviderAlias": str(provider.id),
        "identityProviderMapper": kind,
        "config": {"syncMode": mode, **config},
    }


async def _sync_mappers(realm: Realm, alias: str, wanted: list[Json]) -> None:
    """Bring the mappers to what is wanted: one that differs is taken away first."""
    there = {mapper["name"]: mapper for mapper in await realm.provider_mappers(alias)}
    for mapper in wanted:
        found = there.pop(mapper["name"], None)
        if found is not None:
            if {**found, "id": None} == {**mapper, "id": None}:
                continue
            await realm.remove_provider_mapper(alias, found["id"])
        await realm.add_provider_mapper(alias, mapper)
    for surplus in there.values():
        await realm.remove_provider_mapper(alias, surplus["id"])
