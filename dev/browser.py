"""A browser just good enough for Keycloak's login pages: it keeps cookies, follows redirects, fills in forms."""

import base64
import hashlib
import hmac
import secrets
import struct
import time
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
from lxml import html

STEPS = 20
PERIOD = 30
COMPLAINTS = (
    "//*[@id='kc-error-message' or contains(@id,'input-error')]//text()"
    "|//*[contains(@class,'pf-m-danger')]//*[contains(@class,'kc-feedback-text')]//text()"
)


class LoginFailed(Exception):
    """The pages did not lead back to the portal; the message is what the last one said. No secret is in it."""


def one_time_code(secret: str, at: float | None = None) -> str:
    """A code of RFC 6238 (SHA-1, 6 digits, 30 s) for a secret as Keycloak keeps it, at an instant (now)."""
    step = int((time.time() if at is None else at) // PERIOD)
    digest = hmac.digest(secret.encode(), struct.pack(">Q", step), "sha1")
    offset = digest[-1] & 15
    number: int = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


class Browser:
    """One person's browser at a realm. `redirect_uri` is the portal's; nothing is ever asked of it."""

    def __init__(self, issuer: str, redirect_uri: str, client_id: str = "portal") -> None:
        self.issuer, self.redirect_uri, self.client_id = issuer, redirect_uri, client_id
        self._http = httpx.Client(trust_env=False, timeout=30)

    def login(self, user: str, password: str, totp: str | None = None, **extra: str) -> str:
        """Go through the authorization-code flow with PKCE (RFC 7636); the access token. Raises LoginFailed."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(12)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "scope": "openid",
            "state": state,
            "nonce": secrets.token_urlsafe(12),
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **extra,
        }
        page = self._get(f"{self.issuer}/protocol/openid-connect/auth", query)
        for _ in range(STEPS):
            if not page.is_redirect:
                page = self._fill_in(page, user, password, totp)
                continue
            target = urljoin(str(page.url), page.headers["location"])
            if target.startswith(self.redirect_uri):
                return self._redeem(target, state, verifier)
            page = self._get(target)
        raise LoginFailed("The login pages go round in circles.")

    def close(self) -> None:
        """Forget everything."""
        self._http.close()

    def _redeem(self, target: str, state: str, verifier: str) -> str:
        answer = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        if answer.get("state") != state or "code" not in answer:
            raise LoginFailed(answer.get("error_description") or answer.get("error") or "No code.")
        form = {
            "grant_type": "authorization_code",
            "client_id": self.client_id,
            "code": answer["code"],
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        tokens = self._http.post(f"{self.issuer}/protocol/openid-connect/token", data=form)
        if tokens.status_code != httpx.codes.OK:
            raise LoginFailed(f"The realm gave no token (status {tokens.status_code}).")
        return str(tokens.json()["access_token"])

    def _fill_in(
        self, page: httpx.Response, user: str, password: str, totp: str | None
    ) -> httpx.Response:
        document = html.fromstring(page.content or b"<p/>")
        complaint = " ".join(" ".join(document.xpath(COMPLAINTS)).split())
        forms = document.xpath("//form")
        if complaint or not forms or page.is_error:
            raise LoginFailed(complaint or f"Keycloak answered with status {page.status_code}.")
        fields = {
            field.get("name"): field.get("value", "")
            for field in forms[0].xpath(".//input[@name]")
            if field.get("type") not in ("submit", "checkbox")
        }
        if "password" in fields:
            fields |= {"username": user, "password": password}
        elif "otp" in fields and totp is not None:
            fields |= {"otp": one_time_code(totp)}
        else:
            raise LoginFailed(
                f"Keycloak asks for what is not known here: {', '.join(sorted(fields))}."
            )
        answer = self._http.post(urljoin(str(page.url), forms[0].get("action")), data=fields)
        self._allow_plain_http()
        return answer

    def _get(self, url: str, query: dict[str, str] | None = None) -> httpx.Response:
        answer = self._http.get(url, params=query)
        self._allow_plain_http()
        return answer

    def _allow_plain_http(self) -> None:
        """Keycloak marks its cookies Secure; a real browser sends them to loopback over plain HTTP all the same."""
        for cookie in self._http.cookies.jar:
            cookie.secure = False
