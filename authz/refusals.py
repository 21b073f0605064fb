"""How authorization says no.

NotFound    not yours, which is the same as not there (domain/errors.py)
Forbidden   yours to see, not yours to do; the reason is from a closed list
Unguarded   a mistake of ours: a statement or a write that no policy judged
"""

from enum import Enum

from domain.errors import DomainError


class Reason(Enum):
    """Why something visible may not be done."""

    NO_ROLE = "NO_ROLE"
    NOT_THE_AUTHOR = "NOT_THE_AUTHOR"
    NOT_A_PRACTITIONER = "NOT_A_PRACTITIONER"
    SENSITIVITY = "SENSITIVITY"
    BREAK_GLASS_AVAILABLE = "BREAK_GLASS_AVAILABLE"
    ROLE_NOT_YOURS_TO_GIVE = "ROLE_NOT_YOURS_TO_GIVE"
    HIGHER_ROLE = "HIGHER_ROLE"
    BOOKED_ELSEWHERE = "BOOKED_ELSEWHERE"


_SAID = {
    Reason.NO_ROLE: "No role of yours allows this here.",
    Reason.NOT_THE_AUTHOR: "Only the author may do this.",
    Reason.NOT_A_PRACTITIONER: "Only a person linked to an active practitioner may do this.",
    Reason.SENSITIVITY: "The record is restricted.",
    Reason.BREAK_GLASS_AVAILABLE: "No role of yours allows this here; break-glass does.",
    Reason.ROLE_NOT_YOURS_TO_GIVE: "This role is not yours to give or take at this place.",
    Reason.BOOKED_ELSEWHERE: "This binds at other places of the clinic too, where no role of yours allows it.",
    Reason.HIGHER_ROLE: "They hold a role above those by which you administer them.",
}


class Forbidden(DomainError):
    """The actor sees the target and may not do this to it."""

    code = "FORBIDDEN"

    def __init__(self, reason: Reason) -> None:
        super().__init__(_SAID[reason])
        self.reason = reason


class Unguarded(Exception):
    """A programming mistake: nothing was sent to the database. Never shown to a client as it is."""
