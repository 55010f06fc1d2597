"""One message to one mail server: what it makes of it, and that nothing goes out where it could be read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from devstack.mail_sink import FOREVER, MailSink
from devstack.mail_tls import Certificates, make_certificates
from services.notifier.channels import InDoubt, Outgoing, PutOff, Refused, Taken
from services.notifier.channels.email import EmailChannel
from services.notifier.settings import NotifierSettings
from tests.integration.notifier.conftest import until

ADDRESS = "anna@example.com"
LOOPBACK = ("127.0.0.1", 0)

Open = Callable[..., Awaitable[EmailChannel]]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "mail")


@pytest.fixture
async def sink(certificates: Certificates) -> AsyncIterator[MailSink]:
    async with MailSink(LOOPBACK, certificates.server_context()) as running:
        yield running


@pytest.fixture
async def open_channel(sink: MailSink, certificates: Certificates) -> AsyncIterator[Open]:
    """Channels to the sink; `up=False`: one that can't come up."""
    async with AsyncExitStack() as stack:

        async def opened(*, up: bool = True, **changes: Any) -> EmailChannel:
            server = NotifierSettings.model_validate(
                {
                    "postgres_url": "postgresql://127.0.0.1/none",
                    "smtp_address": sink.address,
                    "smtp_ca_file": certificates.ca,
                    "smtp_sender": "no-reply@zasov.example",
                    "smtp_timeout_s": 1.0,
                    "smtp_answer_timeout_s": 1.0,
                    **changes,
                }
            ).mail_server()
            assert server is not None
            channel = await stack.enter_async_context(EmailChannel(server))
            if up:
                await until(lambda: channel.is_up)
            return channel

        yield opened


@pytest.fixture
async def channel(open_channel: Open) -> EmailChannel:
    return await open_channel()


def outgoing(to: str = ADDRESS, notification_id: UUID | None = None, validity_s: float = 60.0) -> Outgoing:
    validity = timedelta(seconds=validity_s)
    return Outgoing(notification_id or uuid4(), to, "Код 4711", validity, "Zasov: ваш код", "<p>Код 4711</p>")


async def never_up(channel: EmailChannel, tried: Callable[[], bool]) -> None:
    """It has tried, failed, and is put off without a message at risk."""
    await until(tried)
    await asyncio.sleep(0.1)
    assert not channel.is_up
    assert await channel.dispatch(outgoing()) == PutOff()


@pytest.mark.row("M20")
async def test_a_message_arrives_over_tls_with_both_parts(channel: EmailChannel, sink: MailSink) -> None:
    one = uuid4()
    assert await channel.dispatch(outgoing(notification_id=one)) == Taken("smtp", (f"<{one}@zasov.example>",))
    (mail,) = sink.messages(ADDRESS)
    assert mail.secured
    assert (mail.subject, mail.text.strip(), mail.html.strip()) == ("Zasov: ваш код", "Код 4711", "<p>Код 4711</p>")
    assert (mail.envelope_from, mail.headers["From"]) == ("no-reply@zasov.example", "Zasov <no-reply@zasov.example>")
    assert mail.headers["Message-ID"] == f"<{one}@zasov.example>"


async def test_a_server_that_speaks_tls_from_the_first_byte(open_channel: Open, certificates: Certificates) -> None:
    async with MailSink(LOOPBACK, certificates.server_context(), implicit=True) as secure:
        channel = await open_channel(smtp_address=secure.address, smtp_security="tls")
        assert isinstance(await channel.dispatch(outgoing()), Taken)
        assert secure.messages(ADDRESS)[0].secured


async def test_a_server_that_knows_the_account_and_one_that_does_not(open_channel: Open, certificates: Certificates) -> None:
    context, accounts = certificates.server_context(), {"zasov": "right"}
    async with MailSink(LOOPBACK, context, accounts=accounts) as asking:
        account = {"smtp_address": asking.address, "smtp_username": "zasov"}
        with capture_logs() as lines:
            wrong = await open_channel(up=False, **account, smtp_password="wrong")
            await never_up(wrong, lambda: bool(lines))
        assert {line["error"] for line in lines} == {"SMTPAuthenticationError"}
        right = await open_channel(**account, smtp_password="right")
        assert isinstance(await right.dispatch(outgoing()), Taken)
        nobody = await open_channel(smtp_address=asking.address)
        assert await nobody.dispatch(outgoing()) == PutOff(), "the account is wrong, not the message"


async def test_plaintext_to_this_machine_when_it_is_asked_for(open_channel: Open) -> None:
    async with MailSink(LOOPBACK, None) as plain:
        channel = await open_channel(smtp_address=plain.address, smtp_security="plaintext")
        assert isinstance(await channel.dispatch(outgoing()), Taken)
        assert not plain.messages(ADDRESS)[0].secured


@pytest.mark.row("B2")
async def test_a_server_without_starttls_gets_no_message(open_channel: Open, sink: MailSink) -> None:
    sink.behave(starttls=False)
    await never_up(await open_channel(up=False), lambda: sink.connections > 0)
    assert sink.messages(ADDRESS) == []


@pytest.mark.row("B2")
async def test_a_server_that_stops_offering_starttls_gets_no_more_messages(open_channel: Open, sink: MailSink) -> None:
    channel = await open_channel(smtp_idle_s=0.01)
    sink.behave(starttls=False)
    await asyncio.sleep(0.05)
    assert await channel.dispatch(outgoing()) == PutOff()
    assert not channel.is_up
    assert sink.messages(ADDRESS) == []


@pytest.mark.row("B2")
async def test_a_certificate_of_another_authority_is_not_enough(open_channel: Open, sink: MailSink, tmp_path: Path) -> None:
    other = make_certificates(tmp_path / "other").ca
    await never_up(await open_channel(up=False, smtp_ca_file=other), lambda: sink.connections > 0)
    assert sink.messages(ADDRESS) == []


@pytest.mark.row("B2")
@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_for_another_name_is_not_good_enough(open_channel: Open, tmp_path: Path, security: str) -> None:
    files = make_certificates(tmp_path / "another", host="mail.example")
    async with MailSink(LOOPBACK, files.server_context(), implicit=security == "tls") as impostor:
        changes = {"smtp_address": impostor.address, "smtp_ca_file": files.ca, "smtp_security": security}
        await never_up(await open_channel(up=False, **changes), lambda: impostor.connections > 0)
        assert impostor.messages(ADDRESS) == []


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "content"])
@pytest.mark.parametrize(("code", "outcome"), [(451, PutOff()), (421, PutOff()), (550, Refused(550)), (530, PutOff())])
async def test_a_refusal_is_for_good_only_if_it_says_so_and_the_next_message_goes_out(
    channel: EmailChannel, sink: MailSink, stage: str, code: int, outcome: object
) -> None:
    sink.behave(refuse_count=1, refuse_at=stage, refuse_code=code)
    assert await channel.dispatch(outgoing()) == outcome
    assert sink.messages(ADDRESS) == []
    assert isinstance(await channel.dispatch(outgoing("boris@example.com")), Taken)
    (mail,) = sink.messages("boris@example.com")
    assert mail.to == "boris@example.com"
    assert sink.messages(ADDRESS) == []


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_what_breaks_before_the_content_is_sent_goes_out_over_a_new_connection(
    channel: EmailChannel, sink: MailSink, stage: str
) -> None:
    sink.behave(drop_count=1, drop_at=stage)
    assert isinstance(await channel.dispatch(outgoing()), Taken)
    assert len(sink.messages(ADDRESS)) == 1
    assert sink.connections == 2


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_what_breaks_each_time_before_the_content_is_sent_is_put_off(
    channel: EmailChannel, sink: MailSink, stage: str
) -> None:
    sink.behave(drop_count=FOREVER, drop_at=stage)
    assert await channel.dispatch(outgoing()) == PutOff()
    assert sink.messages(ADDRESS) == []


@pytest.mark.row("M11")
@pytest.mark.parametrize(("stage", "kept"), [("content", 0), ("answer", 1)])
@pytest.mark.parametrize("fault", ["drop", "hang"])
async def test_what_breaks_after_the_content_was_sent_is_in_doubt_and_not_sent_again(
    channel: EmailChannel, sink: MailSink, fault: str, stage: str, kept: int
) -> None:
    """Nobody here can tell which of the two it was."""
    sink.behave(**{f"{fault}_count": 1, f"{fault}_at": stage})
    assert await channel.dispatch(outgoing()) == InDoubt()
    assert len(sink.messages(ADDRESS)) == kept


async def test_a_server_that_hangs_before_the_content_is_given_up_and_the_message_put_off(
    open_channel: Open, sink: MailSink
) -> None:
    channel = await open_channel(smtp_timeout_s=0.3)
    sink.behave(hang_count=FOREVER, hang_at="rcpt")
    assert await channel.dispatch(outgoing()) == PutOff()
    assert not channel.is_up


async def test_a_server_that_is_away_puts_messages_off_until_it_is_back(open_channel: Open, certificates: Certificates) -> None:
    async with MailSink(LOOPBACK, certificates.server_context()) as first:
        channel = await open_channel(smtp_address=first.address)
        host, _, port = first.address.rpartition(":")
    assert await channel.dispatch(outgoing()) == PutOff()
    assert not channel.is_up
    async with MailSink((host, int(port)), certificates.server_context()) as back:
        await channel.wait_up(5.0)
        assert isinstance(await channel.dispatch(outgoing()), Taken)
        assert len(back.messages(ADDRESS)) == 1


async def test_connections_are_used_again_and_no_more_are_open_than_allowed(open_channel: Open, sink: MailSink) -> None:
    channel = await open_channel(smtp_connections=2)
    await asyncio.gather(*(channel.dispatch(outgoing()) for _ in range(20)))
    assert len(sink.messages(ADDRESS)) == 20
    assert sink.connections <= 2


async def test_a_message_that_waited_too_long_for_a_connection_is_not_sent(open_channel: Open, sink: MailSink) -> None:
    channel = await open_channel(smtp_connections=1)
    sink.behave(hang_count=1, hang_at="answer")
    first = asyncio.create_task(channel.dispatch(outgoing()))
    await sink.wait(ADDRESS)
    assert await channel.dispatch(outgoing("boris@example.com", validity_s=0.2)) == PutOff()
    assert await first == InDoubt()
    assert sink.messages("boris@example.com") == []


@pytest.mark.row("B2")
@pytest.mark.parametrize(
    "to", ["anna@example.com\r\nRCPT TO:<boris@example.com>", "anna@example.com>\nDATA", "анна@example.com", ""]
)
async def test_what_is_no_address_is_refused_before_the_server_hears_of_it(
    channel: EmailChannel, sink: MailSink, to: str
) -> None:
    sink.behave(refuse_count=FOREVER, refuse_at="mail", refuse_code=451)
    assert await channel.dispatch(outgoing(to)) == Refused(0)


async def test_an_international_domain_is_sent_in_ascii(channel: EmailChannel, sink: MailSink) -> None:
    assert isinstance(await channel.dispatch(outgoing("anna@почта.рф")), Taken)
    assert len(sink.messages("anna@xn--80a1acny.xn--p1ai")) == 1


@pytest.mark.row("B2")
async def test_what_is_logged_of_a_mail_server_that_is_away_names_nobody(open_channel: Open, sink: MailSink) -> None:
    with capture_logs() as lines:
        channel = await open_channel()
        sink.behave(drop_count=FOREVER, drop_at="rcpt")
        await channel.dispatch(outgoing())
    assert [line["event"] for line in lines] == ["mail server away"]
    assert ADDRESS not in str(lines)
