"""Microsoft Entra ID. Groups are GUIDs; somebody in more than 200 (OpenID Connect) or 150 (SAML) is told to have none.

So roles should hang on app roles, or on "groups assigned to the application". `oid` is the person's id in the
directory; `sub` and the persistent NameID are ids of the person for this application.
https://learn.microsoft.com/entra/identity-platform/optional-claims-reference
"""

_WS = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"
_MS = "http://schemas.microsoft.com"
OIDC = {
    "userName": "preferred_username",
    "givenName": "given_name",
    "familyName": "family_name",
    "email": "email",
    "externalId": "oid",
    "groups": "groups",
    "roles": "roles",
}
SAML = {
    "userName": f"{_WS}/name",
    "givenName": f"{_WS}/givenname",
    "familyName": f"{_WS}/surname",
    "email": f"{_WS}/emailaddress",
    "externalId": f"{_MS}/identity/claims/objectidentifier",
    "groups": f"{_MS}/ws/2008/06/identity/claims/groups",
    "roles": f"{_MS}/ws/2008/06/identity/claims/role",
    "amr": f"{_MS}/claims/authnmethodsreferences",
}
