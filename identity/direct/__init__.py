"""Logins by SAML without the broker: the API is the service provider, and an issuer of the health system's own.

What comes back from a provider is judged in `identity/saml/`; who it is and what they may do is decided by the very
functions that serve logins through the realm (`identity/arrivals.py`). See docs/decisions/direct-logins.md.
"""
