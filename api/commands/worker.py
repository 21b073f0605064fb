"""`caretree worker`: carries out jobs: what has to change in Keycloak, reminders, housekeeping."""

import asyncio
from pathlib import Path

from api.http.logs import configure
from api.settings import Settings, SettingsError, load
from domain.patients import Channel
from domain.reminders import Notifier
from identity.jobs import Resources, run_worker
from identity.keycloak import Account
from identity.mail import Mail, MailServer
from identity.platform import open_platform, portals_at
from identity.reminders import Notifiers
from identity.webhooks import Webhooks

NAME = "worker"


def command() -> None:
    """Carry out jobs until a signal ends it."""
    settings = load()
    worker_url = settings.required("worker_database_url")
    configure(settings.is_development)
    asyncio.run(_work(settings, worker_url))


async def _work(settings: Settings, worker_url: str) -> None:
    async with open_platform(
        control_url=settings.control_url("worker_database_url"),
        cell_url=settings.required("database_url"),
        master=Account(
            settings.required("keycloak_admin_client_id"),
            settings.required("keycloak_admin_client_secret"),
        ),
        key_file=Path(settings.required("key_file")),
        portals=portals_at(settings.portal_url or settings.public_url, settings.public_url),
    ) as platform:
        mail = mail_of(settings)
        resources = Resources(
            platform.cell, platform.accounts, platform.keys, notifiers(settings, mail), mail
        )
        await run_worker(worker_url, resources)


def notifiers(settings: Settings, mail: Mail | None = None) -> Notifiers:
    """By which channels reminders go out here. Raises SettingsError for a mail server that is half described."""
    made: dict[Channel, Notifier] = {Channel.WEBHOOK: Webhooks(plain=settings.is_development)}
    mail = mail or mail_of(settings)
    return made if mail is None else {**made, Channel.EMAIL: mail}


def mail_of(settings: Settings) -> Mail | None:
    """The mail server, None where there is none. Raises SettingsError for one that is half described."""
    if settings.smtp_host is None:
        return None
    if settings.smtp_security == "none" and not settings.is_development:
        raise SettingsError("CARETREE_SMTP_SECURITY is none: mail needs TLS, but in development.")
    password = settings.smtp_password
    server = MailServer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        security=settings.smtp_security,
        sender=settings.required("mail_from"),
        sender_name=settings.mail_from_name,
        username=settings.smtp_username,
        password=password.get_secret_value() if password else None,
    )
    return Mail(server)
