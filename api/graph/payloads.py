"""What mutations answer: the object, and what a person can mend as data."""

import strawberry

from api.graph.relay import value_type


@strawberry.interface(description="Something that the person can mend.")
class UserError:
    """`code` is stable and for programs, `message` for people, `path` the input field."""

    code: str = strawberry.field(description="Stable, for programs.")
    message: str = strawberry.field(description="For people.")
    path: list[str] | None = strawberry.field(description="The field of the input.")


@value_type("An input that cannot be taken as it is; nothing was changed.")
class InputError(UserError):
    """The only kind so far."""


def payload_errors() -> list[UserError]:
    """The field `userErrors` of a payload."""
    return strawberry.field(description="What to mend; empty when it was carried out.")


def idempotency_key() -> str | None:
    """The field `idempotencyKey` of an input."""
    return strawberry.field(
        default=None, description="Makes a repeat of this request harmless for 24 hours."
    )
