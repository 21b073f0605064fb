"""GraphiQL, for development only: its page loads scripts from elsewhere."""

from strawberry.http.ides import get_graphql_ide_html


def graphiql() -> str:
    """The page. Log in by `caretree dev login` and set the token as its `Authorization` header."""
    return get_graphql_ide_html("graphiql")
