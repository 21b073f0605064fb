"""An issuer of tokens for the benchmark: a key of its own, served as a realm serves its keys."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import orjson
import psycopg
from joserfc import jwt
from joserfc.jwk import ECKey

from dev.bench.data import KIND, uid
from identity.tokens import LOGOUT_EVENT

REALM = "obenchbenchbench"
LIFE = 4 * 3600  # seconds; longer than a run


class Issuer:
    """Signs access tokens as Keycloak does (ES256), for people of the data set by their `subject`."""

    def __init__(self, url: str, key: ECKey) -> None:
        self.url, self.key = url, key
        self.name = f"{url}/realms/{REALM}"
        self.kept: dict[str, str] = {}

    def token(self, subject: str) -> str:
        """A token of the person; the same one during a run."""
        if subject not in self.kept:
            now = int(time.time())
            claims = {
                "iss": self.name,
                "sub": subject,
                "aud": "api",
                "azp": "portal",
                "typ": "Bearer",
                "tenant_id": str(uid(KIND["tenant"], 1)),
                "sid": f"session-{subject}",
                "acr": "mfa",
                "amr": ["pwd", "otp"],
                "iat": now,
                "auth_time": now,
                "exp": now + LIFE,
                "jti": subject,
            }
            self.kept[subject] = self.signed(claims, "JWT")
        return self.kept[subject]

    def access(self, subject: str, sid: str, at: int) -> str:
        """A token of five minutes from a session of a person, issued at an instant."""
        claims = {
            "iss": self.name,
            "sub": subject,
            "aud": "api",
            "azp": "portal",
            "typ": "Bearer",
            "tenant_id": str(uid(KIND["tenant"], 1)),
            "sid": sid,
            "acr": "mfa",
            "amr": ["pwd", "otp"],
            "iat": at,
            "auth_time": at,
            "exp": at + 300,
            "jti": sid,
        }
        return self.signed(claims, "JWT")

    def logout(self, subject: str, sid: str) -> str:
        """What a realm announces when a session has ended there."""
        now = int(time.time())
        claims = {
            "iss": self.name,
            "sub": subject,
            "sid": sid,
            "aud": "portal",
            "typ": "Logout",
            "iat": now,
            "exp": now + 120,
            "jti": f"logout-{sid}",
            "events": {LOGOUT_EVENT: {}},
        }
        return self.signed(claims, "logout+jwt")

    def signed(self, claims: dict[str, Any], kind: str) -> str:
        header = {"alg": "ES256", "kid": "bench", "typ": kind}
        return jwt.encode(header, claims, self.key, algorithms=["ES256"])

    def enter(self, owner_url: str) -> None:
        """Make the registry know the issuer of the benchmark's health system."""
        tenant, cluster = uid(KIND["tenant"], 1), uid(KIND["tenant"], 2)
        with psycopg.connect(owner_url, autocommit=True) as owner:
            owner.execute("delete from control.service_account where tenant_id = %s", [tenant])
            owner.execute("delete from control.tenant where id = %s", [tenant])
            owner.execute("delete from control.identity_cluster where id = %s", [cluster])
            owner.execute(
                "insert into control.identity_cluster (id, name, region, url, public_url)"
                " values (%s, 'bench', 'local', %s, %s)",
                [cluster, self.url, self.url],
            )
            owner.execute(
                "insert into control.tenant (id, slug, cell, region, identity_cluster_id, realm, issuer, state)"
                " values (%s, 'bench', 'default', 'local', %s, %s, %s, 'active')",
                [tenant, cluster, REALM, self.name],
            )


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Serve the keys while the benchmark runs."""
    key = ECKey.generate_key("P-256")
    public = {**key.as_dict(private=False), "kid": "bench", "use": "sig", "alg": "ES256"}
    body = orjson.dumps({"keys": [public]})

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the terminal shows the benchmark."""

    server = HTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Issuer(f"http://127.0.0.1:{server.server_port}", key)
    finally:
        server.shutdown()
        server.server_close()
