"""AD FS. It finds the key of a signed request by the subject of the certificate; claims are those that rules issue.

In OpenID Connect it puts claims of the profile into the ID token only under the scope `allatclaims`.
https://learn.microsoft.com/windows-server/identity/ad-fs/technical-reference/the-role-of-claims
"""

_WS = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"
OIDC = {
    "userName": "upn",
    "givenName": "given_name",
    "familyName": "family_name",
    "email": "email",
    "groups": "group",
}
OIDC_SPEAKS = {"scope": "openid allatclaims"}
SAML = {
    "userName": f"{_WS}/upn",
    "givenName": f"{_WS}/givenname",
    "familyName": f"{_WS}/surname",
    "email": f"{_WS}/emailaddress",
    "groups": "http://schemas.xmlsoap.org/claims/Group",
    "amr": "http://schemas.microsoft.com/claims/authnmethodsreferences",
}
SAML_SPEAKS = {"key_name": "CERT_SUBJECT"}
