"""Reminders and notices by e-mail: one message over one SMTP session (RFC 5321).

A repeat of a message has the same Message-ID (RFC 5322 section 3.6.4): a mailbox that drops repeats by it keeps one.
SMTP itself promises no more (RFC 5321 section 4.1.1.4, RFC 1047): where the connection breaks, or the worker dies,
between the server's taking a message and its answer being written down, the message goes out again.
"""

import asyncio
import datetime as dt
import email.errors
import email.policy
import ssl
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Literal, Protocol

import aiosmtplib

from domain.plain_text import EMAIL
from domain.reminders import NotTaken, Refused

SECONDS = 25.0
STEP_SECONDS = 10.0
PERMANENT = range(500, 600)


class Written(Protocol):
    """What goes out: a reminder, or a letter to an administrator."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def planned_at(self) -> dt.datetime: ...
    @property
    def language(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def email(self) -> str | None: ...


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed over. `security`: TLS by STARTTLS, TLS from the beginning, or none (development)."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    sender: str
    sender_name: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class Mail:
    """Sends over a mail server. `tls`: by default the machine's certificates, names checked."""

    def __init__(self, server: MailServer, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._tls = tls or ssl.create_default_context()

    async def send(self, message: Written) -> None:
        """Hand a message over. Raises NotTaken, Refused."""
        if message.email is None or not EMAIL.fullmatch(message.email):
            raise Refused
        try:
            written = self.written(message, ascii_domain(message.email))
        except (email.errors.MessageError, ValueError):
            raise Refused from None
        try:
            async with asyncio.timeout(SECONDS):
                await self._handed_over(written)
        except aiosmtplib.SMTPRecipientsRefused as refused:
            codes = [error.code for error in refused.recipients]
            raise _of(*codes) from None
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as refused:
            raise _of(refused.code) from None
        except aiosmtplib.SMTPNotSupported:
            raise Refused from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError):
            raise NotTaken from None

    def written(self, message: Written, to: str) -> EmailMessage:
        """The message as it goes out. Raises ValueError or MessageError for what no header can hold."""
        local, _, domain = self._server.sender.rpartition("@")
        mail = EmailMessage(policy=email.policy.SMTP)
        mail["From"] = Address(self._server.sender_name or "", local, domain)
        mail["To"] = to
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(message.planned_at)
        mail["Message-ID"] = f"<{message.id}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is told to us
        mail.set_content(message.text, cte="quoted-printable")
        mail["Content-Language"] = message.language
        return mail

    async def _handed_over(self, mail: EmailMessage) -> None:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            timeout=STEP_SECONDS,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=None if server.security == "none" else self._tls,
        )
        try:
            await client.connect()
            if server.username is not None:
                await client.login(server.username, server.password or "")
            await client.send_message(mail, sender=server.sender)
            # Taken: how the session ends changes nothing.
            await _whatever(client.quit())
        finally:
            client.close()


async def _whatever(call: Awaitable[object]) -> None:
    try:
        await call
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        return


def _of(*codes: int) -> NotTaken:
    """What a server's answers mean: 5xx is for good (RFC 5321 section 4.2.1)."""
    return Refused() if codes and all(code in PERMANENT for code in codes) else NotTaken()


def ascii_domain(address: str) -> str:
    """The address with its domain in ASCII (RFC 5890). Raises ValueError (UnicodeError)."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.encode('idna').decode()}"
