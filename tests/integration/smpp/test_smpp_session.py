"""The session against the dev stack's SMSC: what becomes of a submit, of a delivery, and of the link."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from devstack.handsets import Handsets
from devstack.smsc import Smsc
from services.notifier.smpp import BindRefused, MessageState, NotSent, Outcome, Refused, Sent, SmppClient, Unknown
from services.notifier.smpp.codec import Pdu, decode, encode, read_frame
from tests.integration.smpp.conftest import NUMBER, Connect, Inbox, SmscProcess

StartSmsc = Callable[..., Awaitable[SmscProcess]]

_references = itertools.count()


def submit(client: SmppClient, text: str = "hi", validity: timedelta | None = None) -> Awaitable[Outcome]:
    return client.submit(destination=NUMBER, text=text, source="Zasov", validity=validity, reference=next(_references))


async def until(condition: Callable[[], bool]) -> None:
    """For states that nothing announces; everything else is awaited."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(talk: Talk) -> AsyncIterator[int]:
    """A server played by hand; its port. Leaves when every connection is over."""
    talks: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(tracked, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*talks)


# -- submits


@pytest.mark.row("B3")
async def test_a_text_reaches_its_handset_and_its_receipt_comes_back(
    client: SmppClient, handsets: Handsets, inbox: Inbox
) -> None:
    outcome = await submit(client, "Код 1234", timedelta(minutes=5))
    assert isinstance(outcome, Sent)
    message = await handsets.wait(NUMBER)
    assert (message.text, message.source, message.message_ids) == ("Код 1234", "Zasov", outcome.message_ids)
    assert message.validity_period in ("000000000500000R", "000000000459000R")
    receipt = await inbox.receipt()
    assert (receipt.message_id, receipt.state) == (outcome.message_id, MessageState.DELIVERED)


async def test_a_long_text_arrives_whole_and_every_part_is_named(client: SmppClient, handsets: Handsets, inbox: Inbox) -> None:
    text = "Длинный текст с 😀 " * 20
    outcome = await submit(client, text)
    assert isinstance(outcome, Sent)
    message = await handsets.wait(NUMBER)
    assert (message.text, message.message_ids) == (text, outcome.message_ids)
    assert message.parts == len(outcome.message_ids) > 1
    assert {(await inbox.receipt()).message_id for _ in outcome.message_ids} == set(outcome.message_ids)


async def test_a_throttled_message_may_be_retried_and_slows_the_client(client: SmppClient, handsets: Handsets) -> None:
    await handsets.set_behaviour(refuse_count=1, refuse_status=0x58)
    assert await submit(client) == NotSent("the SMSC asks to slow down", retryable=True, status=0x58)
    assert client.counters.slowed_down == 1
    assert isinstance(await submit(client), Sent)


async def test_a_throttled_later_part_is_tried_again_at_once(client: SmppClient, smsc: Smsc, handsets: Handsets) -> None:
    accept = smsc.centre.accept

    def accept_and_throttle_the_next(pdu):  # type: ignore[no-untyped-def]
        smsc.centre.behaviour = smsc.centre.behaviour.changed({"refuse_count": smsc.centre.submits == 0})
        return accept(pdu)

    smsc.centre.accept = accept_and_throttle_the_next  # type: ignore[method-assign]
    assert isinstance(await submit(client, "ж" * 100), Sent)
    assert client.counters.slowed_down == 1
    assert (await handsets.wait(NUMBER)).parts == 2


@pytest.mark.parametrize("status", [0x0B, 0x45, 0x400, 0x4FF, 0x80000001])
async def test_a_refusal_is_terminal_and_keeps_the_link(client: SmppClient, handsets: Handsets, status: int) -> None:
    await handsets.set_behaviour(refuse_count=1, refuse_status=status)
    outcome = await submit(client)
    assert isinstance(outcome, NotSent)
    assert (outcome.retryable, outcome.status) == (False, status)
    assert isinstance(await submit(client), Sent)
    assert client.counters.links == 1


async def test_no_answer_in_time_is_unknown_and_frees_the_window(connect: Connect, smsc: Smsc, handsets: Handsets) -> None:
    client = await connect(smsc.address[1], window=1, response_timeout_s=0.1)
    await handsets.set_behaviour(lose_count=1)
    assert isinstance(await submit(client), Unknown)
    assert isinstance(await submit(client), Sent)


async def test_a_late_answer_is_not_taken_for_anothers(connect: Connect, smsc: Smsc, handsets: Handsets) -> None:
    client = await connect(smsc.address[1], response_timeout_s=0.2)
    await handsets.set_behaviour(response_delay_s=0.3)
    assert isinstance(await submit(client, "late"), Unknown)
    await handsets.set_behaviour(response_delay_s=0)
    outcome = await submit(client, "next")
    assert isinstance(outcome, Sent)
    await until(lambda: client.counters.late_responses == 1)
    late, following = await handsets.wait(NUMBER), await handsets.wait(NUMBER, after=1)
    ids = {message.text: message.message_ids for message in (late, following)}
    assert ids["next"] == outcome.message_ids


async def test_an_answer_that_comes_twice_frees_one_place_and_is_not_taken_for_anothers(
    connect: Connect, smsc: Smsc, handsets: Handsets
) -> None:
    client = await connect(smsc.address[1], window=2)
    await handsets.set_behaviour(twice=True)
    outcomes = [await submit(client) for _ in range(5)]
    assert len({outcome.message_id for outcome in outcomes if isinstance(outcome, Sent)}) == 5
    await until(lambda: client.counters.late_responses == 5)
    await handsets.set_behaviour(response_delay_s=0.3)
    waiting = [asyncio.ensure_future(submit(client)) for _ in range(10)]
    await until(lambda: smsc.centre.submits == 7)
    await asyncio.sleep(0.1)
    assert smsc.centre.submits == 7
    for one in waiting:
        one.cancel()


async def test_while_disconnected_nothing_is_sent_and_a_retry_is_safe(connect: Connect, start_smsc: StartSmsc) -> None:
    smsc = await start_smsc()
    client = await connect(smsc.port)
    smsc.process.kill()
    await until(lambda: not client.bound)
    assert await submit(client) == NotSent("not bound to the SMSC", retryable=True)


@pytest.mark.kills
async def test_a_killed_smsc_leaves_at_most_one_window_of_unknown_outcomes(connect: Connect, start_smsc: StartSmsc) -> None:
    smsc = await start_smsc()
    client = await connect(smsc.port, window=10)
    handsets = Handsets(smsc.control)
    await handsets.set_behaviour(response_delay_s=60)
    submits = [asyncio.ensure_future(submit(client)) for _ in range(40)]
    async with asyncio.timeout(5):
        while (await handsets.state())["submits"] < 10:
            pass
    smsc.process.kill()
    outcomes = await asyncio.gather(*submits)
    assert sum(isinstance(outcome, Unknown) for outcome in outcomes) == 10
    not_sent = [outcome for outcome in outcomes if isinstance(outcome, NotSent)]
    assert len(not_sent) == 30
    assert all(outcome.retryable for outcome in not_sent)


async def test_the_window_is_never_exceeded_even_by_callers_who_gave_up(
    connect: Connect, smsc: Smsc, handsets: Handsets
) -> None:
    client = await connect(smsc.address[1], window=3, response_timeout_s=0.3)
    await handsets.set_behaviour(response_delay_s=60)
    for _ in range(5):
        hasty = asyncio.ensure_future(submit(client))
        await asyncio.wait({hasty}, timeout=0.02)
        hasty.cancel()
    assert smsc.centre.submits == 3


async def test_the_rate_is_kept(connect: Connect, smsc: Smsc) -> None:
    client = await connect(smsc.address[1], rate=50)  # a burst of five
    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(submit(client) for _ in range(20)))
    assert asyncio.get_running_loop().time() - begun >= 0.28


@pytest.mark.row("M10")
async def test_a_message_whose_validity_ran_out_in_the_queue_is_not_sent(
    connect: Connect, smsc: Smsc, handsets: Handsets
) -> None:
    client = await connect(smsc.address[1], window=1)
    await handsets.set_behaviour(response_delay_s=0.15)
    first = asyncio.ensure_future(submit(client))
    await until(lambda: smsc.centre.submits == 1)
    outcome = await submit(client, validity=timedelta(seconds=1.1))
    assert outcome == NotSent("the message's validity ended before it could be sent", retryable=False)
    assert isinstance(await first, Sent)
    assert smsc.centre.submits == 1


@pytest.mark.row("M10")
async def test_a_message_that_could_only_arrive_too_late_is_never_delivered(
    client: SmppClient, handsets: Handsets, inbox: Inbox
) -> None:
    await handsets.switch(NUMBER, on=False)
    outcome = await submit(client, "Код 1234", timedelta(seconds=1.5))
    assert isinstance(outcome, Sent)
    async with asyncio.timeout(4):
        receipt = await inbox.receipt()
    assert (receipt.message_id, receipt.state) == (outcome.message_id, MessageState.EXPIRED)
    await handsets.switch(NUMBER, on=True)
    await submit(client, "later")
    assert (await handsets.wait(NUMBER)).text == "later"


async def test_a_handset_switched_on_in_time_gets_what_was_held(client: SmppClient, handsets: Handsets) -> None:
    await handsets.switch(NUMBER, on=False)
    await submit(client, "held", timedelta(minutes=5))
    assert await handsets.messages(NUMBER) == []
    await handsets.switch(NUMBER, on=True)
    assert (await handsets.wait(NUMBER)).text == "held"


# -- receipts


@pytest.mark.row("M11")
@pytest.mark.parametrize("form", ["text", "long_dates", "tlv_only", "hex_err"])
@pytest.mark.parametrize("state", ["DELIVERED", "UNDELIVERABLE"])
async def test_receipts_of_every_form_are_understood(
    client: SmppClient, handsets: Handsets, inbox: Inbox, form: str, state: str
) -> None:
    await handsets.set_behaviour(receipt_form=form, final_state=state)
    outcome = await submit(client)
    assert isinstance(outcome, Sent)
    receipt = await inbox.receipt()
    assert (receipt.message_id, receipt.state) == (outcome.message_id, MessageState[state])


@pytest.mark.row("M11")
async def test_a_receipt_may_come_before_the_response(client: SmppClient, handsets: Handsets, inbox: Inbox) -> None:
    await handsets.set_behaviour(receipt_before_response=True)
    submitting = asyncio.ensure_future(submit(client))
    receipt = await inbox.receipt()
    assert not submitting.done()
    outcome = await submitting
    assert isinstance(outcome, Sent)
    assert outcome.message_id == receipt.message_id


async def test_a_delivery_is_acknowledged_only_after_its_handler_has_committed(
    connect: Connect, smsc: Smsc, handsets: Handsets, inbox: Inbox
) -> None:
    may_commit, started = asyncio.Event(), asyncio.Event()

    async def slow(text: object) -> None:
        started.set()
        await may_commit.wait()

    inbox.on_text = slow  # type: ignore[method-assign, assignment]
    await connect(smsc.address[1])
    sending = asyncio.ensure_future(handsets.send(NUMBER, "3339", "ПАРОЛЬ", acknowledged=True))
    await started.wait()
    assert smsc.centre.undelivered == 1
    may_commit.set()
    await sending
    assert smsc.centre.undelivered == 0


async def test_a_delivery_whose_handler_fails_is_delivered_again(
    client: SmppClient, handsets: Handsets, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    await handsets.set_behaviour(retry_s=0.01)
    inbox.fail = 2
    await handsets.send(NUMBER, "3339", "ПАРОЛЬ", acknowledged=True)
    assert (await inbox.text()).body == "ПАРОЛЬ".encode("utf-16-be")
    assert inbox.calls == 3
    assert client.counters.deliveries_put_off == 2
    assert "database" not in caplog.text


async def test_an_unacknowledged_delivery_comes_again_over_the_next_link(
    client: SmppClient, smsc: Smsc, handsets: Handsets, inbox: Inbox
) -> None:
    await handsets.drop_all()
    await handsets.send(NUMBER, "3339", "ПАРОЛЬ", acknowledged=True)
    assert (await inbox.text()).destination == "3339"


async def test_what_a_handler_refuses_is_not_delivered_again(
    connect: Connect, smsc: Smsc, handsets: Handsets, inbox: Inbox
) -> None:
    calls = 0

    async def refuse(text: object) -> None:
        nonlocal calls
        calls += 1
        raise Refused

    inbox.on_text = refuse  # type: ignore[method-assign, assignment]
    client = await connect(smsc.address[1])
    await handsets.set_behaviour(retry_s=0.01)
    await handsets.send(NUMBER, "3339", "ПАРОЛЬ", acknowledged=True)
    assert (calls, smsc.centre.undelivered, client.counters.deliveries_put_off) == (1, 0, 0)


# -- the link


async def test_an_undecodable_delivery_is_refused_for_good_and_keeps_the_link(client: SmppClient, smsc: Smsc) -> None:
    (session,) = smsc.sessions
    answer = session._answers[77] = asyncio.get_running_loop().create_future()
    session.write(bytes.fromhex("00000014 00000005 00000000 0000004d ffffffff"))
    assert await answer == 0x65
    assert isinstance(await submit(client), Sent)
    assert client.counters.links == 1


async def test_an_unknown_command_gets_a_nack_and_keeps_the_link(client: SmppClient, smsc: Smsc) -> None:
    (session,) = smsc.sessions
    answer = session._answers[78] = asyncio.get_running_loop().create_future()
    session.write(bytes.fromhex("00000010 00000777 00000000 0000004e"))
    assert await answer == 0x03
    assert client.bound


async def test_a_wrong_password_is_a_typed_refusal_at_once(connect: Connect, smsc: Smsc) -> None:
    client = await connect(smsc.address[1], wait=False, password="wrong")
    with pytest.raises(BindRefused) as refused:
        await client.wait_bound(5)
    assert refused.value.status == 0x0E


async def test_an_smsc_that_says_nothing_to_the_bind_is_a_timeout(connect: Connect) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with peer(say_nothing) as port:
        client = await connect(port, wait=False, bind_timeout_s=0.05)
        with pytest.raises(TimeoutError):
            await client.wait_bound(0.2)
        await client.close()


async def test_a_lost_link_is_bound_again(client: SmppClient, handsets: Handsets) -> None:
    for links in (2, 3):
        await handsets.drop_all()
        await until(lambda links=links: client.bound and client.counters.links == links)  # type: ignore[misc]
        assert isinstance(await submit(client), Sent)


async def test_an_unbinding_smsc_still_answers_what_it_has(client: SmppClient, handsets: Handsets) -> None:
    await handsets.set_behaviour(response_delay_s=0.1)
    submits = [asyncio.ensure_future(submit(client)) for _ in range(5)]
    await until(lambda: client._link is not None and len(client._link._window) == 5)
    await handsets.unbind_all()
    assert all(isinstance(outcome, Sent) for outcome in await asyncio.gather(*submits))
    await until(lambda: client.counters.links == 2)


async def test_silence_is_noticed_by_enquire_link(connect: Connect, smsc: Smsc, handsets: Handsets) -> None:
    client = await connect(smsc.address[1], enquire_idle_s=0.05, response_timeout_s=0.1)
    await asyncio.sleep(0.4)
    assert client.counters.links == 1  # answered, and so kept
    await handsets.set_behaviour(ignore_enquire_link=True)
    await until(lambda: client.counters.links >= 2)


@pytest.mark.kills
async def test_a_stopped_smsc_is_noticed_and_its_window_is_unknown(connect: Connect, start_smsc: StartSmsc) -> None:
    smsc = await start_smsc()
    client = await connect(smsc.port, enquire_idle_s=0.1, response_timeout_s=0.3, bind_timeout_s=0.2)
    smsc.process.send_signal(signal.SIGSTOP)
    outcomes = await asyncio.gather(*(submit(client) for _ in range(3)))
    assert all(isinstance(outcome, Unknown) for outcome in outcomes)
    await until(lambda: not client.bound)
    smsc.process.send_signal(signal.SIGCONT)
    await client.wait_bound(5)
    assert isinstance(await submit(client), Sent)


async def test_a_restarted_smsc_is_found_again(connect: Connect, start_smsc: StartSmsc) -> None:
    first = await start_smsc()
    client = await connect(first.port)
    await submit(client, "before")
    await Handsets(first.control).wait(NUMBER)
    first.process.kill()
    await first.process.wait()
    second = await start_smsc(first.port)
    await client.wait_bound(5)
    assert isinstance(await submit(client, "after"), Sent)
    # The handset kept what it had.
    assert (await Handsets(second.control).wait(NUMBER, after=1)).text == "after"


async def test_the_client_answers_enquire_link_and_unbind_with_their_sequence(connect: Connect) -> None:
    answers: asyncio.Queue[Pdu] = asyncio.Queue()

    async def by_hand(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bind = decode(await read_frame(reader))
        # Some SMSCs ask before they have answered the bind.
        writer.write(encode("enquire_link", 4))
        answers.put_nowait(decode(await read_frame(reader)))
        writer.write(encode("bind_transceiver_resp", bind.sequence, {"system_id": "by hand"}))
        for command, sequence in (("enquire_link", 5), ("unbind", 6)):
            writer.write(encode(command, sequence))
            answers.put_nowait(decode(await read_frame(reader)))
        await reader.read()

    async with peer(by_hand) as port:
        client = await connect(port, reconnect_min_s=5, reconnect_max_s=5)
        seen = [await answers.get() for _ in range(3)]
        assert [(pdu.command, pdu.sequence) for pdu in seen] == [
            ("enquire_link_resp", 4),
            ("enquire_link_resp", 5),
            ("unbind_resp", 6),
        ]
        await until(lambda: not client.bound)
        await client.close()


async def test_a_busy_handler_holds_the_smsc_back_and_is_not_mistaken_for_silence(
    connect: Connect, smsc: Smsc, handsets: Handsets, inbox: Inbox
) -> None:
    gate = asyncio.Event()
    running = 0
    most = 0

    async def slow(text: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    inbox.on_text = slow  # type: ignore[method-assign, assignment]
    client = await connect(smsc.address[1], inbound_window=2, enquire_idle_s=0.05, response_timeout_s=0.1)
    for _ in range(6):
        await handsets.send(NUMBER, "3339", "hi")
    await until(lambda: running == 2)
    await asyncio.sleep(0.3)  # well past the silence that would end the link
    gate.set()
    await until(lambda: smsc.centre.undelivered == 0)
    assert most == 2
    assert client.counters.links == 1


async def test_closing_waits_for_the_window_and_takes_nothing_new(connect: Connect, smsc: Smsc, handsets: Handsets) -> None:
    client = await connect(smsc.address[1], window=3)
    await handsets.set_behaviour(response_delay_s=0.1)
    submits = [asyncio.ensure_future(submit(client)) for _ in range(5)]
    await until(lambda: smsc.centre.submits == 3)
    await client.close()
    assert await submit(client) == NotSent("not bound to the SMSC", retryable=True)
    outcomes = await asyncio.gather(*submits)
    assert [type(outcome) for outcome in outcomes] == [Sent, Sent, Sent, NotSent, NotSent]
    await until(lambda: not smsc.sessions)


@pytest.mark.row("B2")
async def test_nothing_is_logged_that_a_subscriber_said_or_is(
    client: SmppClient, handsets: Handsets, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    inbox.fail = 1
    await submit(client, "canary-1234")
    await handsets.send(NUMBER, "3339", "canary-5678", acknowledged=True)
    await handsets.drop_all()
    await client.wait_bound(5)
    assert "canary" not in caplog.text
    assert NUMBER.removeprefix("+") not in caplog.text
    assert "devstack" not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("services"))
