"""The development stack: real servers as embedded parts, a supervisor, logins, demo data, benchmarks.

Nothing of the product imports this package; its commands join `caretree` by an entry point.
"""
