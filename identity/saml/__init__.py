"""SAML 2.0 spoken with a hospital's provider directly: what is sent, and what is believed of what comes back.

Nothing here knows a database or a session: `identity/direct/` does.
"""
