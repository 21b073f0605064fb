"""The GraphQL schema: one module a subject with its types, Query and Mutation; `api/schema.py` finds them all."""
