"""What is particular about the products that hospitals have: one file each, nothing lists them.

A vendor's file says how its product calls what we ask for (`OIDC`, `SAML`: our names of `identity/assertions.py` to
its own), what else differs in how it is spoken to (`OIDC_SPEAKS`, `SAML_SPEAKS`: see `identity/brokers.py`), and where
its word needs a second look (`vouches`). What a file leaves out is as in `generic.py`.
"""

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any

from domain.errors import Invalid
from domain.identity_providers import Protocol
from identity.assertions import Assertion

NAMES = frozenset(found.name for found in pkgutil.iter_modules(__path__))
GENERIC = "generic"
SPEAKS = {Protocol.OIDC: "OIDC_SPEAKS", Protocol.SAML: "SAML_SPEAKS"}


def _module(vendor: str) -> ModuleType:
    if vendor not in NAMES:
        raise Invalid(f"The vendor is one of {', '.join(sorted(NAMES))}.", path=("vendor",))
    return import_module(f"{__name__}.{vendor}")


def _told(vendor: str, name: str) -> Any:
    return getattr(_module(vendor), name, getattr(_module(GENERIC), name))


def attributes_of(vendor: str, protocol: Protocol) -> dict[str, str]:
    """Our names of attributes to the vendor's own. Raises Invalid for a vendor that nobody knows."""
    return dict(_told(vendor, protocol.name))


def speaks(vendor: str, protocol: Protocol) -> dict[str, str]:
    """What differs in how the vendor is spoken to. Raises Invalid."""
    return dict(_told(vendor, SPEAKS[protocol]))


def vouches(vendor: str, assertion: Assertion, domain: str) -> bool:
    """Whether the provider speaks for this domain of the person's address, once its domain is proven."""
    return bool(_told(vendor, "vouches")(assertion, domain))


def check_issuer(vendor: str, issuer: str) -> None:
    """Raises Invalid for an issuer whose vendor it is known by, under another vendor's rules."""
    for name in sorted(NAMES):
        if name != vendor and issuer in getattr(_module(name), "ISSUERS", ()):
            raise Invalid(f"This issuer is of the vendor {name}.", path=("vendor",))
