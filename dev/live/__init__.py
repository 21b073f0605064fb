"""Measures how soon open connections are told of a change, and how soon they are closed to whoever is cut off."""
