"""Bearer tokens: what is checked, in which order, before anybody is believed.

Size, header, issuer, key, signature, times, audience, kind, client: the first failing check refuses. The issuer is
looked up in our registry by its exact text, and only that issuer's keys are tried, so that a valid token of one
health system is nothing in another. RFC 7515 (JWS), 7519 (JWT), 8725 (their best practice).
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.util import urlsafe_b64decode

from identity.errors import Refusal, TokenRefused

MAX_BYTES = 16 * 1024
LEEWAY = 30
LONGEST_JTI = 255
ALGORITHMS = frozenset({"ES256"})
AUDIENCE = "api"
CLIENTS = frozenset({"portal", "admin-portal"})
TYPES = frozenset({"JWT", "at+jwt"})
LOGOUT_TYPES = frozenset({"logout+jwt"})
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
# Headers that name a key or demand an extension (RFC 7515 section 4.1): a token chooses neither.
FORBIDDEN_HEADERS = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc")
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Issuer:
    """A health system's issuer as the registry knows it. `keys_url` is ours, never the token's.

    Beside its realm a health system has an issuer of our own, for people who come without the broker: its `direct` one,
    whose subjects are ids of people.
    """

    issuer: str
    tenant_id: UUID
    keys_url: str
    algorithms: frozenset[str] = ALGORITHMS
    clients: frozenset[str] = CLIENTS
    direct: bool = False

    @property
    def userinfo_url(self) -> str:
        """Where the realm says what it knows of a token's user (OpenID Connect Core, section 5.3)."""
        return self.keys_url.rpartition("/")[0] + "/userinfo"


@dataclass(frozen=True, slots=True)
class Token:
    """What a verified token says. Instants are seconds since 1970; `amr` and `acr` as RFC 8176 and OIDC have them.

    `provider` is the identity provider of the health system through which the session came; None: by the realm itself.
    """

    issuer: Issuer
    subject: str
    session: str
    client: str
    issued_at: int
    expires_at: int
    auth_time: int
    acr: str
    amr: frozenset[str]
    provider: UUID | None = None


@dataclass(frozen=True, slots=True)
class Logout:
    """What has ended at the issuer: a session, or all sessions of a subject that were there at an instant.

    `jti` names the announcement itself, which is good until `expires_at`.
    """

    issuer: Issuer
    subject: str | None
    session: str | None
    issued_at: int
    expires_at: int
    jti: str


class Issuers(Protocol):
    """Finds an issuer by its exact text."""

    async def issuer(self, text: str) -> Issuer | None:
        """The issuer, or None for one that is not in the registry."""
        ...


class Keys(Protocol):
    """Finds a public key of an issuer."""

    async def key(self, url: str, kid: str) -> ECKey | None:
        """The key, or None when the issuer has none of this id."""
        ...


class Tokens:
    """Verifies tokens, and remembers verified ones by their hash until they expire.

    Remembered is only what the token says. Whether its person, session and tenant still stand is asked anew for
    each request.
    """

    def __init__(
        self,
        issuers: Issuers,
        keys: Keys,
        *,
        clock: Callable[[], float] = time.time,
        capacity: int = 20_000,
    ) -> None:
        self._issuers = issuers
        self._keys = keys
        self._clock = clock
        self._capacity = capacity
        self._verified: dict[bytes, Token] = {}

    async def verify(self, bearer: str) -> Token:
        """The token's content. Raises TokenRefused, or IdentityUnavailable."""
        digest = fingerprint(bearer)
        known = self._verified.get(digest)
        if known is not None:
            if self._clock() < known.expires_at + LEEWAY:
                return known
            del self._verified[digest]
            raise TokenRefused(Refusal.EXPIRED)
        token = await self._verify(bearer)
        if len(self._verified) >= self._capacity:
            self._verified.pop(next(iter(self._verified)))
        self._verified[digest] = token
        return token

    async def verify_logout(self, bearer: str) -> Logout:
        """What a logout token announces (OpenID Connect Back-Channel Logout 1.0, section 2.6).

        Whether its `jti` was taken before is for whoever follows it. Raises TokenRefused, IdentityUnavailable.
        """
        issuer, claims = await self._claims(bearer, LOGOUT_TYPES)
        return _logout(issuer, claims, self._clock())

    async def _verify(self, bearer: str) -> Token:
        issuer, claims = await self._claims(bearer, TYPES)
        return token_of(issuer, claims, self._clock())

    async def _claims(self, bearer: str, types: frozenset[str]) -> tuple[Issuer, dict[str, Any]]:
        """The claims of a token that one of our issuers has signed, and the issuer."""
        if len(bearer) > MAX_BYTES or not _COMPACT.fullmatch(bearer):
            raise TokenRefused(Refusal.MALFORMED)
        kid, algorithm = _header(bearer, types)
        issuer = await self._issuers.issuer(_claimed_issuer(bearer))
        if issuer is None:
            raise TokenRefused(Refusal.ISSUER)
        if algorithm not in issuer.algorithms:
            raise TokenRefused(Refusal.ALGORITHM)
        key = await self._keys.key(issuer.keys_url, kid)
        if key is None:
            raise TokenRefused(Refusal.KEY)
        return issuer, _signed(bearer, key, algorithm)


def fingerprint(bearer: str) -> bytes:
    """The name of a bearer token in memory, so that no token itself is kept."""
    return sha256(bearer.encode("utf-8", "surrogatepass")).digest()


def _header(bearer: str, types: frozenset[str]) -> tuple[str, str]:
    """The key id and the algorithm that the header names, once nothing in it is forbidden."""
    header = _object(bearer.split(".", 1)[0])
    if any(name in header for name in FORBIDDEN_HEADERS) or header.get("typ") not in types:
        raise TokenRefused(Refusal.HEADER)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused(Refusal.ALGORITHM)
    if not isinstance(kid, str):
        raise TokenRefused(Refusal.KEY)
    return kid, algorithm


def _claimed_issuer(bearer: str) -> str:
    """The `iss` of a payload that nobody has verified yet: good for a lookup, for nothing else."""
    issuer = _object(bearer.split(".", 2)[1]).get("iss")
    if not isinstance(issuer, str):
        raise TokenRefused(Refusal.ISSUER)
    return issuer


def _object(segment: str) -> dict[str, Any]:
    try:
        value = orjson.loads(urlsafe_b64decode(segment.encode()))
    except ValueError:
        raise TokenRefused(Refusal.MALFORMED) from None
    if not isinstance(value, dict):
        raise TokenRefused(Refusal.MALFORMED)
    return value


def _signed(bearer: str, key: ECKey, algorithm: str) -> dict[str, Any]:
    """The claims, from the bytes that the signature covers."""
    try:
        verified = jws.deserialize_compact(bearer, key, algorithms=[algorithm])
    except (JoseError, ValueError):
        raise TokenRefused(Refusal.SIGNATURE) from None
    claims: dict[str, Any] = orjson.loads(verified.payload)
    return claims


def token_of(issuer: Issuer, claims: dict[str, Any], now: float) -> Token:
    """The claims of a signed token, checked one by one (OpenID Connect Core 2, RFC 9068 section 4)."""
    issued_at, expires_at = _times(claims, now)
    audience = claims.get("aud")
    if audience != AUDIENCE and not (isinstance(audience, list) and AUDIENCE in audience):
        raise TokenRefused(Refusal.AUDIENCE)
    # Keycloak signs refresh, ID and logout tokens with the same key; only this claim tells them apart.
    if claims.get("typ") != "Bearer":
        raise TokenRefused(Refusal.KIND)
    client = _text(claims, "azp", Refusal.CLIENT)
    if client not in issuer.clients:
        raise TokenRefused(Refusal.CLIENT)
    if "act" in claims or claims.get("tenant_id") != str(issuer.tenant_id):
        raise TokenRefused(Refusal.CLAIMS)
    acr, amr = claims.get("acr"), claims.get("amr")
    return Token(
        issuer=issuer,
        subject=_text(claims, "sub", Refusal.CLAIMS),
        session=_text(claims, "sid", Refusal.CLAIMS),
        client=client,
        issued_at=issued_at,
        expires_at=expires_at,
        auth_time=_instant(claims, "auth_time", Refusal.CLAIMS),
        acr=acr if isinstance(acr, str) else "",
        amr=frozenset(m for m in amr if isinstance(m, str))
        if isinstance(amr, list)
        else frozenset(),
        provider=_provider(claims),
    )


def _provider(claims: dict[str, Any]) -> UUID | None:
    """Where the realm names a provider that is none of ours, nothing says whom the session is of."""
    try:
        return UUID(_text(claims, "idp", Refusal.CLAIMS)) if "idp" in claims else None
    except ValueError:
        raise TokenRefused(Refusal.CLAIMS) from None


def _logout(issuer: Issuer, claims: dict[str, Any], now: float) -> Logout:
    issued_at, expires_at = _times(claims, now)
    if claims.get("aud") not in issuer.clients:
        raise TokenRefused(Refusal.AUDIENCE)
    events = claims.get("events")
    if claims.get("typ") != "Logout" or not isinstance(events, dict) or LOGOUT_EVENT not in events:
        raise TokenRefused(Refusal.KIND)
    if "nonce" in claims:  # an ID token in disguise
        raise TokenRefused(Refusal.CLAIMS)
    jti = _text(claims, "jti", Refusal.CLAIMS)
    subject, session = (
        _text(claims, name, Refusal.CLAIMS) if name in claims else None for name in ("sub", "sid")
    )
    if (subject is None and session is None) or len(jti) > LONGEST_JTI:
        raise TokenRefused(Refusal.CLAIMS)
    return Logout(issuer, subject, session, issued_at, expires_at, jti)


def _times(claims: dict[str, Any], now: float) -> tuple[int, int]:
    """`iat` and `exp`, both required, with 30 s for clocks that differ; `nbf` where it is given."""
    expires_at = _instant(claims, "exp", Refusal.EXPIRED)
    if now >= expires_at + LEEWAY:
        raise TokenRefused(Refusal.EXPIRED)
    issued_at = _instant(claims, "iat", Refusal.NOT_YET)
    starts = _instant(claims, "nbf", Refusal.NOT_YET) if "nbf" in claims else issued_at
    if max(issued_at, starts) > now + LEEWAY:
        raise TokenRefused(Refusal.NOT_YET)
    return issued_at, expires_at


def _instant(claims: dict[str, Any], name: str, reason: Refusal) -> int:
    value = claims.get(name)
    if type(value) is not int:  # a bool is an int too
        raise TokenRefused(reason)
    return value


def _text(claims: dict[str, Any], name: str, reason: Refusal) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise TokenRefused(reason)
    return value
