"""Okta. Its ID token is thin where an access token comes with it, so the profile is asked at userinfo.

Groups come only under a `groups` claim that the application's settings define, by a filter.
https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/
"""

OIDC = {
    "userName": "preferred_username",
    "givenName": "given_name",
    "familyName": "family_name",
    "email": "email",
    "groups": "groups",
}
OIDC_SPEAKS = {"scope": "openid profile email groups", "userinfo": "true"}
SAML = {
    "userName": "login",
    "givenName": "firstName",
    "familyName": "lastName",
    "email": "email",
    "groups": "groups",
    "department": "department",
    "title": "title",
}
