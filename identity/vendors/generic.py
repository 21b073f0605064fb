"""Any other product, by the names that the standards suggest.

OpenID Connect Core 1.0, section 5.1; for SAML the short names of eduPerson and X.500, as most products offer them.
"""

from identity.assertions import Assertion

OIDC = {
    "userName": "preferred_username",
    "givenName": "given_name",
    "familyName": "family_name",
    "email": "email",
    "groups": "groups",
    "roles": "roles",
    "department": "department",
    "title": "title",
}
SAML = {
    "userName": "uid",
    "givenName": "givenName",
    "familyName": "sn",
    "email": "mail",
    "groups": "groups",
    "roles": "roles",
    "department": "department",
    "title": "title",
}
OIDC_SPEAKS = {"scope": "openid profile email"}
SAML_SPEAKS = {"key_name": "NONE"}


def vouches(_: Assertion, __: str) -> bool:
    """A proven domain suffices: the issuer is the hospital's own."""
    return True
