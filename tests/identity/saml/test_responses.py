"""What is believed of a response, and every way in which one is not."""

import base64
import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from identity.saml.documents import MAX_BYTES
from identity.saml.parties import ServiceProvider
from identity.saml.refusals import SAID, Flaw, SamlRefused
from identity.saml.responses import SignedIn, read_response
from tests.identity.saml import forge
from tests.identity.saml.forge import REQUEST, US, Said, provider, signed, signer
from tests.identity.saml.wrappings import WRAPPINGS


def read(posted: str, us: ServiceProvider = US, **changes: object) -> SignedIn:
    them = replace(provider(), **changes)  # type: ignore[arg-type]  # each caller's own
    return read_response(us, them, posted, REQUEST, dt.datetime.now(dt.UTC))


def flaw(posted: str, **changes: object) -> Flaw:
    with pytest.raises(SamlRefused) as caught:
        read(posted, **changes)  # type: ignore[arg-type]  # each caller's own
    assert str(caught.value) == SAID[caught.value.flaw]
    return caught.value.flaw


def test_a_genuine_response() -> None:
    found = read(
        forge.response(
            session='SessionIndex="s-1" SessionNotOnOrAfter="2099-01-01T00:00:00.1234567Z"'
        )
    )
    assert (found.name_id, found.assertion_id, found.session_index) == (
        "nora-1",
        "_assertion-1",
        "s-1",
    )
    assert found.attributes["groups"] == ["nurses", "choir"]
    assert found.attributes["mail"] == ["nora@corp.example"]
    assert str(found.context).endswith("PasswordProtectedTransport")
    assert str(found.name_format).endswith("persistent")
    assert found.ends_at == dt.datetime(2099, 1, 1, 0, 0, 0, 123456, dt.UTC)
    assert dt.timedelta(0) < found.until - dt.datetime.now(dt.UTC) <= dt.timedelta(minutes=5)
    assert found.authenticated_at < dt.datetime.now(dt.UTC)


def test_other_shapes_that_are_as_good() -> None:
    both = signed()
    forge.sign(both)
    assert read(forge.posted(both)).name_id == "nora-1"
    # Line breaks in the field, no issuer of the message, one name of an attribute several times, a clock 20 s ahead.
    wrapped = base64.encodebytes(base64.b64decode(forge.response())).decode()
    assert read(wrapped).name_id == "nora-1"
    repeated = (("groups", ("nurses",)), ("groups", ("choir", "")))
    ahead: dict[str, Any] = {"begins": 20, "shown": 20}
    found = read(forge.response(message_issuer=None, attributes=repeated, **ahead))
    assert found.attributes == {"groups": ["nurses", "choir"]}
    assert found.authenticated_at <= dt.datetime.now(dt.UTC)
    # The certificate that follows the present one is taken as well, and one that has ended beside it does no harm.
    ended, coming = signer("old", begins=-9, ends=-1), signer("new")
    known = provider(ended, signer(), coming).certificates
    assert read(forge.response(by=coming), certificates=known).name_id == "nora-1"


def test_attributes_by_their_friendly_names() -> None:
    told = (("urn:oid:1", ("nurses",)), ("urn:oid:1", ("choir",)), ("urn:oid:2", ("Nora",)))
    named = (("urn:oid:1", "groups"), ("urn:oid:2", "givenName"))
    found = read(forge.response(attributes=told, friendly=named)).attributes
    assert found["groups"] == found["urn:oid:1"] == ["nurses", "choir"]
    assert found["givenName"] == ["Nora"]
    # What another attribute is called, or friendly to two, says nothing of either.
    more = (*told, ("urn:own:motto", ("admins",)), ("groups", ("guests",)))
    clash = read(forge.response(attributes=more, friendly=(*named, ("urn:own:motto", "groups"))))
    assert clash.attributes["groups"] == ["guests"]
    own = (("groups", ("guests",)), ("urn:own:motto", ("admins",)))
    crossed = (("groups", "other"), ("urn:own:motto", "groups"))
    assert read(forge.response(attributes=own, friendly=crossed)).attributes["groups"] == ["guests"]
    two = read(forge.response(attributes=more[:-1], friendly=(*named, ("urn:own:motto", "groups"))))
    assert "groups" not in two.attributes
    assert two.attributes["urn:oid:1"] == ["nurses", "choir"]


def test_hosts_of_one_name() -> None:
    """The library alone refuses to work at an address without a dot."""
    at_home = ServiceProvider(
        "http://api:8000/p/metadata", "http://api:8000/p/acs", "http://api:8000/p/slo"
    )
    said: dict[str, Any] = {"destination": at_home.acs_url, "recipient": at_home.acs_url}
    found = read(forge.response(audiences=((at_home.entity_id,),), **said), at_home)
    assert found.name_id == "nora-1"


@pytest.mark.parametrize("name", WRAPPINGS)
def test_wrapped(name: str) -> None:
    made, expected = WRAPPINGS[name]
    assert flaw(forge.posted(made())) is expected


LOOSE: dict[str, tuple[Flaw, dict[str, Any]]] = {
    "no request": (Flaw.REQUEST, {"request": None}),
    "another request": (Flaw.REQUEST, {"request": "_other"}),
    "no request at the bearer": (Flaw.REQUEST, {"bearer_request": None}),
    "another request at the bearer": (Flaw.RECIPIENT, {"bearer_request": "_other"}),
    "no audience": (Flaw.AUDIENCE, {"audiences": ()}),
    "another audience": (Flaw.AUDIENCE, {"audiences": (("https://elsewhere.example",),)}),
    "another audience besides": (
        Flaw.AUDIENCE,
        {"audiences": ((US.entity_id, "https://e.example"),)},
    ),
    "another restriction besides": (
        Flaw.AUDIENCE,
        {"audiences": ((US.entity_id,), ("https://e.example",))},
    ),
    "no destination": (Flaw.DESTINATION, {"destination": None}),
    "an empty destination": (Flaw.DESTINATION, {"destination": ""}),
    "a destination that begins with ours": (
        Flaw.DESTINATION,
        {"destination": f"{US.acs_url}/evil"},
    ),
    "another destination": (Flaw.DESTINATION, {"destination": "https://elsewhere.example/acs"}),
    "no recipient": (Flaw.RECIPIENT, {"recipient": None}),
    "a recipient that contains ours": (
        Flaw.RECIPIENT,
        {"recipient": f"https://e.example/?{US.acs_url}"},
    ),
    "another recipient": (Flaw.RECIPIENT, {"recipient": "https://elsewhere.example/acs"}),
    "two confirmations": (Flaw.RECIPIENT, {"confirmations": 2}),
    "no bearer": (Flaw.RECIPIENT, {"method": "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"}),
    "no end for the bearer": (Flaw.TIMES, {"until": None}),
    "over for the bearer": (Flaw.RECIPIENT, {"until": "2020-01-01T00:00:00Z"}),
    "a bearer for an hour": (Flaw.TIMES, {"until": 3600}),
    "no end": (Flaw.TIMES, {"ends": None}),
    "an end without a zone": (Flaw.TIMES, {"ends": "2099-01-01T00:00:00"}),
    "over": (Flaw.TIMES, {"ends": -400}),
    "over a minute ago": (Flaw.TIMES, {"ends": -60}),
    "not yet": (Flaw.TIMES, {"begins": 400}),
    "not for another minute": (Flaw.TIMES, {"begins": 60}),
    "shown in the future": (Flaw.TIMES, {"shown": 120}),
    "a session that is over": (
        Flaw.TIMES,
        {"session": 'SessionNotOnOrAfter="2020-01-01T00:00:00Z"'},
    ),
    "a time of another zone": (Flaw.MALFORMED, {"ends": "2099-01-01T00:00:00+01:00"}),
    "a time that nobody can read": (Flaw.MALFORMED, {"ends": "12026-01-01T00:00:00Z"}),
    "no conditions": (Flaw.MALFORMED, {"conditions": False}),
    "another issuer": (Flaw.ISSUER, {"issuer": "https://idp.evil.example"}),
    "another issuer of the message": (Flaw.ISSUER, {"message_issuer": "https://idp.evil.example"}),
    "no name": (Flaw.SUBJECT, {"name_id": None}),
    "an empty name": (Flaw.SUBJECT, {"name_id": ""}),
    "a name with a line break": (Flaw.SUBJECT, {"name_id": "nora&#10;1"}),
    "a name with a blank": (Flaw.SUBJECT, {"name_id": "nora-1 "}),
    "a long name": (Flaw.SUBJECT, {"name_id": "n" * 256}),
    "a name for this once": (
        Flaw.SUBJECT,
        {"name": 'Format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient"'},
    ),
    "a name of another's": (Flaw.SUBJECT, {"name": 'NameQualifier="https://idp.evil.example"'}),
    "a name for another": (Flaw.SUBJECT, {"name": 'SPNameQualifier="https://elsewhere.example"'}),
    "an error": (Flaw.STATUS, {"status": "urn:oasis:names:tc:SAML:2.0:status:Responder"}),
    "no status at all": (Flaw.STATUS, {"status": ""}),
    "an older SAML": (Flaw.MALFORMED, {"version": "1.1"}),
}


@pytest.mark.parametrize("name", LOOSE)
def test_loose(name: str) -> None:
    expected, changes = LOOSE[name]
    assert flaw(forge.response(**changes)) is expected


def test_another_provider_that_we_know_cannot_answer_for_this_one() -> None:
    """Each has an address of its own, so whose certificate counts is not the message's to say."""
    theirs = signer("partner")
    assert flaw(forge.response(by=theirs)) is Flaw.SIGNATURE
    assert (
        flaw(
            forge.response(by=theirs),
            certificates=(theirs.certificate,),
            entity_id="https://partner.example",
        )
        is Flaw.ISSUER
    )


def test_certificates_that_have_ended_or_not_begun() -> None:
    for one in (signer("ended", begins=-9, ends=-1), signer("coming", begins=1)):
        assert flaw(forge.response(by=one), certificates=(one.certificate,)) is Flaw.CERTIFICATE
        # Another one that counts does not make this one count.
        known = (one.certificate, signer().certificate)
        assert flaw(forge.response(by=one), certificates=known) is Flaw.SIGNATURE


def test_no_fingerprint_stands_for_a_certificate() -> None:
    assert flaw(forge.response(), certificates=()) is Flaw.CERTIFICATE


def test_what_is_no_response() -> None:
    for posted in (
        "",
        "%%%",
        "AAAA=AAAA",
        forge.posted(b"no xml"),
        forge.posted(b"<a/>"),
        forge.posted(b"\xff\xfe\x00"),
    ):
        assert flaw(posted) is Flaw.MALFORMED


def test_large_ones() -> None:
    many = (("groups", tuple(f"group-{n:06d}" for n in range(1_000))),)
    assert len(read(forge.response(attributes=many)).attributes["groups"]) == 1_000
    raw = etree.tostring(signed(Said(attributes=(("groups", ("g" * MAX_BYTES,)),))))
    assert flaw(forge.posted(raw)) is Flaw.MALFORMED
    assert flaw("A" * (2 * MAX_BYTES)) is Flaw.MALFORMED
