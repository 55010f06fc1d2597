"""Signing in (M1) and three strikes (M3), against the real lockout."""

import asyncio
import random

import pytest
from zasov.events.v1.auth_event_pb2 import AuthEvent

from services.auth.passwords.admission import LockoutClient
from services.auth.vault import Vaults
from services.chassis.errors import unavailable
from services.chassis.sealing import read_key
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.emails import start_change
from tests.integration.auth.suite import (
    NEW_PASSWORD,
    OTHER_PHONE,
    PASSWORD,
    PHONE,
    UNKNOWN_PHONE,
    Suite,
    refusal,
    refusal_of,
)


@pytest.mark.row("M1")
async def test_a_registered_number_signs_in_in_any_usual_spelling(suite: Suite) -> None:
    registered = await suite.register()
    for spelling in ("8 916 123-45-67", "+7 (916) 123-45-67", "79161234567", "9161234567", "8(916)1234567"):
        session = await suite.auth.sign_in(spelling)
        assert session.account_id == registered.account_id
        assert session.session_id != registered.session_id
        assert await suite.auth.is_active(session.token)
    assert await suite.strikes(registered.account_id) == await suite.open_attempts() == 0


@pytest.mark.row("M7")
async def test_case_matters_and_spellings_that_look_the_same_are_the_same(suite: Suite) -> None:
    composed, decomposed = "Caf\u00e9-na-Volge-7", "Cafe\u0301-na-Volge-7"
    suite.said |= {composed, decomposed}
    await suite.register(password=composed)
    await suite.auth.sign_in(password=decomposed)
    assert (await refusal(suite.auth.sign_in(password=composed.lower()))).reason == "CREDENTIALS_REJECTED"


@pytest.mark.row("M3")
async def test_a_correct_password_does_not_lift_a_block(suite: Suite) -> None:
    session = await suite.register()
    refusals = await suite.wrong(3)
    assert [(one.code, one.reason, one.metadata) for one in refusals] == [
        ("UNAUTHENTICATED", "CREDENTIALS_REJECTED", {"attempts_left": str(left)}) for left in (2, 1, 0)
    ]
    for password in (PASSWORD, "Wrong-1-password", PASSWORD):
        blocked = await refusal(suite.auth.sign_in(password=password))
        assert (blocked.code, blocked.reason) == ("FAILED_PRECONDITION", "SIGN_IN_BLOCKED")
        assert blocked.metadata == {"ways_out": "recovery_by_code,one_time_password_by_sms,sms_command"}
    assert await suite.auth.is_active(session.token), "a strike block ends no session"
    assert (await suite.kinds(session.account_id))[2:] == ["LoginFailed"] * 3 + ["LoginRefused"] * 3


@pytest.mark.row("M3")
@pytest.mark.parametrize("kind", ["Recovery", "Registration"])
async def test_a_new_password_lifts_a_block(suite: Suite, kind: str) -> None:
    await suite.register()
    await suite.wrong(3)
    assert (await refusal(suite.auth.sign_in())).reason == "SIGN_IN_BLOCKED"
    await suite.auth.flow(kind).choose(await suite.confirmed(kind), NEW_PASSWORD)
    await suite.auth.sign_in(password=NEW_PASSWORD)
    assert [one.metadata["attempts_left"] for one in await suite.wrong(1)] == ["2"]


@pytest.mark.row("M3")
async def test_only_failures_in_a_row_count(suite: Suite) -> None:
    session = await suite.register()
    for _ in range(3):
        await suite.wrong(2)
        await suite.auth.sign_in()
        assert await suite.strikes(session.account_id) == 0


@pytest.mark.row("B1")
async def test_failures_before_a_success_are_forgiven_though_the_stream_hears_of_them_after_it(suite: Suite) -> None:
    session = await suite.register()
    for _ in range(2):
        await refusal(suite.auth.sign_in(password="Wrong-1-password"))
    await suite.auth.sign_in()
    assert await suite.open_attempts() == 0
    await suite.play_stream()
    assert await suite.strikes(session.account_id) == 0
    assert [one.metadata["attempts_left"] for one in await suite.wrong(1)] == ["2"]


@pytest.mark.row("B1")
async def test_with_the_stream_away_three_guesses_are_still_the_most_and_nobody_is_called_blocked(
    start: StartSuite, evaluated: list[bool]
) -> None:
    suite = await start(lockout={"admission_wait_s": 0.1})
    await suite.register()
    for _ in range(3):
        await refusal(suite.auth.sign_in(password="Wrong-1-password"))
    full = await refusal(suite.auth.sign_in())
    assert (full.code, full.reason) == ("UNAVAILABLE", "TEMPORARILY_UNAVAILABLE")
    assert full.retry_s
    assert evaluated == [False] * 3


@pytest.mark.row("M3")
async def test_nobody_can_tell_an_unknown_number_from_a_known_one(suite: Suite) -> None:
    await suite.register()
    known, unknown = await suite.wrong(5), await suite.wrong(5, UNKNOWN_PHONE)
    assert known == unknown
    assert [one.reason for one in unknown] == ["CREDENTIALS_REJECTED"] * 3 + ["SIGN_IN_BLOCKED"] * 2
    strangers = await suite.sql.fetch("SELECT * FROM stranger")
    assert [row["version"] for row in strangers] == [5]
    guards = await suite.lockout_sql.fetch("SELECT owner_id, strikes FROM subject WHERE stranger")
    assert [row["strikes"] for row in guards] == [3]
    assert guards[0]["owner_id"] != strangers[0]["stranger_id"], "the guard is never published"
    assert [one.reason for one in await suite.wrong(1, OTHER_PHONE)] == ["CREDENTIALS_REJECTED"]


async def test_guesses_at_an_unknown_number_at_two_replicas_at_once_are_all_recorded(start: StartSuite) -> None:
    suite = await start(lockout={"admission_wait_s": 15})
    replicas = [suite.auth, await suite.start_auth()]
    await suite.wrong(3, UNKNOWN_PHONE)
    answers = await asyncio.gather(*(refusal(replicas[n % 2].sign_in(UNKNOWN_PHONE, "Wrong-1-password")) for n in range(20)))
    assert [one.reason for one in answers] == ["SIGN_IN_BLOCKED"] * 20
    assert await suite.sql.fetchval("SELECT version FROM stranger") == 23


async def forgiven_and_not(suite: Suite, account: str) -> tuple[int, int]:
    """How many failures the account's successes name as forgiven, and how many none names."""
    rows = await suite.sql.fetch("SELECT data FROM event WHERE stream_id = $1", account)
    events = [AuthEvent.FromString(row["data"]) for row in rows]
    failed = {one.login_failed.attempt_id for one in events if one.HasField("login_failed")}
    forgiven = {attempt for one in events for attempt in one.login_succeeded.forgiven_attempt_ids}
    return len(failed & forgiven), len(failed - forgiven)


@pytest.mark.row("B1")
@pytest.mark.usefixtures("patient_pools")
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("phone", [PHONE, UNKNOWN_PHONE])
async def test_of_two_hundred_guesses_at_once_at_two_replicas_three_wrong_ones_are_evaluated(
    start: StartSuite, evaluated: list[bool], streamed: bool, phone: str
) -> None:
    patient = {"admission_wait_s": 15, "admission_longest_s": 18}
    suite = await start(
        auth={"hash_places": 400, "hash_places_per_subject": 400, "admission_timeout_s": 19, "call_timeout_s": 19},
        lockout=patient if streamed else {"admission_wait_s": 0.2},
    )
    replicas = [suite.auth, await suite.start_auth()]
    account = (await suite.register()).account_id
    passwords = [PASSWORD] + [f"Wrong-{n}-password" for n in range(199)]
    random.shuffle(passwords)
    guesses = [replicas[n % 2].sign_in(phone, password) for n, password in enumerate(passwords)]
    if streamed:
        async with suite.streaming():
            answers = await asyncio.gather(*guesses, return_exceptions=True)
    else:
        answers = await asyncio.gather(*guesses, return_exceptions=True)
        await suite.play_stream()
    refusals = [refusal_of(answer) for answer in answers if isinstance(answer, BaseException)]
    expected = {"CREDENTIALS_REJECTED", "SIGN_IN_BLOCKED"} if streamed else {"CREDENTIALS_REJECTED", "TEMPORARILY_UNAVAILABLE"}
    assert {one.reason for one in refusals} <= expected
    rejected = [one for one in refusals if one.reason == "CREDENTIALS_REJECTED"]
    assert len(rejected) == evaluated.count(False)
    if evaluated.count(True):
        # A success counts from its settling. What failed before is named by it; what failed after it, on the other replica, may
        # stand before it in the stream.
        before, after = await forgiven_and_not(suite, account)
        assert before <= 2, "the right guess had a place of its own among the three"
        assert after <= 3
    else:
        assert len(rejected) == 3
        owner = "owner_id = $1" if phone == PHONE else "stranger AND $1::uuid IS NOT NULL"
        blocked = await suite.lockout_sql.fetchval(f"SELECT blocked_at FROM subject WHERE {owner}", account)
        assert blocked is not None
    assert await suite.open_attempts() == 0


@pytest.mark.row("M1")
async def test_fifty_right_sign_ins_at_once_all_succeed(start: StartSuite, evaluated: list[bool]) -> None:
    suite = await start(lockout={"admission_wait_s": 15})
    replicas = [suite.auth, await suite.start_auth()]
    account = (await suite.register()).account_id
    sessions = await asyncio.gather(*(replicas[n % 2].sign_in() for n in range(50)))
    assert len({session.token for session in sessions}) == 50
    assert evaluated == [True] * 50
    assert (await suite.kinds(account)).count("LoginSucceeded") == 50
    assert await suite.open_attempts() == 0


async def test_a_hash_grows_with_the_parameters_at_the_next_sign_in_and_only_then(suite: Suite) -> None:
    session = await suite.register()
    costlier = await suite.start_auth(argon2_iterations=2, argon2_memory_kib=128)
    assert (await refusal(costlier.sign_in(password="Wrong-1-password"))).reason == "CREDENTIALS_REJECTED"
    await asyncio.gather(*(costlier.sign_in() for _ in range(3)))
    await costlier.sign_in()
    kinds = await suite.kinds(session.account_id)
    assert 1 <= kinds.count("PasswordRehashed") <= 3
    assert kinds[-1] != "PasswordRehashed"
    row = await suite.sql.fetchrow("SELECT * FROM account JOIN account_key USING (account_id)")
    vault = Vaults(read_key(suite.keys_dir / "auth-accounts.key")).open(row["account_id"], row["wrapped"])
    assert vault.open_password(row["password"]).startswith("$argon2id$v=19$m=128,t=2,p=1$")
    assert row["credential_version"] == 1, "the same password"
    assert not await suite.sql.fetchval("SELECT bool_or(is_public) FROM event WHERE type = 'PasswordRehashed'")


@pytest.mark.row("M10")
async def test_a_soft_limit_on_the_origin_refuses_with_a_time(suite: Suite) -> None:
    """Guesses, and all that has a code or a one-time password sent."""
    session = await suite.register()
    registration, recovery = [suite.auth.flow(kind) for kind in ("Registration", "Recovery")]
    registering, recovering = await registration.start(OTHER_PHONE), await recovery.start()
    await suite.wrong(1)
    await suite.limit_origin()
    for limited in (
        suite.auth.sign_in(),
        suite.auth.sign_in(UNKNOWN_PHONE),
        registration.start(UNKNOWN_PHONE),
        registration.send_again(registering.grant),
        recovery.start(),
        recovery.send_again(recovering.grant),
        suite.auth.request_temporary(),
        start_change(suite, session.token),
    ):
        refused = await refusal(limited)
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "ORIGIN_LIMITED")
        assert refused.retry_s is not None
        assert 30 < refused.retry_s <= 40
    await suite.auth.sign_in(ip="198.51.100.1")


@pytest.mark.row("M3")
@pytest.mark.row("B7")
async def test_a_new_password_lifts_the_block_though_lockout_could_not_be_told_and_kafka_is_away(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise unavailable()

    await suite.register()
    await suite.wrong(3)
    assert (await refusal(suite.auth.sign_in())).reason == "SIGN_IN_BLOCKED"
    with monkeypatch.context() as while_lockout_is_away:
        while_lockout_is_away.setattr(LockoutClient, "raise_epoch", away)
        await suite.recover()
    await suite.auth.sign_in(password=NEW_PASSWORD)
