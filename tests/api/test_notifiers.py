"""By which channels a worker sends reminders, from its settings."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from api.commands.worker import notifiers
from api.settings import Settings, SettingsError
from domain.patients import Channel


def test_without_a_mail_server_there_is_no_mail() -> None:
    assert set(notifiers(Settings())) == {Channel.WEBHOOK}


def test_mail_needs_an_address_and_tls() -> None:
    with pytest.raises(SettingsError, match="CARETREE_MAIL_FROM"):
        notifiers(Settings(smtp_host="mail.example"))
    given: dict[str, Any] = {"smtp_host": "mail.example", "mail_from": "clinic@mail.example"}
    assert set(notifiers(Settings(**given))) == set(Channel)
    with pytest.raises(SettingsError, match="CARETREE_SMTP_SECURITY"):
        notifiers(Settings(**given, smtp_security="none"))
    open_ = Settings(**given, smtp_security="none", environment="development")
    assert set(notifiers(open_)) == set(Channel)


@pytest.mark.parametrize("address", ["clinic", "a@b@c.example", "a@b.example\r\nBcc: c@d.example"])
def test_a_sender_is_an_address(address: str) -> None:
    with pytest.raises(ValidationError):
        Settings(mail_from=address)


def test_a_password_is_not_shown() -> None:
    told = Settings(smtp_password=SecretStr("right"))
    assert "right" not in repr(told)
    (mail,) = [
        n
        for channel, n in notifiers(
            Settings(
                smtp_host="mail.example",
                mail_from="a@mail.example",
                smtp_username="a",
                smtp_password=SecretStr("right"),
            )
        ).items()
        if channel is Channel.EMAIL
    ]
    assert "right" not in repr(vars(mail))
