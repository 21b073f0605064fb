"""The HTTP surface: GraphQL, health, metrics. Pure ASGI callables, one concept a file."""
