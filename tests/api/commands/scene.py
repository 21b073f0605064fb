"""What a case of a mutation is: who may, who sees its target, its input; and the scene that it is asked in."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domain.patients import Patient
from domain.people import Person
from domain.practitioners import Practitioner
from tests import make
from tests.api.commands.office import Office, System, soon

ASKS = dict.fromkeys(
    (f"appointment:{action}" for action in ("hold", "confirm", "book_series", "wait", "offer")),
    "appointment:book",
) | {
    "appointment:accept": "appointment:book",
    "appointment:decline": "appointment:book",
    "appointment:leave_waitlist": "appointment:book",
    "appointment:cancel_series": "appointment:cancel",
    "appointment:move_series": "appointment:reschedule",
}
"""Actions that another one's permission allows."""
ALL_BY_ONE = {"schedule": "schedule:edit", "reminder_rule": "reminder_rule:manage"}
"""Resources all of whose actions one permission allows."""

Input = dict[str, Any]
_numbers = itertools.count(1)


@dataclass
class Scene:
    """What a mutation is about: a system, the place, and who asks."""

    office: Office
    system: System
    place: str
    asker: Person

    @property
    def unit(self) -> Any:
        return self.system.units[self.place]

    @property
    def clinic(self) -> str:
        return self.place[:1]

    def patient(self) -> Patient:
        return self.system.patient(self.place)

    def own(self) -> Practitioner:
        """The practitioner that the asker is."""
        return self.system.practitioners[self.asker.id]

    def encounter(self, **values: Any) -> Any:
        made = make.encounter(self.patient(), self.unit, **values)
        self.system.save(made)
        return made

    def note(self, author: Person, **values: Any) -> Any:
        made = make.note(self.encounter(), author, **{"kind": "nursing", "state": "draft"} | values)
        self.system.save(made)
        return made

    def appointment(self, **values: Any) -> Any:
        doctor = self.system.doctor(self.place)
        times = {"starts_at": soon(next(_numbers)), **values}
        made = make.appointment(self.patient(), self.unit, doctor, **times)
        self.system.save(made, make.block(made))
        return made

    def entry(self, made_by: Callable[..., Any], **values: Any) -> Any:
        """A row of a visit's chart, by its maker."""
        made = made_by(self.encounter(), **values)
        self.system.save(made)
        return made


@dataclass(frozen=True)
class Case:
    """`may`: the roles that are allowed at the place. `sees`: those that read what the input names.

    Whoever may not is told FORBIDDEN for what they see and NOT_FOUND for what they do not; `anywhere` says that
    all in the input but the place is new, so that everybody of the health system sees it.
    """

    mutation: str
    action: str
    may: frozenset[str]
    sees: frozenset[str]
    given: Callable[[Scene], Input]
    anywhere: bool = False
    told: str = ""  # what the event of a success is called, where that is not the permission

    @property
    def asks(self) -> str:
        """The permission, which a refusal names; some allow several actions."""
        resource = self.action.partition(":")[0]
        return ALL_BY_ONE.get(resource) or ASKS.get(self.action, self.action)

    def expected(self, role: str) -> str:
        """The outcome for somebody who holds the role over the place."""
        if role in self.may:
            return "DONE"
        return "FORBIDDEN" if role in self.sees or self.anywhere else "NOT_FOUND"

    @property
    def beside(self) -> str:
        """The outcome for somebody of the health system who holds nothing over the place."""
        return "FORBIDDEN" if self.anywhere else "NOT_FOUND"
