"""SCIM 2.0 (RFC 7643, 7644): HR systems and enterprise identity providers push people and groups at a health system."""
