"""The two that speak with each other, as this side knows them."""

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree

from identity.saml.refusals import Flaw, SamlRefused

SKEW = dt.timedelta(seconds=30)
"""So far clocks may differ."""


@dataclass(frozen=True)
class ServiceProvider:
    """We, as one provider knows us: each has an entity id and addresses of its own, so none can answer for another."""

    entity_id: str
    acs_url: str
    slo_url: str


@dataclass(frozen=True)
class Provider:
    """The other side. `certificates` are PEM; `slo_url` is where it takes logout messages by redirect."""

    entity_id: str
    sso_url: str
    certificates: tuple[str, ...]
    slo_url: str | None = None


def current(certificates: tuple[str, ...], now: dt.datetime) -> list[str]:
    """Those certificates that are valid now. Raises SamlRefused (CERTIFICATE) where none is."""
    found = [pem for pem in certificates if _is_valid(pem, now)]
    if not found:
        raise SamlRefused(Flaw.CERTIFICATE)
    return found


def _is_valid(pem: str, now: dt.datetime) -> bool:
    one = loaded(pem)
    return one.not_valid_before_utc - SKEW <= now < one.not_valid_after_utc


@lru_cache(maxsize=1_000)
def loaded(pem: str) -> x509.Certificate:
    """The certificate of this text."""
    return x509.load_pem_x509_certificate(pem.encode())


def our_key(pem: bytes) -> RSAPrivateKey:
    """Our private key, of an unencrypted PEM. Raises ValueError, TypeError for what is none.

    Whether its numbers fit together is not computed again: that takes a tenth of a second of the thread that answers
    everybody, for each message, and the key was made here and lay sealed since then.
    """
    key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("Messages are signed and opened with an RSA key.")
    return key


def check_libraries() -> None:
    """Raises RuntimeError where lxml and xmlsec bring different libxml2: trees that one made would crash the other."""
    if tuple(xmlsec.get_libxml_version()) != tuple(etree.LIBXML_VERSION):
        raise RuntimeError("lxml and xmlsec were built with different versions of libxml2.")
