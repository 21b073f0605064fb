"""Attacks that were tried, each by the way that an attacker has."""
