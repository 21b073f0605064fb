"""Tokens of an issuer of our own: genuine ones, and every way of forging them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from identity.tokens import LOGOUT_EVENT, Issuer

NOW = 1_800_000_000


def segment(value: Any) -> str:
    """A part of a compact token: JSON, or bytes as they are."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class KeyServer:
    """A real HTTP server that answers what a test puts there, and counts."""

    def __init__(self) -> None:
        self.body = b""
        self.status = "200 OK"
        self.head = ""
        self.asked = 0
        self.delay = 0.0
        self.url = ""
        self.ended = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(self.delay):
                await self.ended.wait()
        head = f"HTTP/1.1 {self.status}\r\ncontent-length: {len(self.body)}\r\n{self.head}"
        writer.write(f"{head}connection: close\r\n\r\n".encode() + self.body)
        writer.close()


@asynccontextmanager
async def served() -> AsyncIterator[KeyServer]:
    keys = KeyServer()
    server = await asyncio.start_server(keys.answer, "127.0.0.1", 0)
    keys.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/certs"
    async with server:
        yield keys
        keys.ended.set()


@dataclass
class Authority:
    """An issuer with a key, as a realm is one."""

    issuer: str = "http://127.0.0.1/realms/oaaaaaaaaaaaa"
    tenant_id: UUID = field(default_factory=uuid4)
    kid: str = "key-1"
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))
    keys_url: str = "http://127.0.0.1/keys"
    now: Callable[[], int] = lambda: NOW

    @property
    def entry(self) -> Issuer:
        """As the registry knows it."""
        return Issuer(self.issuer, self.tenant_id, self.keys_url)

    def key_set(self, **changes: Any) -> bytes:
        """What it publishes."""
        jwk = {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": "ES256"}
        return json.dumps({"keys": [{**jwk, **changes}]}).encode()

    def header(self, **changes: Any) -> dict[str, Any]:
        """A token's header; None takes a member away."""
        return _without_none({"alg": "ES256", "typ": "JWT", "kid": self.kid, **changes})

    def claims(self, **changes: Any) -> dict[str, Any]:
        """A token's content; None takes a claim away."""
        now = self.now()
        genuine = {
            "iss": self.issuer,
            "sub": "subject-1",
            "sid": "session-1",
            "azp": "portal",
            "aud": "api",
            "typ": "Bearer",
            "iat": now,
            "exp": now + 300,
            "auth_time": now - 10,
            "acr": "1",
            "amr": ["pwd"],
            "tenant_id": str(self.tenant_id),
        }
        return _without_none(genuine | changes)

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token signed with the issuer's key."""
        return self.signed(self.header(**(header or {})), self.claims(**claims))

    def logout_token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A logout token as Keycloak sends it; None takes a claim away."""
        now = self.now()
        genuine = {
            "iss": self.issuer,
            "sub": "subject-1",
            "sid": "session-1",
            "aud": "portal",
            "typ": "Logout",
            "iat": now,
            "exp": now + 120,
            "jti": str(uuid4()),
            "events": {LOGOUT_EVENT: {}},
        }
        kind = {"typ": "logout+jwt", **(header or {})}
        return self.signed(self.header(**kind), _without_none(genuine | claims))

    def signed(
        self, header: dict[str, Any], payload: Any, key: ECKey | RSAKey | None = None
    ) -> str:
        """Any header over any payload, signed with the issuer's key or another."""
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        algorithm = header.get("alg", "ES256")
        signer = algorithm if algorithm in ("ES256", "RS256") else "ES256"
        # By hand, for a library refuses to sign most of what a forger would send.
        signing_input = f"{segment(header)}.{segment(content)}"
        model = jws.JWSRegistry(algorithms=[signer]).get_alg(signer)
        signature = model.sign(signing_input.encode(), key or self.key)
        return f"{signing_input}.{segment(signature)}"


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
