"""An email as it travels, what a server's answer means for it, and which mail server is good enough."""

import asyncio
import email
import email.policy
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import NoReturn
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.mail_tls import make_certificates
from services.chassis.errors import CannotStart
from services.notifier.channels.email import EmailChannel
from services.notifier.letters import Letter
from services.notifier.mail.connections import Away
from services.notifier.mail.message import compose, message_id
from services.notifier.mail.settings import MailServer
from services.notifier.mail.transaction import Verdict, ended, judged
from services.notifier.settings import NotifierSettings

ID = UUID(int=7)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HEADERS = ["Message-ID", "Date", "From", "To", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type"]


def composed(letter: Letter, operator: str = "Засов & Ко", to: str = "anna@example.com") -> bytes:
    return compose(ID, letter, sender=Address(operator, addr_spec="no-reply@zasov.example"), to=to, at=AT)


def read(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


@pytest.mark.row("M20")
def test_an_email_has_its_text_and_its_html_and_says_that_a_machine_wrote_it() -> None:
    content = composed(Letter("Засов & Ко: ваш код", "Код 4711\n", "<p>Код 4711</p>\n"))
    message = read(content)
    assert content.isascii()
    assert message.get_content_type() == "multipart/alternative"
    assert (body(message, "plain"), body(message, "html")) == ("Код 4711\n", "<p>Код 4711</p>\n")
    assert (message["Subject"], message["To"]) == ("Засов & Ко: ваш код", "anna@example.com")
    assert (message["Auto-Submitted"], message["Date"]) == ("auto-generated", "Fri, 02 Jan 2026 03:04:05 +0000")
    assert message["From"].addresses[0] == Address("Засов & Ко", addr_spec="no-reply@zasov.example")


def test_the_id_of_a_message_is_the_same_at_every_try_and_tells_nothing() -> None:
    first, second = (read(composed(Letter("s", text, "h")))["Message-ID"] for text in ("one", "two"))
    assert first == second == message_id(ID, "zasov.example") == f"<{ID}@zasov.example>"


@pytest.mark.row("M20")
@given(subject=st.text(max_size=60), text=st.text(max_size=60), markup=st.text(max_size=60), operator=st.text(max_size=40))
def test_no_words_become_a_header_or_end_the_message(subject: str, text: str, markup: str, operator: str) -> None:
    try:
        content = composed(Letter(subject, text, markup), operator)
    except ValueError:  # a line break in a header, or half a character
        return
    message = read(content)
    assert message.keys() == HEADERS
    assert len(list(message.iter_parts())) == 2
    assert b"\r\n.\r\n" not in ended(content)[:-5]
    assert not content.replace(b"\r\n", b"").count(b"\n")


@pytest.mark.parametrize("bad", ["a\r\nBcc: b@example.com", "a\nBcc: b@example.com", "a\rBcc: b@example.com", "a\r", "a\n"])
def test_a_line_break_in_a_subject_or_a_name_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"one line|CR or LF"):
        composed(Letter(bad, "t", "h"))
    with pytest.raises(ValueError, match=r"one line|CR or LF"):
        composed(Letter("s", "t", "h"), operator=bad)


def undone(sent: bytes) -> bytes:
    """As a server takes it (RFC 5321, 4.5.2)."""
    whole, end, rest = (b"\r\n" + sent).partition(b"\r\n.\r\n")
    assert (end, rest) == (b"\r\n.\r\n", b"")
    return whole.replace(b"\r\n.", b"\r\n")[2:] + b"\r\n"


@given(st.lists(st.sampled_from([b".", b"..", b"a", b".a", b"", b"a."]), min_size=1))
def test_lines_of_dots_arrive_as_they_were_and_end_nothing(lines: list[bytes]) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    assert undone(ended(content)) == content


@given(st.integers(-1, 999))
def test_4xx_is_tried_again_and_5xx_is_for_good(code: int) -> None:
    ours = (530, 534, 535, 538)  # the server wants us to sign in: the message is not to blame
    expected = {2: Verdict.TAKEN, 4: Verdict.LATER, 5: Verdict.NEVER}.get(code // 100)
    assert judged(code) is (Verdict.LATER if code in ours else expected)


def settings(**changes: object) -> NotifierSettings:
    chosen = {
        "postgres_url": "postgresql://127.0.0.1/none",
        "smtp_address": "mail.example:587",
        "smtp_sender": "no-reply@zasov.example",
        **changes,
    }
    return NotifierSettings.model_validate(chosen)


def test_without_an_address_there_is_no_email() -> None:
    assert settings(smtp_address="").mail_server() is None


def test_tls_is_required_and_the_name_in_the_certificate_checked_unless_told_otherwise() -> None:
    server = settings().mail_server()
    assert server is not None
    assert server.tls is not None
    assert (server.security, server.tls.verify_mode, server.tls.check_hostname) == ("starttls", ssl.CERT_REQUIRED, True)
    assert "secret" not in repr(settings(smtp_password="secret").mail_server())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_plaintext_is_for_this_machine_alone(host: str) -> None:
    server = settings(smtp_security="plaintext", smtp_address=f"{host}:25").mail_server()
    assert server is not None
    assert server.tls is None
    with pytest.raises(CannotStart):
        settings(smtp_security="plaintext", smtp_address="10.0.0.1:25").mail_server()


@pytest.mark.parametrize(
    "changes",
    [
        {"smtp_sender": ""},
        {"smtp_sender": "no-reply@zasov.example\r\nBcc: x@example.com"},
        {"operator_name": ""},
        {"operator_name": "Zasov\r\nBcc: x@example.com"},
        {"operator_name": "Z" * 41},
        {"smtp_ca_file": "/nowhere/ca.pem"},
    ],
)
def test_a_mail_server_that_could_not_be_used_keeps_the_worker_from_starting(changes: dict[str, str]) -> None:
    with pytest.raises(CannotStart):
        settings(**changes).mail_server()


def test_of_two_authorities_only_the_one_that_is_named_is_trusted(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    server = settings(smtp_ca_file=files.ca).mail_server()
    assert server is not None
    assert server.tls is not None
    assert ["Zasov dev stack CA" in str(one["subject"]) for one in server.tls.get_ca_certs()] == [True]


async def test_a_channel_closes_though_its_try_fails_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As asyncio.wait_for of Python 3.11 has it: a worker that was told to stop would go on trying, and never end."""

    async def refused_just_then(_: MailServer) -> NoReturn:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise Away("SMTPConnectError") from None
        raise AssertionError("nobody closed it")

    monkeypatch.setattr("services.notifier.channels.email.connect", refused_just_then)
    server = settings().mail_server()
    assert server is not None
    channel = EmailChannel(server)
    await channel.__aenter__()
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(channel.__aexit__(None, None, None))
    _, unfinished = await asyncio.wait([closing], timeout=2.0)
    assert not unfinished
