"""Mail over a real server on this machine: TLS or nothing, and no header that a value could add."""

from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from domain.reminders import NotTaken, Refused
from identity import mail
from identity.mail import Mail, MailServer
from tests.identity.messages import ID, certificate, message
from tests.identity.receivers import free_port, postbox

pytestmark = pytest.mark.anyio


def server(port: int, **values: Any) -> MailServer:
    plain: dict[str, Any] = {
        "host": "localhost",
        "port": port,
        "security": "none",
        "sender": "a@clinic.example",
    }
    return MailServer(**plain | values)


async def test_a_message_as_it_arrives() -> None:
    async with postbox() as box:
        await Mail(server(box.port)).send(message())
    (mail,) = box.taken
    assert mail["Message-ID"] == f"<{ID}@clinic.example>"
    assert mail["Content-Language"] == "en"
    assert mail["Date"] == "Mon, 02 Mar 2026 18:00:00 +0000"
    assert mail.get_content() == "Hello Zoë,\r\nuntil Tuesday.\r\n"  # type: ignore[attr-defined]  # of the modern policy


async def test_starttls_or_nothing(tmp_path: Path) -> None:
    theirs, ours = certificate(tmp_path)
    async with postbox(tls_context=theirs, require_starttls=True) as box:
        await Mail(server(box.port, security="starttls"), ours).send(message())
        assert len(box.taken) == 1
        with pytest.raises(NotTaken):  # whom nobody vouches for
            await Mail(server(box.port, security="starttls")).send(message())
        other = server(box.port, security="starttls", host="127.0.0.1")
        with pytest.raises(NotTaken):  # somebody else's certificate
            await Mail(other, ours).send(message())
    async with postbox() as bare:  # somebody in between took STARTTLS away
        with pytest.raises(NotTaken):
            await Mail(server(bare.port, security="starttls"), ours).send(message())
    assert len(box.taken) + len(bare.taken) == 1


async def test_a_password_is_not_told_in_the_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "STEP_SECONDS", 1.0)  # the server waits for TLS
    theirs, ours = certificate(tmp_path)
    seen: list[Any] = []

    def login(_server: Any, _session: Any, _envelope: Any, mechanism: str, data: Any) -> AuthResult:
        seen.append(data)
        return AuthResult(success=data.password == b"right")

    options = {"authenticator": login, "auth_required": True, "auth_require_tls": True}
    async with postbox(tls_context=theirs, **options) as box:
        known = {"username": "clinic", "password": "right"}
        await Mail(server(box.port, security="starttls", **known), ours).send(message())
        with pytest.raises(NotTaken) as wrong:
            await Mail(
                server(box.port, security="starttls", **known | {"password": "no"}), ours
            ).send(message())
        told = len(seen)
        with pytest.raises(NotTaken):
            await Mail(server(box.port, **known)).send(message())
    assert (len(box.taken), len(seen)) == (1, told)
    assert not isinstance(wrong.value, Refused)
    assert "right" not in repr(server(1, **known))


@pytest.mark.parametrize(
    ("answer", "refused"), [("550 Nobody", True), ("450 Busy", False), ("421 Bye", False)]
)
async def test_what_a_server_means(answer: str, refused: bool) -> None:
    async with postbox() as box:
        box.recipient = answer
        with pytest.raises(NotTaken) as told:
            await Mail(server(box.port)).send(message())
    assert isinstance(told.value, Refused) is refused
    assert str(told.value) == ""


async def test_nobody_there_is_another_time() -> None:
    with pytest.raises(NotTaken) as told:
        await Mail(server(free_port())).send(message())
    assert not isinstance(told.value, Refused)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": "Hello\r\nBcc: all@mail.example"},
        {"email": "zora@mail.example\r\nBcc: all@mail.example"},
        {"email": "zora@mail.example, all@mail.example"},
        {"language": "en\nX-Other: 1"},
        {"email": None},
        {"email": f"zora@{'ä' * 80}.example"},
    ],
)
async def test_no_value_becomes_a_header_or_a_second_receiver(wrong: dict[str, Any]) -> None:
    async with postbox() as box:
        with pytest.raises(Refused):
            await Mail(server(box.port)).send(message(**wrong))
    assert box.taken == []


async def test_a_domain_of_another_script() -> None:
    async with postbox() as box:
        await Mail(server(box.port)).send(message(email="zora@münchen.example"))
    assert box.taken[0]["To"] == "zora@xn--mnchen-3ya.example"
