"""Where the message is (M11): what the notifier knows of it, told so that nobody learns who exists."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from zasov.auth.v1 import recovery_service_pb2, registration_service_pb2
from zasov.auth.v1.common_pb2 import (
    CONTACT_CHANNEL_EMAIL,
    CONTACT_CHANNEL_PHONE,
    CONTACT_CHANNEL_UNSPECIFIED,
    DELIVERY_STATE_DELIVERED,
    DELIVERY_STATE_NOT_DELIVERED,
    DELIVERY_STATE_UNDERWAY,
    Delivery,
)

from devstack.waiting import free_port
from services.notifier.domain import ChannelId
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.emails import goes_to, put_on_file, send_again, start_recovery
from tests.integration.auth.notifying import QUIET_S, Notifier, after_the_quiet, notifying, urls_with_a_clock
from tests.integration.auth.suite import NEW_PASSWORD, PHONE, UNKNOWN_PHONE, Suite, client, refusal
from tests.integration.databases import Databases


@pytest.fixture
async def urls(databases: Databases) -> AsyncIterator[dict[str, str]]:
    async with urls_with_a_clock(databases) as urls:
        yield urls


@pytest.fixture
async def notifier(databases: Databases) -> AsyncIterator[Notifier]:
    async with notifying(databases) as one:
        yield one


StartTelling = Callable[..., Awaitable[Suite]]


@pytest.fixture
def telling(start: StartSuite, notifier: Notifier) -> StartTelling:
    """A suite whose auth asks the notifier. otp: settings other than the defaults."""

    async def started(otp: dict[str, Any] | None = None, **auth: Any) -> Suite:
        suite = await start(auth={"notifier_address": notifier.address, "delivery_quiet_s": QUIET_S, **auth}, otp=otp)
        suite.notifier = notifier
        return suite

    return started


async def ask(suite: Suite, grant: str) -> Delivery:
    request = recovery_service_pb2.RecoveryServiceGetDeliveryRequest(grant=grant, client=client())
    return (await suite.auth.recovery.GetDelivery(request, timeout=10)).delivery


async def state(suite: Suite, grant: str) -> int:
    return (await ask(suite, grant)).state


@pytest.mark.row("M11")
async def test_the_receipt_is_told_once_the_first_seconds_are_over(telling: StartTelling, notifier: Notifier) -> None:
    suite = await telling()
    await suite.register()
    flow = suite.auth.flow("Recovery")
    delivered, lost, refused, waiting = [await flow.start() for _ in range(4)]
    await notifier.deliver(suite, delivered.grant)
    await notifier.submit(suite, lost.grant)
    await notifier.refuse(suite, refused.grant)
    await after_the_quiet(suite)
    grants = [sent.grant for sent in (delivered, lost, refused, waiting)]
    assert [await state(suite, grant) for grant in grants] == [
        DELIVERY_STATE_DELIVERED,
        DELIVERY_STATE_UNDERWAY,
        DELIVERY_STATE_NOT_DELIVERED,
        DELIVERY_STATE_UNDERWAY,
    ]
    answer = await ask(suite, delivered.grant)
    assert answer.channel == CONTACT_CHANNEL_UNSPECIFIED, "as it was asked for"
    assert (answer.expires_at, answer.ask_again_at) == (delivered.expires_at, delivered.ask_again_at)
    # The grant stays good.
    await flow.choose(await flow.confirm(delivered.grant, await suite.code_of(delivered.grant)), NEW_PASSWORD)


@pytest.mark.row("M5")
@pytest.mark.row("M11")
async def test_where_a_one_time_password_is_can_be_asked_and_its_grant_leads_nowhere_but_to_a_sign_in_with_it(
    telling: StartTelling, notifier: Notifier
) -> None:
    suite = await telling()
    await suite.register()
    known, unknown = await suite.auth.request_temporary(), await suite.auth.request_temporary(UNKNOWN_PHONE)
    await notifier.deliver(suite, known.grant)
    for asked in (known, unknown):
        assert await state(suite, asked.grant) == DELIVERY_STATE_UNDERWAY
    await after_the_quiet(suite)
    assert await state(suite, known.grant) == DELIVERY_STATE_DELIVERED
    assert await state(suite, unknown.grant) in (DELIVERY_STATE_DELIVERED, DELIVERY_STATE_UNDERWAY)
    answer = await ask(suite, known.grant)
    assert (answer.expires_at, answer.ask_again_at) == (known.expires_at, known.ask_again_at)
    password, recovery = await suite.code_of(known.grant), suite.auth.flow("Recovery")
    others = (
        recovery.confirm(known.grant, "1234"),
        recovery.choose(known.grant, NEW_PASSWORD),
        recovery.send_again(known.grant),
        suite.auth.choose_permanent(known.grant),
        suite.auth.confirm_proposed(known.grant, NEW_PASSWORD),
    )
    assert [(await refusal(call)).reason for call in others] == ["GRANT_INVALID"] * len(others)
    await suite.auth.choose_permanent(await suite.auth.use_temporary(password, grant=known.grant))


@pytest.mark.row("M11")
async def test_the_next_request_for_a_one_time_password_takes_no_place_of_the_one_before(telling: StartTelling) -> None:
    suite = await telling()
    await suite.register()
    first, second = [await suite.auth.request_temporary() for _ in range(2)]
    assert await state(suite, first.grant) == DELIVERY_STATE_UNDERWAY
    assert await state(suite, second.grant) == DELIVERY_STATE_UNDERWAY


@pytest.mark.row("M11")
async def test_in_the_first_seconds_everything_is_underway(telling: StartTelling, notifier: Notifier) -> None:
    """Else how fast the receipt comes tells that there is a handset."""
    suite = await telling(delivery_quiet_s=300)
    await suite.register()
    known, unknown = [await suite.auth.flow("Recovery").start(phone) for phone in (PHONE, UNKNOWN_PHONE)]
    await notifier.deliver(suite, known.grant)
    for sent in (known, unknown):
        assert await state(suite, sent.grant) == DELIVERY_STATE_UNDERWAY


@pytest.mark.row("M11")
async def test_what_comes_later_is_not_told_any_more(telling: StartTelling, notifier: Notifier) -> None:
    """A made-up answer doesn't change: a real one that did would tell that it is real."""
    suite = await telling()
    await suite.register()
    sent = await suite.auth.flow("Recovery").start()
    await after_the_quiet(suite)
    await notifier.deliver(suite, sent.grant)
    assert await state(suite, sent.grant) == DELIVERY_STATE_UNDERWAY


@pytest.mark.row("M11")
async def test_of_a_message_by_email_it_is_told_that_the_mail_server_took_it(telling: StartTelling, notifier: Notifier) -> None:
    suite = await telling()
    await put_on_file(suite, await suite.register())
    by_sms = await suite.auth.flow("Recovery").start()
    by_email = await send_again(suite, by_sms.grant, CONTACT_CHANNEL_EMAIL)
    await notifier.submit(suite, by_email.grant, ChannelId.EMAIL)
    await after_the_quiet(suite)
    answer = await ask(suite, by_email.grant)
    assert (answer.state, answer.channel) == (DELIVERY_STATE_DELIVERED, CONTACT_CHANNEL_EMAIL)
    assert (await refusal(ask(suite, by_sms.grant))).reason == "GRANT_INVALID", "exchanged for that of the newer code"


@pytest.mark.row("M11")
@pytest.mark.parametrize(("share", "made_up"), [(1.0, DELIVERY_STATE_DELIVERED), (0.0, DELIVERY_STATE_UNDERWAY)])
async def test_for_what_was_never_sent_an_answer_is_made_up(telling: StartTelling, share: float, made_up: int) -> None:
    suite = await telling(decoys_delivered_sms=share, decoys_delivered_email=1 - share)
    await suite.register()
    nobody = [await start_recovery(suite, one, UNKNOWN_PHONE) for one in (CONTACT_CHANNEL_PHONE, CONTACT_CHANNEL_EMAIL)]
    not_on_file = await start_recovery(suite, CONTACT_CHANNEL_EMAIL)
    assert await goes_to(suite, not_on_file.grant) == ""
    await after_the_quiet(suite)
    other = DELIVERY_STATE_UNDERWAY if made_up == DELIVERY_STATE_DELIVERED else DELIVERY_STATE_DELIVERED
    assert [await state(suite, sent.grant) for sent in nobody] == [made_up, other]
    assert await state(suite, not_on_file.grant) == other


@pytest.mark.row("M11")
async def test_with_the_smsc_away_none_arrives_that_is_made_up_either(telling: StartTelling, notifier: Notifier) -> None:
    """Else in each outage one answer tells who exists."""
    suite = await telling(decoys_delivered_sms=1.0)
    await suite.register()
    for _ in range(10):
        await notifier.submit(suite, (await suite.auth.flow("Recovery").start()).grant)
    unknown = await suite.auth.flow("Recovery").start(UNKNOWN_PHONE)
    await after_the_quiet(suite)
    assert await state(suite, unknown.grant) == DELIVERY_STATE_UNDERWAY


@pytest.mark.row("M11")
async def test_what_was_told_once_is_told_again_whatever_has_become_of_others_since(
    telling: StartTelling, notifier: Notifier
) -> None:
    suite = await telling(decoys_delivered_sms=1.0)
    await suite.register()
    unknown = await suite.auth.flow("Recovery").start(UNKNOWN_PHONE)
    await after_the_quiet(suite)
    assert await state(suite, unknown.grant) == DELIVERY_STATE_DELIVERED
    other = await suite.start_auth(notifier_address=f"127.0.0.1:{free_port()}", decoys_delivered_sms=0.0)
    request = recovery_service_pb2.RecoveryServiceGetDeliveryRequest(grant=unknown.grant, client=client())
    assert (await other.recovery.GetDelivery(request, timeout=10)).delivery.state == DELIVERY_STATE_DELIVERED


@pytest.mark.row("M11")
async def test_of_several_who_ask_at_once_all_are_told_the_same(telling: StartTelling, notifier: Notifier) -> None:
    suite = await telling()
    await suite.register()
    sent = await suite.auth.flow("Recovery").start()
    await notifier.deliver(suite, sent.grant)
    await after_the_quiet(suite)
    answers = await asyncio.gather(*(state(suite, sent.grant) for _ in range(10)))
    assert set(answers) == {DELIVERY_STATE_DELIVERED}


@pytest.mark.row("M10")
@pytest.mark.row("M11")
async def test_what_is_underway_when_the_code_is_over_arrives_no_more(telling: StartTelling) -> None:
    suite = await telling(otp={"code_lifetime_s": QUIET_S}, decoys_delivered_sms=0)
    await suite.register()
    sent = [await suite.auth.flow("Recovery").start(phone) for phone in (PHONE, UNKNOWN_PHONE)]
    await after_the_quiet(suite)
    for one in sent:
        assert await state(suite, one.grant) == DELIVERY_STATE_NOT_DELIVERED


@pytest.mark.row("M11")
async def test_with_the_notifier_away_nothing_is_told_of_anybody(telling: StartTelling) -> None:
    suite = await telling(notifier_address=f"127.0.0.1:{free_port()}")
    await suite.register()
    known, unknown = [await suite.auth.flow("Recovery").start(phone) for phone in (PHONE, UNKNOWN_PHONE)]
    await after_the_quiet(suite)
    refused = [await refusal(ask(suite, sent.grant)) for sent in (known, unknown)]
    assert refused[0] == refused[1]
    assert refused[0].code == "UNAVAILABLE"
    assert all(one.retry_s for one in refused)
    flow = suite.auth.flow("Recovery")
    await flow.choose(await flow.confirm(known.grant, await suite.code_of(known.grant)), NEW_PASSWORD)


@pytest.mark.row("M11")
async def test_only_the_grant_of_the_step_that_waits_for_a_code_is_told_anything(
    telling: StartTelling, notifier: Notifier
) -> None:
    suite = await telling()
    flow = suite.auth.flow("Registration")
    sent = await flow.start()
    await notifier.deliver(suite, sent.grant)
    await after_the_quiet(suite)
    request = registration_service_pb2.RegistrationServiceGetDeliveryRequest(grant=sent.grant, client=client())
    told = (await suite.auth.registration.GetDelivery(request, timeout=10)).delivery
    assert told.state == DELIVERY_STATE_DELIVERED
    assert (await refusal(ask(suite, sent.grant))).reason == "GRANT_INVALID", "of another flow"
    confirmed = await flow.confirm(sent.grant, await suite.code_of(sent.grant))
    request = registration_service_pb2.RegistrationServiceGetDeliveryRequest(grant=confirmed, client=client())
    assert (await refusal(suite.auth.registration.GetDelivery(request, timeout=10))).reason == "GRANT_INVALID"
