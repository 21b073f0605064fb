"""pysaml2, as tests need it: a module of its own, for it compiles the schemas of SAML when it is imported (0.8 s)."""

import warnings
from typing import Any

import xmlsec
from cryptography.utils import CryptographyDeprecationWarning
from lxml import etree

from identity.saml.documents import ASSERTION
from identity.saml.encrypted import XENC
from tests.identity.saml.encrypting import AES256_GCM

with warnings.catch_warnings():
    # It names a mode of AES by its old place.
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    from saml2.config import IdPConfig
    from saml2.metadata import entity_descriptor
    from saml2.saml import NAMEID_FORMAT_PERSISTENT, NameID
    from saml2.server import Server
    from saml2.sigver import CryptoBackend

__all__ = ["configured", "entity_descriptor", "name_id", "server"]


def configured(told: dict[str, Any]) -> Any:
    """A provider's configuration."""
    config = IdPConfig()
    config.load(told)
    return config


def server(config: Any) -> Any:
    """A provider of that configuration."""
    made = Server(config=config)
    made.sec.crypto = _XmlSec()
    return made


def name_id(subject: str) -> Any:
    """The name of somebody that stays."""
    return NameID(format=NAMEID_FORMAT_PERSISTENT, text=subject)


class _XmlSec(CryptoBackend):  # type: ignore[misc]  # the library has no types
    """pysaml2's door to xmlsec, without a program."""

    @property
    def version(self) -> str:
        return "1.3.9"

    def sign_statement(self, statement: Any, node_name: str, key_file: str, node_id: str) -> str:
        root = etree.fromstring(_raw(statement))
        context = xmlsec.SignatureContext()
        context.key = xmlsec.Key.from_file(key_file, xmlsec.constants.KeyDataFormatPem)
        context.sign(self._signature(root, node_id))
        signed: bytes = etree.tostring(root)
        return signed.decode()

    def encrypt_assertion(
        self, statement: Any, enc_key: str, template: Any, *_: Any, **__: Any
    ) -> str:
        """With AES-GCM, where pysaml2's template has Triple DES."""
        root, made = etree.fromstring(_raw(statement)), etree.fromstring(_raw(template))
        made.find(f"{XENC}EncryptionMethod").set("Algorithm", AES256_GCM)
        manager = xmlsec.KeysManager()
        manager.add_key(xmlsec.Key.from_file(enc_key, xmlsec.constants.KeyDataFormatCertPem))
        context = xmlsec.EncryptionContext(manager)
        session = xmlsec.constants.KeyDataTypeSession
        context.key = xmlsec.Key.generate(xmlsec.constants.KeyDataAes, 256, session)
        (assertion,) = root.iter(f"{ASSERTION}Assertion")
        context.encrypt_xml(made, assertion)
        encrypted: bytes = etree.tostring(root)
        return encrypted.decode()

    def validate_signature(
        self, text: Any, cert_file: str, cert_type: str, node_name: str, node_id: str
    ) -> bool:
        root = etree.fromstring(_raw(text))
        context = xmlsec.SignatureContext()
        context.key = xmlsec.Key.from_file(cert_file, xmlsec.constants.KeyDataFormatCertPem)
        context.verify(self._signature(root, node_id))
        return True

    def _signature(self, root: Any, node_id: str) -> Any:
        xmlsec.tree.add_ids(root, ["ID"])
        (element,) = root.xpath("//*[@ID=$id]", id=node_id)
        return xmlsec.tree.find_node(element, xmlsec.constants.NodeSignature)


def _raw(document: Any) -> bytes:
    return document if isinstance(document, bytes) else str(document).encode()
