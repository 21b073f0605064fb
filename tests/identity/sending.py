"""A worker of its own process that sends reminders: `python -m tests.identity.sending`, told all by its environment."""

import asyncio
import os
from pathlib import Path

from domain.database import engine
from domain.key_providers import FileKeyProvider
from domain.patients import Channel
from domain.sealing import Keyring, SecretSealer
from identity.accounts import Accounts
from identity.jobs import Resources, run_worker
from identity.keycloak import Account
from identity.mail import Mail, MailServer
from identity.reminders import Notifiers
from identity.webhooks import Webhooks


async def main() -> None:
    """Work until the process ends."""
    cell = engine(os.environ["CELL_URL"], application="sending")
    control = engine(os.environ["WORKER_URL"], application="sending")
    provider = FileKeyProvider(Path(os.environ["KEY_FILE"]))
    server = MailServer("127.0.0.1", int(os.environ["SMTP_PORT"]), "none", "clinic@health.example")
    accounts = Accounts(control, SecretSealer(provider), Account("nobody", "nothing"))
    notifiers: Notifiers = {Channel.EMAIL: Mail(server), Channel.WEBHOOK: Webhooks(plain=True)}
    resources = Resources(cell, accounts, Keyring(provider, cell), notifiers)
    await run_worker(os.environ["WORKER_URL"], resources)


if __name__ == "__main__":
    asyncio.run(main())
