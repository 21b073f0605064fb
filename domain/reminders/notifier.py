"""The port through which reminders leave: what a message holds, and how sending it can end.

A notifier answers once the receiver has taken the message over. It may be asked for the same message again, by its
`id`, when a worker died before it could write down how an attempt ended: so each says the id in a way by which the
receiver knows a repeat (the adapters are `identity/mail.py` and `identity/webhooks.py`).
"""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Protocol

SECONDS = 30.0
"""How long an attempt may take at the most, everything included. An adapter gives up before."""


@dataclass(frozen=True)
class Endpoint:
    """Where a health system's own system takes reminders, and the key that signs them."""

    url: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Message:
    """A reminder as it goes out. `id` is the same at each attempt. Nothing in it says what the visit is for.

    `starts_at` in UTC, `zone` the patient's, in which the text tells the time; `phone` in E.164.
    """

    id: uuid.UUID
    planned_at: dt.datetime
    appointment_id: uuid.UUID
    patient_id: uuid.UUID = field(repr=False)
    starts_at: dt.datetime
    zone: str
    language: str
    subject: str = field(repr=False)
    text: str = field(repr=False)
    email: str | None = field(default=None, repr=False)
    phone: str | None = field(default=None, repr=False)
    endpoint: Endpoint | None = field(default=None, repr=False)


class NotTaken(Exception):
    """The receiver did not take the message; it may another time. Carries no address and no answer's text."""


class Refused(NotTaken):
    """The receiver will not take it however often it is asked."""


class Notifier(Protocol):
    """Hands messages of one channel over."""

    async def send(self, message: Message) -> None:
        """Returns once the message is taken over. Raises NotTaken, Refused; ends within `SECONDS`."""
        ...
