"""Many at once, at two replicas, at what came with numbers, emails on file and slips: three and one, as anywhere."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.emails import EMAIL, confirm_change, goes_to, start_change, start_recovery
from tests.integration.auth.numbers import (
    ACCOUNT,
    EMAIL_CHANNEL,
    PHONE_CHANNEL,
    SAID,
    UNKNOWN_ACCOUNT,
    contacts_of,
    put,
    send_to,
    sign_in_by,
)
from tests.integration.auth.office import OF_OFFICE, office_of
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PASSWORD, PHONE, Auth, Suite, refusal, refusal_of

WRONG = "Wrong-1-password"
# By each, a number that comes to it: one that nobody has yet, and somebody's.
FLOWS = [("Registration", OTHER_PHONE), ("Recovery", PHONE)]
# Nobody is refused for want of a place in the line: what keeps guesses out here is the guard alone.
ROOM: dict[str, Any] = {"hash_places": 400, "hash_places_per_subject": 400}


@pytest.fixture
async def suite(start: StartSuite) -> Suite:
    """Somebody who registered, and whose number and email were put on file."""
    suite = await start(auth=ROOM, lockout={"admission_wait_s": 15})
    suite.said |= SAID
    await suite.register()
    await put(suite.auth, phone=PHONE, account_numbers=[ACCOUNT], email="vera.old@example.org")
    return suite


async def at_once(
    suite: Suite, ways: Sequence[Callable[[Auth], Awaitable[Any]]], times: int, *replicas: Auth
) -> tuple[list[Any], Counter[str]]:
    """So many calls, of each way and at each replica in turn: the answers, and the refusals' reasons."""
    both = replicas or (suite.auth, await suite.start_auth())
    calls = (ways[n % len(ways)](both[n // len(ways) % len(both)]) for n in range(times))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = Counter(refusal_of(one).reason for one in answers if isinstance(one, BaseException))
    return [one for one in answers if not isinstance(one, BaseException)], refused


async def checks(suite: Suite, kind: str) -> int:
    return int(await suite.otp_sql.fetchval("SELECT count(*) FROM event WHERE type = $1", kind))


@pytest.mark.row("M12")
@pytest.mark.row("M3")
@pytest.mark.row("B1")
@pytest.mark.parametrize("number", [ACCOUNT, UNKNOWN_ACCOUNT])
async def test_of_a_hundred_guesses_at_once_by_phone_and_by_number_three_are_evaluated(
    suite: Suite, evaluated: list[bool], number: str
) -> None:
    by_number = [lambda auth: sign_in_by(auth, WRONG, account_number=number)]
    by_phone = [lambda auth: sign_in_by(auth, WRONG, phone=PHONE)] if number == ACCOUNT else []
    async with suite.streaming():
        got_in, refused = await at_once(suite, [*by_number, *by_phone], 100)
    assert (got_in, evaluated) == ([], [False] * 3)
    assert refused == {"CREDENTIALS_REJECTED": 3, "SIGN_IN_BLOCKED": 97}
    blocked = await suite.lockout_sql.fetch("SELECT strikes FROM subject WHERE blocked_at IS NOT NULL")
    assert [row["strikes"] for row in blocked] == [3], "one subject, whichever way they came"
    assert (await refusal(sign_in_by(suite.auth, PASSWORD, account_number=number))).reason == "SIGN_IN_BLOCKED"
    assert await suite.open_attempts() == 0


@pytest.mark.row("M11")
@pytest.mark.row("M22")
@pytest.mark.row("B1")
async def test_of_a_hundred_guesses_at_once_at_sign_in_and_at_a_change_of_email_three_are_evaluated(
    suite: Suite, evaluated: list[bool]
) -> None:
    session = await suite.auth.sign_in()
    evaluated.clear()
    other = await suite.start_auth()
    changes = [lambda auth: start_change(suite, session.token, password=WRONG, auth=auth)]
    async with suite.streaming():
        begun, refused = await at_once(suite, [*changes, lambda auth: auth.sign_in(password=WRONG)], 100, suite.auth, other)
    assert (begun, evaluated) == ([], [False] * 3)
    assert refused == {"CREDENTIALS_REJECTED": 3, "SIGN_IN_BLOCKED": 97}
    assert (await suite.kinds(session.account_id)).count("LoginFailed") == await suite.strikes(session.account_id) == 3
    assert (await refusal(start_change(suite, session.token))).reason == "SIGN_IN_BLOCKED"
    assert await suite.otp_sql.fetchval("SELECT count(*) FROM challenge WHERE state = 'open'") == 0, "nothing was sent"


@pytest.mark.row("M11")
async def test_of_fifty_wrong_codes_at_once_three_are_checked_and_the_address_stays(suite: Suite) -> None:
    session = await suite.auth.sign_in()
    sent = await start_change(suite, session.token)
    right = await suite.code_of(sent.grant)
    wrong = f"{(int(right) + 1) % 10**sent.digits:0{sent.digits}d}"
    done, refused = await at_once(suite, [lambda auth: confirm_change(suite, session.token, sent.grant, wrong, auth)], 50)
    assert (done, refused) == ([], {"CODE_REJECTED": 3, "CODE_DEAD": 47})
    assert await checks(suite, "OtpFailed") == 3
    assert (await refusal(confirm_change(suite, session.token, sent.grant, right))).reason == "CODE_DEAD"
    assert await goes_to(suite, (await start_recovery(suite, EMAIL_CHANNEL)).grant) != EMAIL


@pytest.mark.row("M11")
async def test_of_twenty_right_codes_at_once_one_changes_the_address(suite: Suite) -> None:
    session = await suite.auth.sign_in()
    sent = await start_change(suite, session.token)
    code = await suite.code_of(sent.grant)
    before = await checks(suite, "OtpVerified")
    changed = "SELECT count(*) FROM event WHERE type = 'ContactChanged'"
    changes = await suite.sql.fetchval(changed)
    done, refused = await at_once(suite, [lambda auth: confirm_change(suite, session.token, sent.grant, code, auth)], 20)
    assert done == [None]
    assert refused.keys() <= {"CODE_DEAD", "GRANT_INVALID"}
    assert await suite.sql.fetchval(changed) == changes + 1
    assert await checks(suite, "OtpVerified") == before + 1
    assert await goes_to(suite, (await start_recovery(suite, EMAIL_CHANNEL)).grant) == EMAIL


@pytest.mark.row("M2")
@pytest.mark.row("M4")
@pytest.mark.row("B1")
@pytest.mark.parametrize(("kind", "phone"), FLOWS)
async def test_of_fifty_wrong_codes_of_a_flow_at_once_three_are_checked_and_the_right_one_is_dead(
    suite: Suite, kind: str, phone: str
) -> None:
    sent = await suite.auth.flow(kind).start(phone)
    right = await suite.code_of(sent.grant)
    wrong = f"{(int(right) + 1) % 10**sent.digits:0{sent.digits}d}"
    confirmed, refused = await at_once(suite, [lambda auth: auth.flow(kind).confirm(sent.grant, wrong)], 50)
    assert (confirmed, refused) == ([], {"CODE_REJECTED": 3, "CODE_DEAD": 47})
    assert await checks(suite, "OtpFailed") == 3
    assert (await refusal(suite.auth.flow(kind).confirm(sent.grant, right))).reason == "CODE_DEAD"


@pytest.mark.row("M2")
@pytest.mark.row("M4")
@pytest.mark.parametrize(("kind", "phone"), FLOWS)
async def test_of_fifty_right_codes_of_a_flow_at_once_exactly_one_leads_to_a_password(
    suite: Suite, kind: str, phone: str
) -> None:
    sent = await suite.auth.flow(kind).start(phone)
    code = await suite.code_of(sent.grant)
    before = await checks(suite, "OtpVerified")
    confirmed, refused = await at_once(suite, [lambda auth: auth.flow(kind).confirm(sent.grant, code)], 50)
    assert (len(confirmed), refused.total()) == (1, 49)
    assert refused.keys() <= {"CODE_DEAD", "GRANT_INVALID"}
    assert await checks(suite, "OtpVerified") == before + 1
    assert (await suite.auth.flow(kind).choose(confirmed[0], NEW_PASSWORD)).token


@pytest.mark.row("M12")
async def test_of_fifty_uses_at_once_of_a_list_of_contacts_one_sends_a_code(suite: Suite) -> None:
    listed = await contacts_of(suite.auth, account_number=ACCOUNT)
    before = await checks(suite, "OtpIssued")
    ways = [
        lambda auth: send_to(auth, listed.grant, PHONE_CHANNEL),
        lambda auth: send_to(auth, listed.grant, EMAIL_CHANNEL),
    ]
    sent, refused = await at_once(suite, ways, 50)
    assert (len(sent), refused) == (1, {"GRANT_INVALID": 49})
    assert await checks(suite, "OtpIssued") == before + 1


async def slip_of(start: StartSuite, keys_dir: Path) -> tuple[Suite, str, str]:
    """The two halves of a slip's password besides."""
    office = await office_of(start, keys_dir)
    await office.suite.register()
    half = (await office.start(slip={})).slip.first_half
    return office.suite, half, await office.suite.newest_password()


@pytest.mark.row("M18")
@pytest.mark.row("M22")
async def test_of_a_hundred_guesses_at_once_at_the_second_half_of_a_slip_three_are_evaluated(
    start: StartSuite, keys_dir: Path
) -> None:
    suite, half, sent = await slip_of(start, keys_dir)
    guesses = [half + other * 6 for other in "23456789" if other * 6 != sent]
    ways = [lambda auth, guess=guess: auth.use_temporary(guess) for guess in guesses]  # type: ignore[misc]
    got_in, refused = await at_once(suite, ways, 100, suite.auth, await suite.start_auth(**OF_OFFICE))
    assert (got_in, refused) == ([], {"CODE_REJECTED": 3, "CODE_DEAD": 97})
    assert await checks(suite, "OtpFailed") == 3
    assert (await refusal(suite.auth.use_temporary(half + sent))).reason == "CODE_DEAD"
    assert await suite.sql.fetchval("SELECT count(*) FROM event WHERE type = 'LoginFailed'") == 0, "no other way in is spent"


@pytest.mark.row("M18")
async def test_of_fifty_uses_at_once_of_a_slip_exactly_one_gets_in(start: StartSuite, keys_dir: Path) -> None:
    suite, half, sent = await slip_of(start, keys_dir)
    both = suite.auth, await suite.start_auth(**OF_OFFICE)
    got_in, refused = await at_once(suite, [lambda auth: auth.use_temporary(half + sent)], 50, *both)
    assert (len(got_in), refused) == (1, {"CODE_DEAD": 49})
    assert await suite.sql.fetchval("SELECT count(*) FROM event WHERE type = 'TemporaryPasswordUsed'") == 1
