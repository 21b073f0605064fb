"""A token is believed only as a whole: each way of forging one is refused, for its own reason."""

import hmac
import json
from typing import Any
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey, RSAKey

from identity.errors import Refusal, TokenRefused
from identity.tokens import (
    LEEWAY,
    LOGOUT_EVENT,
    MAX_BYTES,
    Issuer,
    Logout,
    Token,
    Tokens,
    fingerprint,
)
from tests.identity.forge import NOW, Authority, Clock, segment

pytestmark = pytest.mark.anyio


class Book:
    """A registry and the issuers' keys, of some authorities; counts what it is asked for."""

    def __init__(self, *authorities: Authority) -> None:
        self.by_issuer = {a.issuer: a for a in authorities}
        self.asked: list[str] = []

    async def issuer(self, text: str) -> Issuer | None:
        self.asked.append(text)
        found = self.by_issuer.get(text)
        return found.entry if found else None

    async def key(self, url: str, kid: str) -> ECKey | None:
        self.asked.append(f"{url} {kid}")
        return next(
            (a.key for a in self.by_issuer.values() if (a.keys_url, a.kid) == (url, kid)), None
        )


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(authority: Authority) -> Book:
    return Book(authority)


@pytest.fixture
def tokens(book: Book, clock: Clock) -> Tokens:
    return Tokens(book, book, clock=clock)


async def refusal(tokens: Tokens, bearer: str) -> Refusal:
    with pytest.raises(TokenRefused) as refused:
        await tokens.verify(bearer)
    assert str(refused.value) == "Not authenticated."
    return refused.value.reason


async def test_a_genuine_token_says_who_came(tokens: Tokens, authority: Authority) -> None:
    token = await tokens.verify(authority.token(acr="mfa", amr=["pwd", "otp", 7]))
    assert token == Token(
        issuer=authority.entry,
        subject="subject-1",
        session="session-1",
        client="portal",
        issued_at=NOW,
        expires_at=NOW + 300,
        auth_time=NOW - 10,
        acr="mfa",
        amr=frozenset({"pwd", "otp"}),
    )


def test_what_an_issuer_knows_of_a_user_is_asked_beside_its_keys() -> None:
    """Never at an address that a token names."""
    entry = Authority(keys_url="http://inside/realms/o1/protocol/openid-connect/certs").entry
    assert entry.userinfo_url == "http://inside/realms/o1/protocol/openid-connect/userinfo"


async def test_a_token_names_the_provider_of_its_session(
    tokens: Tokens, authority: Authority
) -> None:
    through = uuid4()
    assert (await tokens.verify(authority.token(idp=str(through)))).provider == through


async def test_what_a_token_may_leave_out(tokens: Tokens, authority: Authority) -> None:
    bearer = authority.token(aud=["account", "api"], acr=None, amr=None, nbf=NOW)
    token = await tokens.verify(bearer)
    assert (token.acr, token.amr) == ("", frozenset())


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": None}, Refusal.EXPIRED),
        ({"exp": NOW - LEEWAY}, Refusal.EXPIRED),
        ({"exp": str(NOW + 300)}, Refusal.EXPIRED),
        ({"exp": True}, Refusal.EXPIRED),
        ({"exp": float(NOW + 300)}, Refusal.EXPIRED),
        ({"exp": 10**40}, Refusal.EXPIRED),
        ({"iat": None}, Refusal.NOT_YET),
        ({"iat": NOW + LEEWAY + 1}, Refusal.NOT_YET),
        ({"nbf": NOW + LEEWAY + 1}, Refusal.NOT_YET),
        ({"nbf": "soon"}, Refusal.NOT_YET),
        ({"aud": None}, Refusal.AUDIENCE),
        ({"aud": "portal"}, Refusal.AUDIENCE),
        ({"aud": ["account"]}, Refusal.AUDIENCE),
        ({"aud": {"api": True}}, Refusal.AUDIENCE),
        ({"aud": "api2"}, Refusal.AUDIENCE),
        ({"typ": "Refresh"}, Refusal.KIND),
        ({"typ": "ID"}, Refusal.KIND),
        ({"typ": "Logout"}, Refusal.KIND),
        ({"typ": "Offline"}, Refusal.KIND),
        ({"typ": None}, Refusal.KIND),
        ({"azp": None}, Refusal.CLIENT),
        ({"azp": "svc-identity"}, Refusal.CLIENT),
        ({"azp": ["portal"]}, Refusal.CLIENT),
        ({"act": {"sub": "somebody"}}, Refusal.CLAIMS),
        ({"idp": "corp"}, Refusal.CLAIMS),
        ({"idp": ""}, Refusal.CLAIMS),
        ({"idp": 5}, Refusal.CLAIMS),
        ({"tenant_id": None}, Refusal.CLAIMS),
        ({"tenant_id": "00000000-0000-0000-0000-000000000000"}, Refusal.CLAIMS),
        ({"sub": None}, Refusal.CLAIMS),
        ({"sub": ""}, Refusal.CLAIMS),
        ({"sub": 5}, Refusal.CLAIMS),
        ({"sid": None}, Refusal.CLAIMS),
        ({"auth_time": None}, Refusal.CLAIMS),
        ({"iss": None}, Refusal.ISSUER),
        ({"iss": 5}, Refusal.ISSUER),
        ({"iss": ["http://127.0.0.1/realms/oaaaaaaaaaaaa"]}, Refusal.ISSUER),
        ({"iss": "http://127.0.0.1/realms/oaaaaaaaaaaaa/"}, Refusal.ISSUER),
        ({"iss": "HTTP://127.0.0.1/realms/oaaaaaaaaaaaa"}, Refusal.ISSUER),
        ({"iss": "http://127.0.0.1/realms/obbbbbbbbbbbb"}, Refusal.ISSUER),
    ],
)
async def test_claims_that_are_refused(
    tokens: Tokens, authority: Authority, claims: dict[str, Any], reason: Refusal
) -> None:
    assert await refusal(tokens, authority.token(**claims)) is reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"jku": "http://127.0.0.1/mine"}, Refusal.HEADER),
        ({"x5u": "http://127.0.0.1/mine"}, Refusal.HEADER),
        ({"x5c": ["MII"]}, Refusal.HEADER),
        ({"jwk": {"kty": "EC"}}, Refusal.HEADER),
        ({"crit": ["exp"]}, Refusal.HEADER),
        ({"crit": ["unheard-of"], "unheard-of": 1}, Refusal.HEADER),
        ({"b64": False}, Refusal.HEADER),
        ({"zip": "DEF"}, Refusal.HEADER),
        ({"enc": "A256GCM"}, Refusal.HEADER),
        ({"typ": "logout+jwt"}, Refusal.HEADER),
        ({"typ": "JOSE"}, Refusal.HEADER),
        ({"typ": None}, Refusal.HEADER),
        ({"alg": "none"}, Refusal.ALGORITHM),
        ({"alg": "None"}, Refusal.ALGORITHM),
        ({"alg": "ES384"}, Refusal.ALGORITHM),
        ({"alg": None}, Refusal.ALGORITHM),
        ({"alg": ["ES256"]}, Refusal.ALGORITHM),
        ({"kid": None}, Refusal.KEY),
        ({"kid": 1}, Refusal.KEY),
        ({"kid": "key-2"}, Refusal.KEY),
    ],
)
async def test_headers_that_are_refused(
    tokens: Tokens, authority: Authority, header: dict[str, Any], reason: Refusal
) -> None:
    assert await refusal(tokens, authority.token(header)) is reason


async def test_an_access_token_of_rfc_9068_is_taken(tokens: Tokens, authority: Authority) -> None:
    assert await tokens.verify(authority.token({"typ": "at+jwt"}))


async def test_no_algorithm_and_no_signature(tokens: Tokens, authority: Authority) -> None:
    unsigned = f"{segment(authority.header(alg='none'))}.{segment(authority.claims())}."
    assert await refusal(tokens, unsigned) is Refusal.MALFORMED
    assert await refusal(tokens, unsigned + "AA") is Refusal.ALGORITHM


async def test_the_public_key_is_no_secret_to_sign_with(
    tokens: Tokens, authority: Authority
) -> None:
    public = authority.key.as_pem(private=False)
    content = f"{segment(authority.header(alg='HS256'))}.{segment(authority.claims())}"
    forged = f"{content}.{segment(hmac.digest(public, content.encode(), 'sha256'))}"
    assert await refusal(tokens, forged) is Refusal.ALGORITHM


async def test_another_key_under_the_same_id(tokens: Tokens, authority: Authority) -> None:
    other = ECKey.generate_key("P-256")
    forged = authority.signed(authority.header(), authority.claims(), other)
    assert await refusal(tokens, forged) is Refusal.SIGNATURE


async def test_an_rsa_signature_in_the_place_of_an_elliptic_one(
    tokens: Tokens, authority: Authority
) -> None:
    rsa = RSAKey.generate_key(2048)
    by_rsa = authority.signed(authority.header(alg="RS256"), authority.claims(), rsa)
    assert await refusal(tokens, by_rsa) is Refusal.ALGORITHM
    signature = by_rsa.rsplit(".", 1)[1]
    honest = authority.token().rsplit(".", 1)[0]
    assert await refusal(tokens, f"{honest}.{signature}") is Refusal.SIGNATURE


async def test_every_changed_character_breaks_the_seal(
    tokens: Tokens, authority: Authority
) -> None:
    genuine = authority.token()
    for position in range(0, len(genuine) - 1, 7):
        old = genuine[position]
        if old == ".":
            continue
        new = "A" if old != "A" else "B"
        with pytest.raises(TokenRefused):
            await tokens.verify(genuine[:position] + new + genuine[position + 1 :])


async def test_a_token_of_one_health_system_is_nothing_in_another(clock: Clock) -> None:
    mercy = Authority()
    lakeside = Authority(issuer="http://127.0.0.1/realms/obbbbbbbbbbbb", keys_url="http://b/keys")
    book = Book(mercy, lakeside)
    tokens = Tokens(book, book, clock=clock)
    # Signed by Lakeside's own key, but naming Mercy as the issuer, and the other way round.
    posing = lakeside.signed(mercy.header(), mercy.claims())
    assert await refusal(tokens, posing) is Refusal.SIGNATURE
    foreign = lakeside.token(tenant_id=str(mercy.tenant_id))
    assert await refusal(tokens, foreign) is Refusal.CLAIMS


async def test_an_issuer_decides_its_algorithms_and_clients(
    clock: Clock, authority: Authority
) -> None:
    class Narrow(Book):
        async def issuer(self, text: str) -> Issuer | None:
            return Issuer(
                authority.issuer,
                authority.tenant_id,
                authority.keys_url,
                algorithms=frozenset({"EdDSA"}),
            )

    book = Narrow(authority)
    tokens = Tokens(book, book, clock=clock)
    assert await refusal(tokens, authority.token()) is Refusal.ALGORITHM
    assert book.asked == []


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "x",
        "..",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "Bearer a.b.c",
        "ä.ö.ü",
        "\ud800.a.b",
        "a\x00.b.c",
        "a.b.c\n",
        f"{segment(b'[]')}.{segment({})}.AA",
        f"{segment(b'{')}.{segment({})}.AA",
        f"{segment(b'[' * 5000)}.{segment({})}.AA",
        f"{segment(bytes([255, 254]))}.{segment({})}.AA",
        f"A.{segment({})}.AA",
    ],
)
async def test_junk(tokens: Tokens, book: Book, junk: str) -> None:
    assert await refusal(tokens, junk) is Refusal.MALFORMED
    assert book.asked == []


@pytest.mark.parametrize("payload", [b"[]", b"{", b"null", b'"text"', b"\xff"])
async def test_payloads_that_are_no_claims(
    tokens: Tokens, authority: Authority, payload: bytes
) -> None:
    assert await refusal(tokens, authority.signed(authority.header(), payload)) is Refusal.MALFORMED


async def test_an_oversize_token_is_not_even_read(
    tokens: Tokens, book: Book, authority: Authority
) -> None:
    assert await refusal(tokens, authority.token(padding="x" * MAX_BYTES)) is Refusal.MALFORMED
    assert book.asked == []


async def test_a_verified_token_is_remembered_until_it_expires(
    tokens: Tokens, book: Book, authority: Authority, clock: Clock
) -> None:
    bearer = authority.token()
    first = await tokens.verify(bearer)
    asked = list(book.asked)
    clock.now += 300 + LEEWAY - 1
    assert await tokens.verify(bearer) is first
    assert book.asked == asked
    clock.now += 1
    assert await refusal(tokens, bearer) is Refusal.EXPIRED
    assert await refusal(tokens, bearer) is Refusal.EXPIRED


async def test_memory_is_bounded(book: Book, authority: Authority, clock: Clock) -> None:
    tokens = Tokens(book, book, clock=clock, capacity=2)
    bearers = [authority.token(jti=str(n)) for n in range(3)]
    for bearer in bearers:
        await tokens.verify(bearer)
    book.asked.clear()
    await tokens.verify(bearers[2])
    assert book.asked == []
    await tokens.verify(bearers[0])
    assert book.asked


async def test_a_refused_token_leaves_nothing_behind(
    tokens: Tokens, book: Book, authority: Authority
) -> None:
    bearer = authority.token(aud="portal")
    await refusal(tokens, bearer)
    book.asked.clear()
    await refusal(tokens, bearer)
    assert book.asked


def test_tokens_are_named_by_their_hash() -> None:
    assert len(fingerprint("a.b.c")) == 32
    assert fingerprint("a.b.c") != fingerprint("a.b.d")


async def test_duplicate_members_do_not_split_the_readers(
    tokens: Tokens, authority: Authority
) -> None:
    """Two parsers could disagree about which of two `iss` counts; the one that is signed and looked up is one."""
    twice = json.dumps(authority.claims())[:-1] + ', "iss": "http://127.0.0.1/realms/elsewhere"}'
    forged = authority.signed(authority.header(), twice.encode())
    assert await refusal(tokens, forged) is Refusal.ISSUER


async def test_a_logout_token_names_the_session_that_ended(
    tokens: Tokens, authority: Authority
) -> None:
    logout = await tokens.verify_logout(authority.logout_token(jti="once"))
    assert logout == Logout(authority.entry, "subject-1", "session-1", NOW, NOW + 120, "once")
    alone = await tokens.verify_logout(authority.logout_token(sid=None))
    assert (alone.subject, alone.session) == ("subject-1", None)
    alone = await tokens.verify_logout(authority.logout_token(sub=None))
    assert (alone.subject, alone.session) == (None, "session-1")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "api"}, Refusal.AUDIENCE),
        ({"aud": None}, Refusal.AUDIENCE),
        ({"typ": "Bearer"}, Refusal.KIND),
        ({"events": None}, Refusal.KIND),
        ({"events": ["backchannel-logout"]}, Refusal.KIND),
        ({"events": {"something": {}}}, Refusal.KIND),
        ({"nonce": "n"}, Refusal.CLAIMS),
        ({"sub": None, "sid": None}, Refusal.CLAIMS),
        ({"sub": ""}, Refusal.CLAIMS),
        ({"sid": 7}, Refusal.CLAIMS),
        ({"jti": None}, Refusal.CLAIMS),
        ({"jti": "j" * 256}, Refusal.CLAIMS),
        ({"jti": 1}, Refusal.CLAIMS),
        ({"exp": None}, Refusal.EXPIRED),
        ({"exp": NOW - LEEWAY}, Refusal.EXPIRED),
        ({"iat": NOW + LEEWAY + 1}, Refusal.NOT_YET),
    ],
)
async def test_logout_tokens_that_are_refused(
    tokens: Tokens, authority: Authority, claims: dict[str, Any], reason: Refusal
) -> None:
    with pytest.raises(TokenRefused) as refused:
        await tokens.verify_logout(authority.logout_token(**claims))
    assert refused.value.reason is reason


async def test_neither_kind_of_token_passes_for_the_other(
    tokens: Tokens, authority: Authority
) -> None:
    with pytest.raises(TokenRefused):
        await tokens.verify_logout(authority.token())
    with pytest.raises(TokenRefused):
        await tokens.verify_logout(authority.logout_token({"typ": "JWT"}))
    assert await refusal(tokens, authority.logout_token()) is Refusal.HEADER
    # Even a logout token whose header lies, and which has all else of an access token, is none.
    hybrid = authority.claims(typ="Logout", events={LOGOUT_EVENT: {}})
    assert await refusal(tokens, authority.signed(authority.header(), hybrid)) is Refusal.KIND
