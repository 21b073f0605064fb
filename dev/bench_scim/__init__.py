"""Measures the door of directories with 50,000 users and a group of 50,000; `make bench-scim`."""
