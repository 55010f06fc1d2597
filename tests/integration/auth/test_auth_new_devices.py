"""Sign-ins from new devices, ends of blocks, and repetitions: what the subscriber can be told of, and how often."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from zasov.auth.v1 import recovery_service_pb2
from zasov.events.v1.auth_event_pb2 import AuthEvent

from services.chassis.eventstore import payload_of
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PASSWORD, PHONE, Suite, client, refusal
from tests.integration.auth.test_auth_notices import claim

pytestmark = pytest.mark.row("M20")

NEW = "SignedInFromNewDevice"


async def events(suite: Suite, kind: str) -> list[UUID]:
    rows = await suite.sql.fetch("SELECT event_id FROM event WHERE type = $1 ORDER BY stream_id, version", kind)
    return [row["event_id"] for row in rows]


async def payloads(suite: Suite, kind: str) -> list[Any]:
    rows = await suite.sql.fetch("SELECT data FROM event WHERE type = $1 ORDER BY stream_id, version", kind)
    return [payload_of(AuthEvent.FromString(row["data"])) for row in rows]


async def open_notices(suite: Suite) -> list[str]:
    """Of which events, in order, the subscriber is to be told."""
    rows = await suite.sql.fetch(
        "SELECT e.type FROM notice JOIN event e USING (event_id) WHERE closed_at IS NULL ORDER BY e.version"
    )
    return [row["type"] for row in rows]


async def test_the_first_sign_in_from_a_new_device_is_told_of_and_the_next_ones_are_not(suite: Suite) -> None:
    session = await suite.register()
    await suite.auth.sign_in()
    assert await events(suite, NEW) == []
    begun = await suite.auth.sign_in(device_id="a laptop")
    await suite.auth.sign_in(device_id="a laptop")
    await suite.auth.sign_in()
    (event,) = await events(suite, NEW)
    (said,) = await payloads(suite, NEW)
    assert said.session_id == begun.session_id
    claimed = await claim(suite, session.account_id, event)
    assert (claimed.phone, claimed.language) == (PHONE, "ru")
    assert await open_notices(suite) == [NEW]


async def test_a_device_without_a_name_is_nobodys_news(suite: Suite) -> None:
    await suite.register()
    await suite.auth.sign_in(device_id="")
    assert await events(suite, NEW) == []
    assert await suite.sql.fetchval("SELECT cardinality(devices) FROM account") == 1


async def test_a_wrong_password_makes_no_device_known(suite: Suite) -> None:
    await suite.register()
    assert (await refusal(suite.auth.sign_in(password="Wrong-1-password", device_id="a laptop"))).reason
    await suite.play_stream()
    assert await events(suite, NEW) == []
    await suite.auth.sign_in(device_id="a laptop")
    assert len(await events(suite, NEW)) == 1


async def test_of_many_sign_ins_at_once_from_one_new_device_one_is_new(suite: Suite) -> None:
    await suite.register()
    other = await suite.start_auth()
    replicas = (suite.auth, other)
    await asyncio.gather(*(replicas[n % 2].sign_in(device_id="a laptop") for n in range(10)))
    assert len(await events(suite, NEW)) == 1
    assert await open_notices(suite) == [NEW]


async def test_within_a_while_of_one_that_was_told_others_are_quiet_and_void_at_once(suite: Suite) -> None:
    account = (await suite.register()).account_id
    for device in ("a laptop", "a tablet"):
        await suite.auth.sign_in(device_id=device)
    first, second = await events(suite, NEW)
    await claim(suite, account, first)
    assert (await refusal(claim(suite, account, second))).reason == "DELIVERY_VOID"
    # Those that were quiet don't count: nobody stays quiet by going on.
    await suite.sql.execute("UPDATE told SET told_at = told_at - interval '599 s'")
    await suite.auth.sign_in(device_id="a watch")
    await suite.sql.execute("UPDATE told SET told_at = told_at - interval '1 s'")
    await suite.auth.sign_in(device_id="a fridge")
    assert [await _is_told(suite, account, event) for event in await events(suite, NEW)] == [True, False, False, True]


async def _is_told(suite: Suite, account: str, event: UUID) -> bool:
    open_ = "SELECT closed_at IS NULL FROM notice WHERE account_id = $1 AND event_id = $2"
    return bool(await suite.sql.fetchval(open_, UUID(account), event))


async def test_one_subscribers_quiet_is_not_anothers(suite: Suite) -> None:
    for phone in (PHONE, OTHER_PHONE):
        await suite.register(phone)
        await suite.auth.sign_in(phone, device_id="a laptop")
    assert await open_notices(suite) == [NEW, NEW]


async def test_a_password_that_is_changed_again_and_again_is_told_of_once_in_a_while(suite: Suite) -> None:
    session = await suite.register()
    await suite.auth.change(session.token)
    await suite.auth.change(session.token, NEW_PASSWORD, PASSWORD)
    assert await open_notices(suite) == ["PasswordChanged"]
    # Another kind has a time of its own: a change hides no sign-in.
    await suite.auth.sign_in(device_id="a laptop")
    assert await open_notices(suite) == ["PasswordChanged", NEW]
    await suite.sql.execute("UPDATE told SET told_at = told_at - interval '60 s'")
    await suite.auth.change(session.token)
    assert await open_notices(suite) == ["PasswordChanged", NEW, "PasswordChanged"]


async def test_new_passwords_by_codes_are_never_quiet(suite: Suite) -> None:
    session = await suite.register()
    await suite.auth.change(session.token)
    for password in (PASSWORD, NEW_PASSWORD):
        await suite.recover(password=password)
    assert await open_notices(suite) == ["PasswordChanged", "PasswordReset", "PasswordReset"]


async def test_with_the_times_at_nought_everything_is_told_of(start: StartSuite) -> None:
    suite = await start(auth={"notice_repeat_s": 0, "new_device_notice_s": 0})
    await suite.register()
    for device in ("a laptop", "a tablet"):
        await suite.auth.sign_in(device_id=device)
    assert await open_notices(suite) == [NEW, NEW]


async def test_switched_off_devices_are_learned_and_nobody_is_told(start: StartSuite) -> None:
    suite = await start(auth={"new_device_notices": False})
    account = (await suite.register()).account_id
    await suite.auth.sign_in(device_id="a laptop")
    assert await open_notices(suite) == []
    (event,) = await events(suite, NEW)
    assert (await refusal(claim(suite, account, event))).reason == "DELIVERY_VOID"
    told = await suite.start_auth(new_device_notices=True)
    await told.sign_in(device_id="a laptop")
    assert await open_notices(suite) == []


async def test_a_recovery_from_a_new_device_is_one_message_and_makes_it_the_only_one_that_is_known(suite: Suite) -> None:
    await suite.register()
    await suite.auth.sign_in(device_id="a thief's")
    grant = await suite.confirmed("Recovery")
    request = recovery_service_pb2.ChooseRecoveryPasswordRequest(
        grant=grant, password=NEW_PASSWORD, client=client(device_id="a library's")
    )
    await suite.auth.recovery.ChooseRecoveryPassword(request, timeout=20)
    assert await open_notices(suite) == [NEW, "PasswordReset"]
    await suite.auth.sign_in(password=NEW_PASSWORD, device_id="a library's")
    assert len(await events(suite, NEW)) == 1
    await suite.auth.sign_in(password=NEW_PASSWORD, device_id="a thief's")
    assert len(await events(suite, NEW)) == 2


@pytest.mark.row("M3")
@pytest.mark.parametrize(("wrong", "lifted"), [(2, False), (3, True)])
async def test_the_end_of_a_block_is_told_with_the_new_password(suite: Suite, wrong: int, lifted: bool) -> None:
    await suite.register()
    await suite.wrong(wrong)
    await suite.recover()
    assert [one.lifted_block for one in await payloads(suite, "PasswordReset")] == [lifted]
    assert await open_notices(suite) == ["PasswordReset"]
    await suite.recover(password=PASSWORD)
    assert [one.lifted_block for one in await payloads(suite, "PasswordReset")] == [lifted, False]


@pytest.mark.row("M5")
@pytest.mark.parametrize(("wrong", "told"), [(0, ["PasswordReset"]), (3, ["TemporaryPasswordUsed", "PasswordReset"])])
async def test_a_one_time_password_that_lifts_a_block_is_told_of_and_another_by_the_choice_alone(
    suite: Suite, wrong: int, told: list[str]
) -> None:
    account = (await suite.register()).account_id
    await suite.wrong(wrong)
    grant = await suite.auth.use_temporary(await suite.temporary_password())
    assert await open_notices(suite) == told[:-1]
    if wrong:
        (used,) = await events(suite, "TemporaryPasswordUsed")
        assert (await claim(suite, account, used)).phone == PHONE
    await suite.auth.choose_permanent(grant)
    assert await open_notices(suite) == told
    assert not (await payloads(suite, "PasswordReset"))[0].lifted_block, "said already"


@pytest.mark.row("B2")
async def test_the_name_of_a_device_is_kept_nowhere(suite: Suite) -> None:
    await suite.register()
    await suite.auth.sign_in(device_id="CANARY-OF-A-LAPTOP")
    rows = [
        *await suite.sql.fetch("SELECT data, secret FROM event"),
        *await suite.sql.fetch("SELECT devices FROM account"),
        *await suite.sql.fetch("SELECT * FROM session"),
    ]
    assert not any(b"CANARY" in bytes(str(part), "utf-8") for row in rows for part in row)
    marks = await suite.sql.fetchval("SELECT devices FROM account")
    assert [len(mark) for mark in marks] == [16, 16]
