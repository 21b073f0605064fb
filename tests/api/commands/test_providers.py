"""Identity providers through the API: described, changed, opened, closed; rules, domains, and people who were held."""

import json
from typing import Any

import pytest

from domain.people import Person
from tests import make, providers
from tests.api.commands.office import Office, local
from tests.api.commands.staff import admin, at, do, newcomer, refused, waiting
from tests.identity.saml.forge import signer

pytestmark = pytest.mark.anyio

AT = "https://login.corp.example"
METADATA = {
    "issuer": AT,
    "authorization_endpoint": f"{AT}/authorize",
    "token_endpoint": f"{AT}/token",
    "jwks_uri": f"{AT}/keys",
}
OIDC: dict[str, Any] = {
    "protocol": "OIDC",
    "name": "Corp",
    "metadata": json.dumps(METADATA),
    "clientId": "caretree",
    "clientSecret": "between us two",
}
SELECT = "state version issuer attributeNames creates certificates"


async def described(office: Office, who: Person, **more: Any) -> dict[str, Any]:
    answer = await do(office, who, "addIdentityProvider", SELECT, **OIDC | more)
    assert answer.outcome == "DONE", answer.body
    found: dict[str, Any] = answer.data["identityProvider"]
    return found


async def test_a_provider_is_described_and_its_secret_is_sealed(office: Office) -> None:
    one = admin(office)
    made = await described(office, one)
    assert (made["state"], made["issuer"], made["creates"]) == ("DRAFT", AT, False)
    assert "groups" in made["attributeNames"]
    (row,) = office.query("select * from identity_provider where id = %s", local(made["id"]))
    assert b"between us two" not in bytes(row["client_secret_sealed"])
    assert row["endpoints"]["scope"] == "openid profile email"
    jobs = await waiting(office)
    assert jobs[-1][0] == "identity:sync_provider"
    assert office.events()[-1]["action"] == "tenant:configure"


@pytest.mark.parametrize(
    ("more", "code", "path"),
    [
        ({"clientSecret": None}, "CLIENT_MISSING", "clientId"),
        ({"metadata": "<xml/>"}, "METADATA_REFUSED", "metadata"),
        ({"vendor": "nobody"}, "INVALID", "vendor"),
        ({"name": " "}, "INVALID", "name"),
        ({"attributes": [{"name": "shoeSize", "source": "s"}]}, "INVALID", "attributes"),
        (
            {"metadata": json.dumps(METADATA | {"issuer": "https://accounts.google.com"})},
            "INVALID",
            "vendor",
        ),
        (
            {"metadata": json.dumps(METADATA | {"jwks_uri": "http://127.0.0.1/keys"})},
            "METADATA_REFUSED",
            "metadata",
        ),
    ],
)
async def test_what_is_not_taken(
    office: Office, more: dict[str, Any], code: str, path: str
) -> None:
    answer = await refused(office, admin(office), "addIdentityProvider", **OIDC | more)
    assert (answer.outcome, answer.user_error["path"]) == (code, [path])


@pytest.mark.parametrize(
    "held", ["clinic_admin@a", "regional_director@r", "privacy_officer@system"]
)
async def test_only_system_administrators_connect(office: Office, held: str) -> None:
    answer = await refused(office, office.here.person(held), "addIdentityProvider", **OIDC)
    assert answer.outcome == "FORBIDDEN"


async def test_it_is_opened_only_after_a_try_and_its_issuer_stays(office: Office) -> None:
    one = admin(office)
    made = await described(office, one)
    node = {"id": made["id"], "version": 1}
    early = await refused(office, one, "activateIdentityProvider", **node)
    assert early.outcome == "ILLEGAL_STATE"
    other = json.dumps(METADATA | {"issuer": "https://other.example"})
    moved = await refused(office, one, "updateIdentityProvider", **node, metadata=other)
    assert moved.outcome == "ISSUER_STAYS"
    newer = json.dumps(METADATA | {"jwks_uri": f"{AT}/newer"})
    changed = await do(
        office, one, "updateIdentityProvider", SELECT, **node, metadata=newer, creates=True
    )
    assert changed.outcome == "DONE", changed.body
    assert changed.data["identityProvider"]["creates"] is True
    stale = await refused(office, one, "testIdentityProvider", **node)
    assert stale.outcome == "CONFLICT"
    tried = await do(office, one, "testIdentityProvider", "passed", id=made["id"], version=2)
    assert tried.outcome == "DONE", tried.body
    office.change("update identity_provider set state = 'tested' where id = %s", local(made["id"]))
    opened = await do(office, one, "activateIdentityProvider", SELECT, id=made["id"], version=3)
    assert opened.data["identityProvider"]["state"] == "ACTIVE"


async def test_suspending_cuts_off_at_once_and_nobody_themselves(office: Office) -> None:
    one, nurse = admin(office), newcomer(office, "nurse@a")
    of = providers.provider(office.here.tenant)
    office.here.save(of)
    office.here.save(providers.link(of, nurse))
    through: dict[str, Any] = {"idp": str(of.id), "sid": f"s{make.number()}"}
    came = office.query("select to_timestamp(%s) as at", office.here.authority.now() - 10)[0]["at"]
    office.change(
        "insert into sign_in (tenant_id, id, identity_provider_id, person_id, subject, sid,"
        " authenticated_at, outcome) values (%s, gen_random_uuid(), %s, %s, 's', %s, %s, 'admitted')",
        of.tenant_id, of.id, nurse.id, through["sid"], came,
    )  # fmt: skip
    claims = through | {"auth_time": int(came.timestamp())}
    assert (await office.ask(nurse, "{ organization { id } }", **claims)).data
    # A session of the same provider that nobody has looked at is not let in.
    unknown = await office.ask(nurse, "{ organization { id } }", **claims | {"sid": "another"})
    assert unknown.status in (401, 503)
    own = office.here.person("system_admin@system", fresh=True)
    office.here.save(providers.link(of, own))
    shut = await refused(
        office, own, "suspendIdentityProvider", id=f"IdentityProvider:{of.id}", version=1
    )
    assert shut.error["reason"] == "ONESELF"
    done = await do(
        office, one, "suspendIdentityProvider", SELECT, id=f"IdentityProvider:{of.id}", version=1
    )
    assert done.outcome == "DONE", done.body
    assert (await office.ask(nurse, "{ organization { id } }", **claims)).status == 401
    # Not by a token that is newer than the cut either: the provider is closed.
    later = claims | {"iat": office.here.authority.now() + 5}
    assert (await office.ask(nurse, "{ organization { id } }", **later)).status == 401
    jobs = [name for name, _ in await waiting(office)]
    assert "identity:end_sessions" in jobs


async def test_rules_give_what_their_author_may_give(office: Office) -> None:
    one = admin(office)
    of = providers.provider(office.here.tenant)
    office.here.save(of)
    rule = {
        "identityProvider": f"IdentityProvider:{of.id}",
        "attribute": "groups",
        "value": "nurses",
        "role": "nurse",
        "unit": office.here.unit("a"),
    }
    made = await do(office, one, "addRoleMapping", "source sourceRef version", **rule)
    assert made.outcome == "DONE", made.body
    found = made.data["roleMapping"]
    assert (found["source"], found["sourceRef"]) == ("idp", str(of.id))
    assert (await waiting(office))[-1][0] == "identity:apply_rules"
    for more, code in (
        ({"role": "auditor", "unit": office.here.unit("system")}, "NEEDS_APPROVAL"),
        ({"role": "janitor"}, "FORBIDDEN"),
        ({"role": "regional_director"}, "ROLE_DOES_NOT_FIT"),
        ({"attribute": "userName"}, "INVALID"),
        ({"match": "PATTERN", "value": "**"}, "INVALID"),
        ({"validUntil": "2020-01-01T00:00:00Z"}, "INVALID"),
        ({"identityProvider": f"IdentityProvider:{one.id}"}, "NOT_FOUND"),
    ):
        no = await refused(office, one, "addRoleMapping", **rule | more)
        assert no.outcome in (code, "UNKNOWN_ROLE"), (more, no.body)
    clinic = await refused(office, office.here.person("clinic_admin@a"), "addRoleMapping", **rule)
    assert clinic.outcome == "FORBIDDEN"
    ended = await do(office, one, "endRoleMapping", "endedAt", id=found["id"], version=1)
    assert ended.data["roleMapping"]["endedAt"]
    twice = await refused(office, one, "endRoleMapping", id=found["id"], version=2)
    assert twice.outcome == "ILLEGAL_STATE"


async def test_who_was_held_is_somebody_or_becomes_somebody(office: Office) -> None:
    one, known = admin(office), newcomer(office)
    of = providers.provider(office.here.tenant)
    office.here.save(of)
    asked = [providers.held(of) for _ in range(3)]
    office.here.save(*asked)
    first, second, third = (f"HeldAccount:{held.id}" for held in asked)
    person = f"Person:{known.id}"
    linked = await do(
        office, one, "linkHeldAccount", "state person { id }", id=first, version=1, person=person
    )
    assert linked.outcome == "DONE", linked.body
    assert linked.data["heldAccount"] == {"id": first, "state": "LINKED", "person": {"id": person}}
    (row,) = office.query("select * from identity_link where identity_provider_id = %s", of.id)
    assert (row["person_id"], row["subject"]) == (known.id, asked[0].subject)
    twice = await refused(office, one, "linkHeldAccount", id=second, version=1, person=person)
    assert twice.outcome == "LINKED_ALREADY"
    again = await refused(office, one, "dismissHeldAccount", id=first, version=2)
    assert again.outcome == "ILLEGAL_STATE"
    new = {"userName": f"n{make.number()}", "givenName": "Nora", "familyName": "Corp"}
    created = await do(
        office, one, "createHeldAccount", "state person { userName }", id=second, version=1, **new
    )
    assert created.outcome == "DONE", created.body
    assert created.data["heldAccount"]["person"] == {"userName": new["userName"]}
    gone = await do(office, one, "dismissHeldAccount", "state", id=third, version=1)
    assert gone.data["heldAccount"]["state"] == "DISMISSED"


async def test_a_domain_is_claimed_once_and_waits_for_its_record(office: Office) -> None:
    one = admin(office)
    of = providers.provider(office.here.tenant)
    office.here.save(of)
    node = {"domain": "Corp-3.Example", "identityProvider": f"IdentityProvider:{of.id}"}
    made = await do(office, one, "addEmailDomain", "domain state recordName challenge", **node)
    found = made.data["emailDomain"]
    assert (found["domain"], found["state"]) == ("corp-3.example", "PENDING")
    assert found["recordName"] == "_caretree.corp-3.example"
    assert found["challenge"].startswith("caretree-domain=")
    assert (await waiting(office))[-1][0] == "identity:check_domain"
    twice = await refused(office, one, "addEmailDomain", **node)
    assert twice.outcome == "DOMAIN_TAKEN"
    none = await refused(office, one, "addEmailDomain", **node | {"domain": "localhost"})
    assert none.outcome == "INVALID"


async def test_what_ends_is_announced(office: Office) -> None:
    one = admin(office)
    for days, warning in ((100, None), (59, 60), (29, 30), (6, 7), (-1, 0)):
        more = {"secretExpiresAt": at(days)}
        answer = await do(office, one, "addIdentityProvider", "expiresWithin", **OIDC | more)
        assert answer.data["identityProvider"]["expiresWithin"] == warning, days


async def test_a_description_is_given_or_published(office: Office) -> None:
    one = admin(office)
    for more in ({"metadata": None}, {"metadataUrl": f"{AT}/.well-known/openid-configuration"}):
        answer = await refused(office, one, "addIdentityProvider", **OIDC | more)
        assert answer.outcome == "METADATA_REFUSED"
    inside = {"metadata": None, "metadataUrl": "https://10.0.0.1/.well-known/openid-configuration"}
    assert (await refused(office, one, "addIdentityProvider", **OIDC | inside)).outcome == (
        "METADATA_REFUSED"
    )
    # Nobody else makes us fetch anything.
    nurse = await refused(office, office.here.person("nurse@a"), "addIdentityProvider", **OIDC)
    assert nurse.outcome == "FORBIDDEN"


async def test_what_a_rule_would_change_is_told_before_it_is_made(office: Office) -> None:
    one = admin(office)
    nurse, other, gone = (newcomer(office) for _ in range(3))
    of = providers.provider(office.here.tenant)
    office.here.save(of)
    for who in (nurse, gone, one):
        office.here.save(providers.link(of, who, asserted={"groups": ["nurses"]}))
    office.here.save(providers.link(of, other, asserted={"groups": ["choir"]}))
    office.change("update person set active = false where id = %s", gone.id)
    rule = {
        "identityProvider": f"IdentityProvider:{of.id}",
        "attribute": "groups",
        "value": "NURSES",
        "role": "nurse",
        "unit": office.here.unit("a"),
    }
    office.snapshot()
    text = (
        "mutation($input: %s!) { %s(input: $input) { roleMapping { id }"
        " effects { gaining { person } losing { person } } userErrors { code } } }"
    )
    adding = text % ("AddRoleMappingInput", "addRoleMapping")
    before = office.snapshot()
    asked = await office.ask(one, adding, {"input": rule | {"preview": True}})
    assert asked.data["roleMapping"] is None, asked.body
    # Neither who makes the rule, nor who has left, nor who is in another group.
    told = {"gaining": [{"person": f"Person:{nurse.id}"}], "losing": []}
    assert asked.data["effects"] == told
    assert office.snapshot() == before
    made = await office.ask(one, adding, {"input": rule})
    assert made.data["effects"] == told
    twice = await office.ask(one, adding, {"input": rule | {"value": "nurses", "preview": True}})
    assert twice.data["effects"] == {"gaining": [], "losing": []}
    ending = text % ("EndRoleMappingInput", "endRoleMapping")
    node = {"id": made.data["roleMapping"]["id"], "version": 1}
    ended = await office.ask(one, ending, {"input": node | {"preview": True}})
    assert ended.data["effects"] == {"gaining": [], "losing": told["gaining"]}
    assert (await office.ask(one, ending, {"input": node})).outcome == "DONE"


SAML = {
    "protocol": "SAML",
    "name": "Corp, without the broker",
    "metadata": """\
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#"
  entityID="https://idp.corp.example/meta"><md:IDPSSODescriptor
  protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor><ds:KeyInfo><ds:X509Data>
  <ds:X509Certificate>CERTIFICATE</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
  <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
  Location="https://idp.corp.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>""",
}


async def test_one_that_the_api_itself_speaks_with(office: Office) -> None:
    one, plain = admin(office), "".join(signer().certificate.split("\n")[1:-2])
    given = SAML | {"metadata": SAML["metadata"].replace("CERTIFICATE", plain)}
    answer = await do(office, one, "addIdentityProvider", f"direct {SELECT}", **given, direct=True)
    assert answer.outcome == "DONE", answer.body
    made = answer.data["identityProvider"]
    assert (made["direct"], made["state"]) == (True, "DRAFT")
    known = len(await waiting(office))
    tried = await do(office, one, "testIdentityProvider", "passed", id=made["id"], version=1)
    assert tried.outcome == "DONE", tried.body
    # What is wrong with a login is written down as it comes: nobody asks the realm for it.
    assert "identity:tell_refusals" not in {name for name, *_ in (await waiting(office))[known:]}
    posts = given["metadata"].replace("HTTP-Redirect", "HTTP-POST")
    for more, path in (
        ({"metadata": posts}, "metadata"),
        (OIDC, "direct"),
    ):
        refusal = await refused(office, one, "addIdentityProvider", **given | more, direct=True)
        assert refusal.user_error["path"] == [path]
    # And never one whose newer description leaves nowhere to go.
    changed = await refused(
        office, one, "updateIdentityProvider", id=made["id"], version=2, metadata=posts
    )
    assert changed.outcome == "METADATA_REFUSED"
