"""Each one-time password that is asked for on the site is its requester's own, by the grant (M5, M10): strangers who know the
number void none and use up no try of it."""

import asyncio
from collections import Counter
from uuid import UUID

import pytest
from zasov.auth.v1 import recovery_service_pb2

from services.auth.identifiers import Phone
from services.auth.sessions import encode_token
from services.auth.texts.inbound import InboundText
from services.chassis.clock import boottime
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.numbers import put, temporary_by
from tests.integration.auth.suite import (
    NEW_PASSWORD,
    OTHER_PHONE,
    PHONE,
    UNKNOWN_PHONE,
    Refusal,
    Suite,
    client,
    refusal,
    refusal_of,
)
from tests.integration.waiting import until

pytestmark = pytest.mark.row("M5")

WRONG = "22222222"
ACCOUNT = "77001122"


async def asked(suite: Suite, phone: str = PHONE) -> tuple[str, str]:
    """The grant, and the one-time password."""
    grant = (await suite.auth.request_temporary(phone)).grant
    return grant, await suite.code_of(grant)


async def wrong(suite: Suite, times: int, grant: str = "", phone: str = PHONE) -> list[str]:
    """What is said of so many wrong guesses, one after the other."""
    answers = [await refusal(suite.auth.use_temporary(WRONG, phone, grant)) for _ in range(times)]
    return [one.metadata.get("tries_left", one.reason) for one in answers]


async def begun(suite: Suite) -> tuple[int, int]:
    """Checks that were begun: with a grant, and without."""
    row = await suite.otp_sql.fetchrow("SELECT sum(tries) AS own, sum(other_tries) AS others FROM challenge WHERE purpose = 3")
    return row["own"], row["others"]


async def ask_where(suite: Suite, grant: str) -> Refusal:
    request = recovery_service_pb2.RecoveryServiceGetDeliveryRequest(grant=grant, client=client())
    return await refusal(suite.auth.recovery.GetDelivery(request, timeout=10))


@pytest.mark.row("M10")
@pytest.mark.row("M22")
async def test_strangers_who_guess_and_ask_neither_use_up_the_owners_tries_nor_void_what_was_sent(suite: Suite) -> None:
    await suite.register()
    grant, password = await asked(suite)
    assert await wrong(suite, 4) == ["2", "1", "0", "CODE_DEAD"], "a stranger, at the owner's own"
    await suite.auth.request_temporary()
    assert await wrong(suite, 4) == ["2", "1", "0", "CODE_DEAD"], "and at one that the stranger asked for"
    assert await wrong(suite, 2, grant) == ["2", "1"], "the owner has lost none"
    await suite.auth.choose_permanent(await suite.auth.use_temporary(password, grant=grant))
    await suite.auth.sign_in(password=NEW_PASSWORD)


@pytest.mark.row("M22")
async def test_with_the_grant_there_are_three_tries_and_then_it_is_dead_for_all(suite: Suite) -> None:
    session = await suite.register()
    grant, password = await asked(suite)
    assert await wrong(suite, 4, grant) == ["2", "1", "0", "CODE_DEAD"]
    assert (await refusal(suite.auth.use_temporary(password, grant=grant))).reason == "CODE_DEAD"
    assert (await refusal(suite.auth.use_temporary(password))).reason == "CODE_DEAD"
    assert await suite.auth.is_active(session.token)


async def test_the_tries_of_one_request_are_not_those_of_another(suite: Suite) -> None:
    await suite.register()
    (first, password), (second, _) = await asked(suite), await asked(suite)
    assert await wrong(suite, 3, second) == ["2", "1", "0"]
    assert await wrong(suite, 1, first) == ["2"]
    await suite.auth.use_temporary(password, grant=first)


@pytest.mark.row("M10")
async def test_without_a_grant_the_newest_alone_is_checked(suite: Suite) -> None:
    await suite.register()
    (older_grant, older), (_, newer) = await asked(suite), await asked(suite)
    assert (await refusal(suite.auth.use_temporary(older))).metadata == {"tries_left": "2"}
    assert (await refusal(suite.auth.use_temporary(newer, grant=older_grant))).reason == "CODE_REJECTED", "that of the grant"
    assert await begun(suite) == (1, 1), "one guess checks one"
    await suite.auth.use_temporary(newer)


@pytest.mark.row("B1")
@pytest.mark.row("M22")
async def test_of_fifty_parallel_guesses_with_the_grant_three_are_checked_and_of_fifty_without_it_three(suite: Suite) -> None:
    await suite.register()
    grant, _ = await asked(suite)
    replicas = [suite.auth, await suite.start_auth()]
    calls = [refusal(replicas[place % 2].use_temporary(WRONG, grant=grant if place % 4 < 2 else "")) for place in range(100)]
    answers = await asyncio.gather(*calls)
    # Once those with the grant are recorded it is dead for whoever has none.
    with_it = Counter(one.reason for place, one in enumerate(answers) if place % 4 < 2)
    without = Counter(one.reason for place, one in enumerate(answers) if place % 4 >= 2)
    assert with_it == {"CODE_REJECTED": 3, "CODE_DEAD": 47}
    assert without["CODE_REJECTED"] <= 3
    assert without.total() == without["CODE_REJECTED"] + without["CODE_DEAD"]
    assert await begun(suite) == (3, without["CODE_REJECTED"])
    failed = "SELECT count(*) FROM event WHERE type = 'OtpFailed'"
    assert await suite.otp_sql.fetchval(failed) == 3 + without["CODE_REJECTED"]


@pytest.mark.row("B1")
async def test_of_fifty_right_ones_with_and_without_the_grant_one_signs_in(suite: Suite) -> None:
    await suite.register()
    grant, password = await asked(suite)
    calls = [suite.auth.use_temporary(password, grant=grant if place % 2 else "") for place in range(50)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [refusal_of(one).reason for one in answers if not isinstance(one, str)]
    assert len(refused) == 49
    assert set(refused) <= {"CODE_DEAD", "GRANT_INVALID"}
    assert await suite.sql.fetchval("SELECT count(*) FROM event WHERE type = 'TemporaryPasswordUsed'") == 1


@pytest.mark.parametrize("first", ["older", "newer"])
async def test_once_one_was_used_all_others_of_that_subscriber_are_dead(suite: Suite, first: str) -> None:
    await suite.register()
    grants = {which: await asked(suite) for which in ("older", "newer")}
    used_grant, used = grants.pop(first)
    ((other_grant, other),) = grants.values()
    choice = await suite.auth.use_temporary(used, grant=used_grant)
    assert (await refusal(suite.auth.use_temporary(other, grant=other_grant))).reason == "CODE_DEAD"
    assert (await refusal(suite.auth.use_temporary(other))).reason == "CODE_DEAD"
    await suite.auth.choose_permanent(choice)
    assert await suite.sql.fetchval("SELECT count(*) FROM event WHERE type = 'TemporaryPasswordUsed'") == 1


async def test_once_the_newest_was_used_no_older_one_takes_its_place(suite: Suite) -> None:
    await suite.register()
    await asked(suite)
    await suite.auth.use_temporary((await asked(suite))[1])
    assert await wrong(suite, 1) == ["CODE_DEAD"]


@pytest.mark.parametrize("with_it", [True, False])
async def test_a_grant_is_used_up_with_its_one_time_password_whoever_used_it(suite: Suite, with_it: bool) -> None:
    await suite.register()
    grant, password = await asked(suite)
    await suite.auth.use_temporary(password, grant=grant if with_it else "")
    assert (await refusal(suite.auth.use_temporary(password, grant=grant))).reason == "GRANT_INVALID"
    assert (await ask_where(suite, grant)).reason == "GRANT_INVALID"


async def test_its_time_is_its_own_and_a_grant_that_has_expired_is_refused(start: StartSuite) -> None:
    suite = await start(otp={"password_lifetime_s": 0.3})
    await suite.register()
    grant = (await suite.auth.request_temporary()).grant
    expires_at = await suite.otp_sql.fetchval("SELECT max(expires_at) FROM challenge WHERE purpose = 3")

    async def is_over() -> bool:
        return bool(await suite.otp_sql.fetchval("SELECT clock_timestamp() >= $1", expires_at))

    await until("its time is over", is_over)
    assert await wrong(suite, 1, grant) == ["CODE_DEAD"]
    await suite.sql.execute("UPDATE flow SET expires_at = clock_timestamp() - interval '1 second'")
    assert (await refusal(suite.auth.use_temporary(WRONG, grant=grant))).reason == "GRANT_INVALID"


async def test_a_grant_of_anything_else_is_refused_and_costs_no_try(suite: Suite) -> None:
    await suite.register()
    choice = await suite.auth.use_temporary((await asked(suite))[1])
    grant, password = await asked(suite)
    others = {
        "of a recovery": (await suite.auth.flow("Recovery").start()).grant,
        "for the choice of a password": choice,
        "of nothing": encode_token(UUID(int=1), bytes(32)),
        "of the same flow with another secret": grant[:-4] + ("AAAA" if grant[-4:] != "AAAA" else "BBBA"),
        "no grant": "abc",
    }
    for what, other in others.items():
        refused = await refusal(suite.auth.use_temporary(password, grant=other))
        assert (refused.reason, list(refused.violations)) == ("GRANT_INVALID", ["grant"]), what
    assert await begun(suite) == (0, 1)
    await suite.auth.use_temporary(password, grant=grant)


@pytest.mark.row("B1")
async def test_a_grant_of_another_number_than_the_one_named_is_refused_alike_whoever_either_is_and_costs_no_try(
    suite: Suite,
) -> None:
    await suite.register()
    await suite.register(OTHER_PHONE)
    grants = {phone: (await suite.auth.request_temporary(phone)).grant for phone in (PHONE, UNKNOWN_PHONE)}
    refused = [
        await refusal(suite.auth.use_temporary(WRONG, named, grant))
        for phone, grant in grants.items()
        for named in (PHONE, OTHER_PHONE, UNKNOWN_PHONE)
        if named != phone
    ]
    assert {one.reason for one in refused} == {"GRANT_INVALID"}
    assert {one.raw for one in refused} == {refused[0].raw}
    assert await begun(suite) == (0, 0)


@pytest.mark.row("M12")
async def test_a_grant_does_not_tell_which_other_number_leads_to_the_same_account(suite: Suite) -> None:
    await suite.register()
    await put(suite.auth, phone=PHONE, account_numbers=[ACCOUNT])
    grant = (await temporary_by(suite.auth, account_number=ACCOUNT)).grant
    password = await suite.code_of(grant)
    assert (await refusal(suite.auth.use_temporary(password, grant=grant))).reason == "GRANT_INVALID"
    assert await suite.auth.use_temporary(password), "without it the account's newest is meant, by whichever number"


@pytest.mark.row("B1")
async def test_guesses_with_the_grant_of_a_number_that_nobody_has_are_answered_like_any_other(suite: Suite) -> None:
    await suite.register()
    seen = []
    for phone in (PHONE, UNKNOWN_PHONE):
        grant = (await suite.auth.request_temporary(phone)).grant
        with_it = [await refusal(suite.auth.use_temporary(WRONG, phone, grant)) for _ in range(4)]
        await suite.auth.request_temporary(phone)
        without = [await refusal(suite.auth.use_temporary(WRONG, phone)) for _ in range(4)]
        seen.append([one.raw for one in with_it + without])
        assert [one.reason for one in with_it] == ["CODE_REJECTED"] * 3 + ["CODE_DEAD"]
    assert seen[0] == seen[1]


@pytest.mark.row("M6")
async def test_what_the_handsets_own_sms_brought_signs_in_beside_the_grant_of_the_site(suite: Suite) -> None:
    """Who waits on the site, texts meanwhile, and types into the same form what came."""
    await suite.register()
    grant = (await suite.auth.request_temporary()).grant
    await (await suite.start_commands()).obey(InboundText(Phone(PHONE), "3339", "ПАРОЛЬ", boottime() + 60))
    handsets = await suite.newest_password()
    assert len(handsets) == 10
    for left in ("2", "1"):
        refused = await refusal(suite.auth.use_temporary("2" * 10, grant=grant))
        assert (refused.reason, refused.metadata) == ("CODE_REJECTED", {"tries_left": left})
    assert await begun(suite) == (0, 0)
    assert await suite.auth.use_temporary(handsets, grant=grant)


async def test_it_signs_in_to_no_other_account_that_the_number_leads_to_since(suite: Suite) -> None:
    await suite.register()
    grant, password = await asked(suite)
    await suite.sql.execute("DELETE FROM identifier")
    session = await suite.register()
    kinds = await suite.kinds(session.account_id)
    assert (await refusal(suite.auth.use_temporary(password, grant=grant))).reason == "CODE_DEAD"
    assert await suite.auth.is_active(session.token)
    assert await suite.kinds(session.account_id) == kinds


async def test_what_was_asked_for_while_nobody_had_the_number_is_never_right(suite: Suite) -> None:
    grant = (await suite.auth.request_temporary()).grant
    session = await suite.register()
    assert await wrong(suite, 4, grant) == ["2", "1", "0", "CODE_DEAD"]
    assert await suite.auth.is_active(session.token)
