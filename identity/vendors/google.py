"""Google Workspace. Its issuer speaks for every Google account there is, also for private ones that somebody opened
with their address at work: only `hd` says that the account is the organization's own, and of which domain.

There are no groups in its ID token; roles hang on SCIM groups or are given by hand.
https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload
"""

from identity.assertions import Assertion

ISSUERS = ("https://accounts.google.com",)
OIDC = {
    "userName": "email",
    "givenName": "given_name",
    "familyName": "family_name",
    "email": "email",
    "organization": "hd",
}
SAML = {
    "userName": "email",
    "givenName": "firstName",
    "familyName": "lastName",
    "email": "email",
    "groups": "groups",
    "department": "department",
    "title": "title",
    "organization": "organization",
}


def vouches(assertion: Assertion, domain: str) -> bool:
    """Only for accounts of the organization itself. In SAML the attribute `organization` is mapped to its domain."""
    own = assertion.one("organization")
    return own is not None and own.lower() == domain
