"""The embedded Keycloak: what the product's client may do there, and logins by the scripted browser."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from dev.browser import Browser, LoginFailed, one_time_code
from dev.servers import Servers, ensure

pytestmark = pytest.mark.keycloak

CALLBACK = "http://127.0.0.1:9/callback"
PASSWORD, TOTP = "correct horse battery staple", "twenty-characters-xx"


@pytest.fixture(scope="module")
def keycloak() -> Servers:
    return ensure(keycloak=True)


@dataclass(frozen=True)
class Realm:
    """A realm of these tests and an administrator's connection that may change it."""

    issuer: str
    path: str
    admin: httpx.Client


def provisioner(servers: Servers) -> httpx.Client:
    """A connection as the product's client. A realm's rights are in tokens that were made after it."""
    form = {
        "grant_type": "client_credentials",
        "client_id": servers.keycloak_admin_client_id,
        "client_secret": servers.keycloak_admin_client_secret,
    }
    url = f"{servers.keycloak_url}/realms/master/protocol/openid-connect/token"
    token = httpx.post(url, data=form, trust_env=False).raise_for_status().json()["access_token"]
    client = httpx.Client(base_url=servers.keycloak_url, trust_env=False, timeout=30)
    client.headers["Authorization"] = f"Bearer {token}"
    return client


@pytest.fixture(scope="module")
def realm(keycloak: Servers) -> Iterator[Realm]:
    """A realm with a portal and three people: one with a second factor, one without, one disabled."""
    name = f"o{secrets.token_hex(8)}"
    with provisioner(keycloak) as admin:
        admin.post("/admin/realms", json=template(name)).raise_for_status()
    with provisioner(keycloak) as admin:
        yield Realm(f"{keycloak.keycloak_url}/realms/{name}", f"/admin/realms/{name}", admin)
        admin.delete(f"/admin/realms/{name}").raise_for_status()


def template(name: str) -> dict[str, object]:
    portal = {
        "clientId": "portal",
        "publicClient": True,
        "redirectUris": [CALLBACK],
        "attributes": {"pkce.code.challenge.method": "S256"},
    }
    app = (
        '{"subType":"totp","digits":6,"counter":0,"period":30,"algorithm":"HmacSHA1"}',
        f'{{"value":"{TOTP}"}}',
    )
    second = {"type": "otp", "credentialData": app[0], "secretData": app[1]}
    people = [person("ann"), person("ben", second), person("cas") | {"enabled": False}]
    return {"realm": name, "enabled": True, "clients": [portal], "users": people}


def person(name: str, *more: object) -> dict[str, object]:
    password = {"type": "password", "value": PASSWORD, "temporary": False}
    known = {"firstName": name, "lastName": "Test", "email": f"{name}@example.org"}
    return {"username": name, "enabled": True, "credentials": [password, *more], **known}


def browse(realm: Realm, user: str, password: str, totp: str | None = None) -> str:
    browser = Browser(realm.issuer, CALLBACK)
    try:
        return browser.login(user, password, totp)
    finally:
        browser.close()


# RFC 6238, appendix B, SHA-1, the last six digits.
@pytest.mark.parametrize(
    ("at", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_one_time_codes_are_those_of_the_rfc(at: float, code: str) -> None:
    assert one_time_code("12345678901234567890", at) == code


def test_a_password_logs_in(realm: Realm) -> None:
    assert browse(realm, "ann", PASSWORD).count(".") == 2


def test_a_second_factor_logs_in(realm: Realm) -> None:
    assert browse(realm, "ben", PASSWORD, TOTP).count(".") == 2


def test_what_fails_is_said_without_the_password(realm: Realm) -> None:
    with pytest.raises(LoginFailed, match="Invalid username or password"):
        browse(realm, "ann", "wrong")
    with pytest.raises(LoginFailed, match="disabled") as disabled:
        browse(realm, "cas", PASSWORD)
    with pytest.raises(LoginFailed, match=r"asks for what is not known here: .*otp"):
        browse(realm, "ben", PASSWORD)
    with pytest.raises(LoginFailed, match="Invalid authenticator code"):
        browse(realm, "ben", PASSWORD, "not the secret at all")
    assert PASSWORD not in str(disabled.value)


def test_an_unknown_portal_is_refused(realm: Realm) -> None:
    browser = Browser(realm.issuer, "http://127.0.0.1:9/elsewhere")
    with pytest.raises(LoginFailed, match="redirect_uri"):
        browser.login("ann", PASSWORD)
    browser.close()


def test_the_product_may_make_realms_and_not_touch_those_of_others(keycloak: Servers) -> None:
    with provisioner(keycloak) as admin:
        change = admin.put("/admin/realms/master", json={"displayName": "ours"})
        assert change.status_code == httpx.codes.FORBIDDEN
        assert admin.get("/admin/realms/master/users").status_code == httpx.codes.FORBIDDEN
        assert admin.get("/admin/realms/master/clients").status_code == httpx.codes.FORBIDDEN


def test_the_issuer_is_one_by_whatever_name_it_is_asked(keycloak: Servers) -> None:
    path = "/realms/master/.well-known/openid-configuration"
    by_name = keycloak.keycloak_url.replace("127.0.0.1", "localhost")
    found = {
        httpx.get(url + path, trust_env=False).json()["issuer"]
        for url in (keycloak.keycloak_url, by_name)
    }
    assert found == {f"{keycloak.keycloak_url}/realms/master"}
