"""A hospital's own provider by another's hand: pysaml2. It knows of us only what our metadata say.

It signs and verifies with the xmlsec that the product has too, where it would call a program of the same library.
"""

import base64
import html
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from identity.saml.responses import PERSISTENT, POST, REDIRECT
from tests.identity.saml.forge import Signer, signer

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
_MACE = "urn:mace:dir:attribute-def"
NAMES = {
    "userName": f"{_MACE}:uid",
    "givenName": f"{_MACE}:givenName",
    "familyName": f"{_MACE}:sn",
    "email": f"{_MACE}:mail",
    "groups": "groups",
}
"""What it calls what we ask for."""


def pysaml2() -> Any:
    """The library, imported where a provider is used: most processes that read this module never use one."""
    return import_module("tests.identity.py_saml")


@dataclass
class PyProvider:
    """The provider, with what it says of whoever logs in. `subject` is its id of them."""

    folder: Path
    base: str
    attributes: dict[str, Any] = field(default_factory=dict)
    subject: str = "py-nora-1"
    context: str = PASSWORD
    asked: list[Any] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)
    signs: Signer = field(default_factory=lambda: signer("pysaml2"))
    encrypts: str | None = None
    """The certificate (PEM) of whom it encrypts assertions for."""

    @property
    def entity_id(self) -> str:
        return f"{self.base}/meta"

    def knows(self, *service_providers: bytes) -> None:
        """Read our metadata."""
        key, certificate = self.folder / "k.pem", self.folder / "c.pem"
        key.write_bytes(self.signs.key)
        certificate.write_text(self.signs.certificate)
        program = self.folder / "xmlsec1"
        # Asked what it is and what it knows, never to do anything.
        program.write_text('#!/bin/sh\necho xmlsec1 1.3.9\necho \'"sha256","rsa-sha256"\'\n')
        program.chmod(0o700)
        self.config = pysaml2().configured(
            {
                "entityid": self.entity_id,
                "xmlsec_binary": str(program),
                "key_file": str(key),
                "cert_file": str(certificate),
                "metadata": {"inline": [text.decode() for text in service_providers]},
                "signing_algorithm": RSA_SHA256,
                "digest_algorithm": SHA256,
                "service": {
                    "idp": {
                        "endpoints": {
                            "single_sign_on_service": [
                                (f"{self.base}/sso", POST),
                                (f"{self.base}/sso", REDIRECT),
                            ],
                            "single_logout_service": [
                                (f"{self.base}/slo", REDIRECT),
                                (f"{self.base}/slo", POST),
                            ],
                        },
                        "want_authn_requests_signed": True,
                        "sign_assertion": True,
                        "sign_response": False,
                        "name_id_format": [PERSISTENT],
                        "policy": {
                            "default": {
                                "lifetime": {"minutes": 5},
                                "attribute_restrictions": None,
                                "name_form": "urn:oasis:names:tc:SAML:2.0:attrname-format:basic",
                            }
                        },
                    }
                },
            }
        )
        self.server = pysaml2().server(self.config)

    def metadata(self) -> bytes:
        """What it says of itself."""
        return str(pysaml2().entity_descriptor(self.config)).encode()

    def login(self, told: dict[str, str], binding: str = REDIRECT) -> tuple[str, dict[str, str]]:
        """Somebody logs in: where their browser posts what. Refuses requests that we have not signed."""
        beside = (
            {name: told.get(name) for name in ("RelayState", "SigAlg", "Signature")}
            if binding == REDIRECT
            else {}
        )
        request = self.server.parse_authn_request(
            told["SAMLRequest"],
            binding,
            relay_state=beside.get("RelayState"),
            sigalg=beside.get("SigAlg"),
            signature=beside.get("Signature"),
        )
        self.asked.append(request.message)
        to = self.server.response_args(request.message)
        response = self.server.create_authn_response(
            identity=dict(self.attributes),
            userid=self.subject,
            name_id=pysaml2().name_id(self.subject),
            authn={"class_ref": self.context, "authn_auth": self.base},
            sign_assertion=True,
            sign_response=False,
            encrypt_assertion=self.encrypts is not None,
            encrypt_cert_assertion=self.encrypts,
            sign_alg=RSA_SHA256,
            digest_alg=SHA256,
            in_response_to=to["in_response_to"],
            destination=to["destination"],
            sp_entity_id=to["sp_entity_id"],
        )
        form = {"SAMLResponse": base64.b64encode(str(response).encode()).decode()}
        return to["destination"], form | {"RelayState": told.get("RelayState", "")}

    def logout(self, told: dict[str, str]) -> str:
        """It is asked to end its session: where the browser goes back to."""
        request = self.server.parse_logout_request(
            told["SAMLRequest"],
            REDIRECT,
            relay_state=told.get("RelayState"),
            sigalg=told.get("SigAlg"),
            signature=told.get("Signature"),
        )
        self.ended.append(request.message)
        response = self.server.create_logout_response(request.message, [REDIRECT])
        to = self.server.response_args(request.message, [REDIRECT])["destination"]
        return self._sent(str(response), to, told.get("RelayState", ""), answer=True)

    def logout_posted(self, told: dict[str, str]) -> str:
        """The same by POST: the page that takes the browser back."""
        request = self.server.parse_logout_request(told["SAMLRequest"], POST)
        self.ended.append(request.message)
        # Left to itself it signs with SHA-1, which nobody here takes.
        response = self.server.create_logout_response(
            request.message, [POST], sign=True, sign_alg=RSA_SHA256, digest_alg=SHA256
        )
        to = self.server.response_args(request.message, [POST])["destination"]
        state = told.get("RelayState", "")
        return str(self.server.apply_binding(POST, str(response), to, state, response=True)["data"])

    def end(self, to: str, entity_id: str, index: str | None) -> str:
        """It ends somebody's sessions by itself: where their browser is sent."""
        _, request = self.server.create_logout_request(
            to,
            entity_id,
            name_id=pysaml2().name_id(self.subject),
            session_indexes=[index] if index else None,
        )
        return self._sent(str(request), to, "its-state", answer=False)

    def ended_there(self, told: dict[str, str]) -> bool:
        """Whether what we answered to that says that it is done."""
        response = self.server.parse_logout_request_response(told["SAMLResponse"], REDIRECT)
        return bool(response.status_ok())

    def _sent(self, message: str, to: str, state: str, *, answer: bool) -> str:
        sent = self.server.apply_binding(
            REDIRECT, message, to, state, response=answer, sign=True, sigalg=RSA_SHA256
        )
        return str(dict(sent["headers"])["Location"])

    def serve(self) -> ThreadingHTTPServer:
        """Serve its login page, which asks nobody anything, at a port of `base`."""
        provider = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(dict(parse_qsl(urlsplit(self.path).query)), REDIRECT)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                self._answer(dict(parse_qsl(body)), POST)

            def _answer(self, told: dict[str, str], binding: str) -> None:
                if self.path.startswith("/slo"):
                    self._show(provider.logout_posted(told))
                    return
                to, form = provider.login(told, binding)
                fields = "".join(
                    f'<input name="{name}" value="{html.escape(value)}"/>'
                    for name, value in form.items()
                )
                self._show(f'<form method="post" action="{html.escape(to)}">{fields}</form>')

            def _show(self, text: str) -> None:
                page = text.encode()
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                """Nothing is written."""

        server = ThreadingHTTPServer(("127.0.0.1", urlsplit(self.base).port or 0), Page)
        Thread(target=server.serve_forever, daemon=True).start()
        return server


def query_of(address: str) -> dict[str, str]:
    """What an address carries."""
    return dict(parse_qsl(urlsplit(address).query))
