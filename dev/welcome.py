"""What `make up` says at the end: addresses, people, a first query to paste."""

from dev.demo import cast
from dev.product import DEFAULT_PORT, Product
from dev.screen import Screen

SHOWN = ("nurse.oak", "nurse.oak-pediatrics", "nurse.elm", "provider.oak", "front_desk.oak")
MORE = ("clinic_admin.oak", "system_admin.mercy", "nurse.harbor", "nurse.expired")
FIRST = "nurse.oak"
QUERY = "{ patients(first: 5) { totalCount nodes { mrn givenName familyName maskedGroups } } }"


def welcome(product: Product, screen: Screen) -> None:
    """Say it. Raises ReaderGone."""
    screen.line("")
    screen.line(f"GraphQL    {product.url}/graphql", style="bold")
    if product.moved:
        screen.line(
            f"           (not on port {DEFAULT_PORT}, which somebody else had taken)", style="dim"
        )
    screen.line(f"Operators  {product.platform_url}/graphql (`caretree dev login operator`)")
    screen.line(f"Keycloak   {product.stack.keycloak_url}")
    screen.line("")
    screen.line("Some of the people (`.venv/bin/caretree dev people` lists all):")
    for name in (*SHOWN, *MORE):
        screen.line(f"  {name:<22}{described(cast.member(name))}")
    screen.line("")
    screen.line("A first query, as a nurse, in a second terminal:")
    screen.line("")
    screen.line(f"  TOKEN=$(.venv/bin/caretree dev login {FIRST})")
    screen.line(f"  curl -s {product.url}/graphql -H 'Content-Type: application/json' \\")
    screen.line(f'''    -H "Authorization: Bearer $TOKEN" -d '{{"query": "{QUERY}"}}\'''')
    screen.line("")
    screen.line(
        "Ctrl-C stops all that this run has started; what it found running stays.", style="dim"
    )


def described(member: cast.Member | cast.Operator) -> str:
    """Who somebody is, in half a line."""
    if isinstance(member, cast.Operator):
        return f"{member.given_name} {member.family_name}: {member.note}"
    held = ", ".join(
        f"{grant.role} of {grant.path}" + (f" ({grant.period})" if grant.period != "now" else "")
        for grant in member.grants
    )
    words = [held or f"no grant in {member.tenant}", member.note]
    return f"{member.given_name} {member.family_name}: {'; '.join(word for word in words if word)}"
