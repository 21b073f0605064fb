"""The one client of Keycloak's master realm that the product gets: it may create realms and nothing else."""

from typing import Any

import httpx

from dev.faults import Fault

BOOTSTRAP = "caretree-bootstrap"
PROVISIONER = "caretree-provisioner"
RIGHT = "create-realm"


def ensure_provisioner(url: str, bootstrap_secret: str, provisioner_secret: str) -> None:
    """Make the provisioner if it is not there or has another secret. Raises Fault."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
        try:
            if _token(http, PROVISIONER, provisioner_secret):
                return
            token = _token(http, BOOTSTRAP, bootstrap_secret)
            if token is None:
                raise Fault(
                    "Keycloak's database knows other passwords than .caretree/state.json: run `make clean` to start"
                    " over, or drop the database `keycloak` if you gave a DATABASE_URL."
                )
            http.headers["Authorization"] = f"Bearer {token}"
            _make(http, provisioner_secret)
        except httpx.HTTPError as error:
            raise Fault(
                f"Keycloak at {url} broke off an administrator's call ({type(error).__name__}): run the same again."
            ) from error


def _token(http: httpx.Client, client: str, secret: str) -> str | None:
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
    answer = http.post("/realms/master/protocol/openid-connect/token", data=form)
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.BAD_REQUEST):
        return None
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def _make(http: httpx.Client, secret: str) -> None:
    clients = "/admin/realms/master/clients"
    found = _json(http.get(clients, params={"clientId": PROVISIONER}))
    wanted = {
        "clientId": PROVISIONER,
        "secret": secret,
        "publicClient": False,
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        # Its rights on each realm would make the token grow by half a kilobyte a realm, past what a header may hold.
        "attributes": {"client.use.lightweight.access.token.enabled": "true"},
    }
    if found:
        http.put(f"{clients}/{found[0]['id']}", json={**found[0], **wanted}).raise_for_status()
    else:
        http.post(clients, json=wanted).raise_for_status()
        found = _json(http.get(clients, params={"clientId": PROVISIONER}))
    user = _json(http.get(f"{clients}/{found[0]['id']}/service-account-user"))
    role = _json(http.get(f"/admin/realms/master/roles/{RIGHT}"))
    mappings = f"/admin/realms/master/users/{user['id']}/role-mappings/realm"
    http.post(mappings, json=[role]).raise_for_status()


def _json(answer: httpx.Response) -> Any:
    answer.raise_for_status()
    return answer.json()
