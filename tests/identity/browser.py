"""A browser just good enough for Keycloak's login pages: it keeps cookies, follows redirects, fills in forms."""

import asyncio
import base64
import hashlib
import hmac
import secrets
import struct
import time
from typing import Any, Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
from lxml import html

from tests import web
from tests.identity.authenticator import Passkey

STEPS = 20


async def next_second() -> None:
    """Wait until a login's token is of a later second than a cut: tokens carry whole seconds, and the cut's own stays out."""
    await asyncio.sleep(1 - time.time() % 1 + 0.01)


class LoginFailed(Exception):
    """The login pages did not lead back to the portal; the trail says how far it went."""


def one_time_code(secret: str, at: float | None = None) -> str:
    """A code of RFC 6238 (SHA-1, 6 digits, 30 s) for a secret as Keycloak keeps it."""
    moment = int((time.time() if at is None else at) // 30)
    digest = hmac.digest(secret.encode(), struct.pack(">Q", moment), "sha1")
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


class Browser:
    """One browser of one person. `trail` names the pages of the last login; `totp` is what the app holds.

    A passkey is made where a page asks for one.
    """

    def __init__(self, issuer: str, redirect_uri: str, client_id: str = "portal") -> None:
        self.issuer = issuer
        self.redirect_uri = redirect_uri
        self.client_id = client_id
        self.trail: list[str] = []
        self.totp: str | None = None
        self.passkey: Passkey | None = None
        self.new_password: str | None = None
        self._http = web.client(timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def login(self, user: str, password: str, **extra: str) -> dict[str, Any]:
        """Go through the authorization-code flow with PKCE; answers the token response. Raises LoginFailed."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        query = {
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "scope": "openid",
            "state": secrets.token_hex(8),
            "nonce": secrets.token_hex(8),
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **extra,
        }
        self.trail = []
        answer = await self._get(f"{self.issuer}/protocol/openid-connect/auth", query)
        for _ in range(STEPS):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["location"])
                if target.startswith(self.redirect_uri):
                    return await self._redeem(target, verifier)
                answer = await self._get(target)
            else:
                answer = await self._fill_in(answer, user, password)
        raise LoginFailed(self.trail)

    async def refresh(self, refresh_token: str) -> httpx.Response:
        """Trade a refresh token in."""
        return await self._token(grant_type="refresh_token", refresh_token=refresh_token)

    async def _redeem(self, target: str, verifier: str) -> dict[str, Any]:
        query = parse_qs(urlsplit(target).query)
        if "code" not in query:
            self.trail.append(query.get("error", ["?"])[0])
            raise LoginFailed(self.trail)
        answer = await self._token(
            grant_type="authorization_code",
            code=query["code"][0],
            redirect_uri=self.redirect_uri,
            code_verifier=verifier,
        )
        if answer.status_code != httpx.codes.OK:
            raise LoginFailed([*self.trail, answer.text])
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def _token(self, **form: str) -> httpx.Response:
        url = f"{self.issuer}/protocol/openid-connect/token"
        return await self._http.post(url, data={"client_id": self.client_id, **form})

    async def _fill_in(self, page: httpx.Response, user: str, password: str) -> httpx.Response:
        document = html.fromstring(page.content)
        problem = " ".join(
            document.xpath(
                "//*[@id='kc-error-message' or contains(@id,'input-error')"
                " or contains(@class,'alert-error')]//text()"
            )
        ).split()
        forms = document.xpath("//form")
        if problem or not forms or page.is_error:
            self.trail.append(f"{page.status_code} {' '.join(problem)}")
            raise LoginFailed(self.trail)
        form = next(iter(document.xpath("//form[.//input[@name='clientDataJSON']]")), forms[0])
        fields = {
            field.get("name"): field.get("value", "")
            for field in form.xpath(".//input[@name]")
            if field.get("type") not in ("submit", "checkbox")
        }
        if "clientDataJSON" in fields:
            fields |= self._touched(page, fields)
        else:
            fields |= self._answers(fields, user, password)
        answer = await self._http.post(urljoin(str(page.url), form.get("action")), data=fields)
        self._allow_plain_http()
        return answer

    def _touched(self, page: httpx.Response, fields: dict[str, str]) -> dict[str, str]:
        """What the passkey answers."""
        made = "attestationObject" in fields
        self.trail.append("enrol passkey" if made else "passkey")
        if made:
            self.passkey = Passkey()
        if self.passkey is None:
            raise LoginFailed(self.trail)
        return self.passkey.answer(str(page.url), page.text, fields)

    def _answers(self, fields: dict[str, str], user: str, password: str) -> dict[str, str]:
        if "SAMLRequest" in fields or "SAMLResponse" in fields:
            self.trail.append("saml")
            return {}
        if "password-new" in fields:
            self.trail.append("new password")
            self.new_password = secrets.token_urlsafe(16)
            return {"password-new": self.new_password, "password-confirm": self.new_password}
        if "password" in fields:
            self.trail.append("password")
            return {"username": user, "password": password}
        if "totpSecret" in fields:
            self.trail.append("enrol")
            self.totp = fields["totpSecret"]
            return {"totp": one_time_code(self.totp), "userLabel": "app"}
        if "otp" in fields and self.totp is not None:
            self.trail.append("otp")
            return {"otp": one_time_code(self.totp)}
        self.trail.append(f"unknown page with {sorted(fields)}")
        raise LoginFailed(self.trail)

    async def _get(self, url: str, query: dict[str, str] | None = None) -> httpx.Response:
        answer = await self._http.get(url, params=query)
        self._allow_plain_http()
        return answer

    def _allow_plain_http(self) -> None:
        """Keycloak marks its cookies Secure; a real browser sends them to loopback over plain HTTP all the same."""
        for cookie in self._http.cookies.jar:
            cookie.secure = False
