"""A hospital's own identity provider: another realm of the same server, which knows nothing of us but one client."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from identity.keycloak import Realm
from tests import web
from tests.identity.conftest import PASSWORD, World, drop_realm

CLIENT, SECRET = "caretree", "between-the-two-of-us"
CLAIMS = {
    "userName": "preferred_username",
    "givenName": "given_name",
    "familyName": "family_name",
    "email": "email",
    "groups": "groups",
    "department": "department",
}
"""The provider's names of what we ask for; in SAML it uses the same."""
MAY = {"view": ["admin", "user"], "edit": ["admin"]}
PROFILE = {
    "attributes": [
        {"name": name, "permissions": MAY}
        for name in ("username", "email", "firstName", "lastName")
    ],
    "unmanagedAttributePolicy": "ADMIN_EDIT",
}
PROPERTIES = {
    "preferred_username": "username",
    "given_name": "firstName",
    "family_name": "lastName",
    "email": "email",
}


@dataclass
class Foreign:
    """The provider, as its administrator has it."""

    world: World
    realm: Realm
    url: str
    users: dict[str, str] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"{self.url}/realms/{self.realm.name}"

    @property
    def endpoints(self) -> dict[str, str]:
        at = f"{self.issuer}/protocol/openid-connect"
        return {
            "authorization_endpoint": f"{at}/auth",
            "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/certs",
            "scope": "openid",
        }

    async def hire(self, name: str, *groups: str, **changes: Any) -> None:
        """Somebody with PASSWORD, known by name, who is in these groups."""
        self.users[name] = await self.realm.create_user(_user(name, *groups) | changes)

    async def move(self, name: str, *groups: str, **attributes: list[str]) -> None:
        """Put somebody into these groups and no others."""
        user = await self.realm.user(self.users[name])
        # The id by which it names somebody in SAML is one of their attributes there.
        told = {**user.get("attributes", {}), "groups": list(groups), **attributes}
        await self.realm.update_user({**user, "attributes": {k: v for k, v in told.items() if v}})

    async def meet(self, redirect_uri: str) -> None:
        """Register us as a client."""
        await self.call("POST", "clients", json=_client(redirect_uri))

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Speak to the administration as the provider's own people do."""
        await self.realm.read()  # renews the token
        token = (self.realm._connection.token or {})["access_token"]
        url = f"{self.url}/admin/realms/{self.realm.name}/{path}"
        async with web.client(timeout=30) as http:
            answer = await http.request(
                method, url, headers={"authorization": f"Bearer {token}"}, **more
            )
        assert answer.is_success, answer.text
        return answer

    async def descriptor(self) -> bytes:
        """Its SAML metadata, as everybody may read it."""
        async with web.client(timeout=30) as http:
            return (await http.get(f"{self.issuer}/protocol/saml/descriptor")).content

    async def trust(self, entity_id: str, acs: str, certificate: str) -> None:
        """Register us as a SAML service provider that signs its requests."""
        await self.call("POST", "clients", json=_service_provider(entity_id, acs, certificate))

    async def change_client(self, client_id: str, **attributes: str) -> None:
        """Change a client's settings: how the provider behaves badly."""
        (found,) = (await self.call("GET", f"clients?clientId={quote(client_id, safe='')}")).json()
        found["attributes"] |= attributes
        await self.call("PUT", f"clients/{found['id']}", json=found)


async def opened(world: World, url: str, name: str) -> Foreign:
    """Make the provider's realm."""
    realm = await world.platform.accounts.as_master(url, name)
    await realm.create(
        {
            "realm": name,
            "enabled": True,
            "sslRequired": "none",
            "components": {
                "org.keycloak.userprofile.UserProfileProvider": [
                    {
                        "providerId": "declarative-user-profile",
                        "config": {"kc.user.profile.config": [json.dumps(PROFILE)]},
                    }
                ]
            },
        }
    )
    return Foreign(world, realm, url)


async def closed(foreign: Foreign) -> None:
    """Remove it again."""
    await drop_realm(foreign.world.platform, foreign.url, foreign.realm.name)


def _user(name: str, *groups: str) -> dict[str, Any]:
    return {
        "username": name,
        "enabled": True,
        "email": f"{name}@corp.example",
        "emailVerified": True,
        "firstName": name.title(),
        "lastName": "Corp",
        "attributes": {"groups": list(groups)} if groups else {},
        "credentials": [{"type": "password", "value": PASSWORD}],
    }


def _client(redirect_uri: str) -> dict[str, Any]:
    def told(kind: str, claim: str, attribute: str, **more: str) -> dict[str, Any]:
        return {
            "name": claim,
            "protocol": "openid-connect",
            "protocolMapper": kind,
            "config": {
                "user.attribute": attribute,
                "claim.name": claim,
                "jsonType.label": "String",
                "id.token.claim": "true",
                **more,
            },
        }

    kind = "oidc-usermodel-attribute-mapper"
    return {
        "clientId": CLIENT,
        "secret": SECRET,
        "redirectUris": [redirect_uri],
        "standardFlowEnabled": True,
        "directAccessGrantsEnabled": False,
        "defaultClientScopes": ["basic", "acr"],
        "attributes": {"pkce.code.challenge.method": "S256"},
        "protocolMappers": [
            *(told(kind, claim, name) for claim, name in PROPERTIES.items()),
            told(kind, "groups", "groups", multivalued="true"),
            told(kind, "department", "department"),
        ],
    }


def _service_provider(entity_id: str, acs: str, certificate: str) -> dict[str, Any]:
    def told(name: str, kind: str, attribute: str) -> dict[str, Any]:
        return {
            "name": name,
            "protocol": "saml",
            "protocolMapper": kind,
            "config": {
                "user.attribute": attribute,
                "attribute.name": name,
                "attribute.nameformat": "Basic",
                "friendly.name": name,
            },
        }

    return {
        "clientId": entity_id,
        "protocol": "saml",
        "redirectUris": [acs],
        "fullScopeAllowed": False,
        "attributes": {
            "saml_assertion_consumer_url_post": acs,
            "saml.assertion.signature": "true",
            "saml.server.signature": "false",
            "saml.client.signature": "true",
            "saml.signing.certificate": certificate,
            "saml.signature.algorithm": "RSA_SHA256",
            "saml.authnstatement": "true",
            "saml.force.post.binding": "true",
            "saml_name_id_format": "persistent",
            "saml_force_name_id_format": "true",
        },
        "protocolMappers": [
            *(told(n, "saml-user-property-mapper", p) for n, p in PROPERTIES.items()),
            told("groups", "saml-user-attribute-mapper", "groups"),
            told("department", "saml-user-attribute-mapper", "department"),
        ],
    }
