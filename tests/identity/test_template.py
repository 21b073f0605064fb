"""What the realm template promises, read from the file alone."""

import json
import re
from typing import Any
from uuid import uuid4

import pytest

from authz.grants import LOWEST
from domain.organization import MfaPolicy
from identity.mfa import SECOND_FACTORS
from identity.realms import (
    ADMIN_PORTAL,
    AUDIENCE,
    MARKER,
    PORTAL,
    SERVICE_ACCOUNTS,
    TEMPLATE,
    RealmPlan,
    representation,
    template,
)

PLAN = RealmPlan(
    name="oabcdefghijkl",
    tenant_id=uuid4(),
    mfa=MfaPolicy.NONE,
    portal_redirects=("https://portal.example/callback", "http://localhost:3000/callback"),
    admin_redirects=("https://portal.example/admin/callback",),
    backchannel_logout="https://api.example/backchannel-logout/oabcdefghijkl",
    secrets={"svc-identity": 'quote" and \\ backslash', "svc-policy": "s"},
)


@pytest.fixture
def realm() -> dict[str, Any]:
    return representation(PLAN)


def client(realm: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in realm["clients"] if c["clientId"] == name)
    return found


def test_every_placeholder_is_filled_whatever_the_values_hold(realm: dict[str, Any]) -> None:
    text = json.dumps(realm)
    assert "@@" not in text
    assert client(realm, "svc-identity")["secret"] == 'quote" and \\ backslash'
    assert client(realm, PORTAL)["redirectUris"] == list(PLAN.portal_redirects)
    assert client(realm, PORTAL)["webOrigins"] == [
        "https://portal.example",
        "http://localhost:3000",
    ]
    assert client(realm, PORTAL)["attributes"]["post.logout.redirect.uris"] == (
        "https://portal.example/##http://localhost:3000/"
    )
    assert realm["otpPolicyCodeReusable"] is False
    assert "@@" in json.dumps(template())  # filling in leaves the template as it was


def test_no_secret_and_no_place_is_in_the_file() -> None:
    text = TEMPLATE.read_text()
    assert not re.search(r"https?://", text)
    assert set(re.findall(r'"secret": "([^"]*)"', text)) == {
        "@@SVC_IDENTITY_SECRET@@",
        "@@SVC_POLICY_SECRET@@",
    }


def test_no_role_of_a_clinic_can_reach_a_token(realm: dict[str, Any]) -> None:
    names = {role["name"] for role in realm["roles"]["realm"]}
    assert names == {MARKER, f"default-roles-{PLAN.name}"}
    assert not names & LOWEST.keys()
    for name in (PORTAL, ADMIN_PORTAL):
        assert "roles" not in client(realm, name)["defaultClientScopes"]
        assert client(realm, name)["optionalClientScopes"] == []
        assert not client(realm, name)["fullScopeAllowed"]


def test_clients_are_what_they_should_be(realm: dict[str, Any]) -> None:
    assert [c["clientId"] for c in realm["clients"]] == [
        PORTAL,
        ADMIN_PORTAL,
        AUDIENCE,
        *SERVICE_ACCOUNTS,
    ]
    for each in realm["clients"]:
        assert not each.get("implicitFlowEnabled")
        assert not each["directAccessGrantsEnabled"]
    for name in (PORTAL, ADMIN_PORTAL):
        assert client(realm, name)["attributes"]["pkce.code.challenge.method"] == "S256"
        assert not any("*" in uri for uri in client(realm, name)["redirectUris"])
    assert client(realm, ADMIN_PORTAL)["attributes"]["minimum.acr.value"] == "mfa"
    assert client(realm, AUDIENCE)["bearerOnly"]


def test_service_accounts_hold_what_they_need_and_nobody_else_holds_anything(
    realm: dict[str, Any],
) -> None:
    held = {u["username"]: u["clientRoles"]["realm-management"] for u in realm["users"]}
    assert held == {
        "service-account-svc-identity": [
            "manage-users",
            "view-users",
            "view-realm",
            "manage-identity-providers",
            "view-events",
        ],
        "service-account-svc-policy": ["manage-realm"],
    }
    assert realm["groups"] == []


def test_every_step_that_proves_something_says_so_in_amr(realm: dict[str, Any]) -> None:
    configs = {c["alias"]: c["config"] for c in realm["authenticatorConfig"]}
    methods = {
        "auth-username-password-form": "pwd",
        "auth-otp-form": "otp",
        "webauthn-authenticator": "hwk",
        "auth-recovery-authn-code-form": "recovery",
    }
    seen = set()
    for flow in realm["authenticationFlows"]:
        for step in flow["authenticationExecutions"]:
            wanted = methods.get(step.get("authenticator", ""))
            if wanted:
                config = configs[step["authenticatorConfig"]]
                assert config["default.reference.value"] == wanted
                assert int(config["default.reference.maxAge"]) > 0
                seen.add(wanted)
    assert seen == {"pwd"} | SECOND_FACTORS


def test_flows_and_their_settings_fit_together(realm: dict[str, Any]) -> None:
    flows = {f["alias"]: f for f in realm["authenticationFlows"]}
    configs = [c["alias"] for c in realm["authenticatorConfig"]]
    assert len(configs) == len(set(configs))
    used = [
        step["authenticatorConfig"]
        for flow in flows.values()
        for step in flow["authenticationExecutions"]
        if "authenticatorConfig" in step
    ]
    assert sorted(used) == sorted(configs)
    parts = [
        step["flowAlias"]
        for flow in flows.values()
        for step in flow["authenticationExecutions"]
        if step["authenticatorFlow"]
    ]
    assert sorted(parts) == sorted(a for a, f in flows.items() if not f["topLevel"])
    checked = {
        c["config"]["flow_to_check"]
        for c in realm["authenticatorConfig"]
        if "flow_to_check" in c["config"]
    }
    assert checked <= set(parts)
    assert flows["post-broker-mfa"]["authenticationExecutions"][0]["authenticator"] == (
        "allow-access-authenticator"
    )


def test_sessions_have_an_end() -> None:
    with pytest.raises(ValueError, match="day"):
        RealmPlan(**{**PLAN.__dict__, "session_max": 86_401})
    with pytest.raises(ValueError, match="idle"):
        RealmPlan(**{**PLAN.__dict__, "session_idle": 40_000})
    with pytest.raises(ValueError, match="redirect"):
        RealmPlan(**{**PLAN.__dict__, "portal_redirects": ()})
