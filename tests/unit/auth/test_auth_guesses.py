"""A guess, step by step: the auth side of the three-strike protocol (docs/architecture.md)."""

import asyncio
import gc
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog.testing
from google.protobuf.duration_pb2 import Duration
from zasov.events.v1.auth_event_pb2 import PasswordReset
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD
from zasov.lockout.v1.lockout_service_pb2 import OriginLimited as LimitedAnswer

from services.auth.domain import NewSession, decide_failure, decide_reset, decide_success
from services.auth.passwords.admission import Guarded, OriginLimited, SignInBlocked
from services.auth.passwords.guesses import Guess
from services.chassis.clock import boottime
from services.chassis.errors import ServiceError, unavailable
from services.chassis.eventstore import type_of
from services.chassis.sealing import UnsealError
from tests.fakes.auth_accounts import NOW
from tests.unit.auth.conftest import PASSWORD, Bench, until

pytestmark = [pytest.mark.row("M3"), pytest.mark.row("B1")]


async def refused(guess: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await guess
    return caught.value


def no_outcome(error: ServiceError) -> None:
    assert (error.code.name, error.reason) == ("UNAVAILABLE", "TEMPORARILY_UNAVAILABLE")
    assert error.retry_after is not None
    assert not error.metadata


def somebody_resets(bench: Bench) -> None:
    sealed = bench.accounts.vault.close_password(bench.hasher.hash("Another-1-password"))
    session = NewSession(uuid4(), b"", NOW)
    bench.accounts.happens(decide_reset(bench.accounts.account, PasswordReset.VIA_RECOVERY, sealed, session))


ORDER = {
    "right": (PASSWORD, True, ["reserve", "admit", "load", "evaluate", "load", "settle_right", "append"]),
    "wrong": ("wrong", True, ["reserve", "admit", "load", "evaluate", "append"]),
    # Just as for somebody known who is wrong.
    "unknown": (PASSWORD, False, ["reserve", "admit", "load", "evaluate", "append"]),
}


@pytest.mark.parametrize("case", ORDER)
async def test_a_guess_is_reserved_admitted_loaded_evaluated_settled_and_stored_in_this_order(bench: Bench, case: str) -> None:
    password, known, steps = ORDER[case]
    bench.lockout.epoch = 1 if known else 0
    await asyncio.gather(bench.guess(password, known), return_exceptions=True)
    assert bench.steps == steps


async def test_a_wrong_guess_is_recorded_with_its_attempt_and_then_answered_with_the_attempts_left(bench: Bench) -> None:
    bench.lockout.attempts_left = 1
    error = await refused(bench.guess("wrong"))
    assert (error.code.name, error.reason) == ("UNAUTHENTICATED", "CREDENTIALS_REJECTED")
    assert error.metadata == {"attempts_left": "1"}
    failed: Any = bench.accounts.facts[-1].payload
    attempt = bench.lockout.admissions[0].attempt_id
    assert type_of(failed) == "LoginFailed"
    assert (failed.attempt_id, failed.credential_version, failed.identifier_known) == (str(attempt), 1, True)
    assert bench.accounts.account.open_failures == (attempt,)
    assert bench.lockout.open == {attempt}, "only the stream settles a failure"


async def test_a_wrong_guess_that_cannot_be_stored_is_not_answered(bench: Bench) -> None:
    bench.accounts.fail_append = ConnectionError()
    with pytest.raises(ConnectionError):
        await bench.guess("wrong")
    assert not bench.lockout.given_back


async def test_somebody_unknown_takes_the_same_path_under_a_guard_of_his_own(bench: Bench) -> None:
    bench.lockout.epoch = 0
    error = await refused(bench.guess(PASSWORD, known=False))
    assert error == await refused(bench.guess(PASSWORD, known=False))
    assert bench.hasher.verified == [(bench.line.dummy_hash, PASSWORD)] * 2
    assert bench.lockout.guarded == [Guarded(bench.guard, CREDENTIAL_PASSWORD, stranger=True)] * 2
    facts: list[Any] = bench.accounts.strangers[bench.pseudonym]
    assert [type_of(fact.payload) for fact in facts] == ["LoginFailed"] * 2
    assert not any(fact.payload.identifier_known or fact.payload.credential_version for fact in facts)
    assert not bench.accounts.facts


async def test_even_the_dummys_own_password_signs_nobody_in(bench: Bench) -> None:
    bench.lockout.epoch = 0
    error = await refused(bench.guess("nobody's password", known=False))
    assert error.reason == "CREDENTIALS_REJECTED"
    assert "settle_right" not in bench.steps


@pytest.mark.parametrize("known", [True, False])
async def test_a_blocked_guess_evaluates_nothing_and_is_recorded(bench: Bench, known: bool) -> None:
    bench.lockout.refuse = SignInBlocked(epoch=1)
    error = await refused(bench.guess(PASSWORD, known))
    assert (error.code.name, error.reason) == ("FAILED_PRECONDITION", "SIGN_IN_BLOCKED")
    assert error.metadata == {"ways_out": "recovery_by_code,one_time_password_by_sms,sms_command"}
    facts: list[Any] = bench.accounts.facts if known else bench.accounts.strangers[bench.pseudonym]
    recorded = facts[-1].payload
    assert (type_of(recorded), recorded.Reason.Name(recorded.reason), recorded.identifier_known) == (
        "LoginRefused", "REASON_BLOCKED", known,
    )  # fmt: skip
    assert not bench.hasher.verified


@pytest.mark.row("M3")
async def test_a_block_that_has_not_heard_of_the_new_password_is_told_and_lifted(bench: Bench) -> None:
    somebody_resets(bench)
    bench.lockout.blocked_until_epoch = 2
    assert await bench.guess("Another-1-password") == "signed in"
    assert bench.lockout.epoch == 2


@pytest.mark.parametrize("known", [True, False])
async def test_a_limited_origin_evaluates_nothing_and_writes_nothing(bench: Bench, known: bool) -> None:
    retry = Duration()
    retry.FromTimedelta(timedelta(seconds=7))
    bench.lockout.refuse = OriginLimited(LimitedAnswer(retry_after=retry))
    error = await refused(bench.guess(PASSWORD, known))
    assert (error.code.name, error.reason) == ("RESOURCE_EXHAUSTED", "ORIGIN_LIMITED")
    assert error.retry_after == timedelta(seconds=7)
    assert not bench.accounts.facts
    assert not bench.accounts.strangers
    assert not bench.hasher.verified


@pytest.mark.row("B1")
@pytest.mark.parametrize("known", [True, False])
async def test_a_wrong_guess_whose_turn_comes_too_late_is_neither_stored_nor_told(bench: Bench, known: bool) -> None:
    bench.lockout.epoch = 1 if known else 0

    async def somebody_is_faster_and_time_runs_out() -> None:
        if "append" not in bench.steps:
            bench.lockout.admissions[-1]._due = 0.0
            fact = decide_failure(uuid4(), 1, known)
            bench.accounts.happens(fact) if known else bench.accounts.strangers.setdefault(bench.pseudonym, []).extend(fact)

    bench.accounts.before_append = somebody_is_faster_and_time_runs_out
    no_outcome(await refused(bench.guess("wrong", known)))
    stored = bench.accounts.facts if known else bench.accounts.strangers[bench.pseudonym]
    assert len(stored) == 1, "the other one's alone"


async def test_an_attempt_that_may_not_start_is_given_back_and_never_evaluated(bench: Bench) -> None:
    answers = iter([True, False])
    bench.may_start = lambda: next(answers)
    no_outcome(await refused(bench.guess()))
    assert bench.steps == ["reserve", "admit", "load", "give_back"]
    assert not bench.lockout.open


@pytest.mark.parametrize("error", [ConnectionError(), UnsealError(), asyncio.CancelledError()])
async def test_an_attempt_whose_account_cannot_be_read_is_given_back(bench: Bench, error: BaseException) -> None:
    bench.accounts.fail_load = error
    with pytest.raises(type(error)):
        await bench.guess()
    assert bench.steps == ["reserve", "admit", "load", "give_back"]


async def test_an_attempt_whose_hash_cannot_be_unsealed_is_given_back(bench: Bench) -> None:
    rehashed = bench.accounts.account.contact
    bench.accounts.account = type(bench.accounts.account)(bench.accounts.account.account_id, 2, 1, rehashed, b"", ())
    with pytest.raises(UnsealError):
        await bench.guess()
    assert bench.steps == ["reserve", "admit", "load", "give_back"]


async def test_an_attempt_whose_hash_was_started_is_never_given_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(hashed: str, password: str) -> bool:
        raise MemoryError

    monkeypatch.setattr(bench.hasher, "verify", explode)
    with pytest.raises(MemoryError):
        await bench.guess()
    assert not bench.lockout.given_back
    assert len(bench.lockout.open) == 1, "the sweep counts it"


async def test_a_password_newer_than_lockout_knows_is_told_and_admitted_anew(bench: Bench) -> None:
    somebody_resets(bench)
    assert await bench.guess("Another-1-password") == "signed in"
    assert bench.steps == [
        "reserve", "admit", "load", "give_back", "raise_epoch", "admit", "load", "evaluate", "load", "settle_right",
        "append",
    ]  # fmt: skip
    assert [admission.epoch for admission in bench.lockout.admissions] == [1, 2]
    assert not bench.lockout.open


async def test_a_lockout_that_does_not_hear_of_the_new_password_lets_nothing_be_evaluated(bench: Bench) -> None:
    somebody_resets(bench)
    bench.lockout.deaf = True
    no_outcome(await refused(bench.guess("Another-1-password")))
    assert not bench.hasher.verified
    assert not bench.lockout.open


async def test_a_password_older_than_lockout_knows_is_refused_with_an_alarm(bench: Bench) -> None:
    bench.lockout.epoch = 7
    with structlog.testing.capture_logs() as logs:
        no_outcome(await refused(bench.guess()))
    assert bench.steps == ["reserve", "admit", "load", "give_back"]
    assert [(line["log_level"], line["version"]) for line in logs] == [("error", 1)]


@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
async def test_an_outcome_that_comes_too_late_is_not_disclosed(
    bench: Bench, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = 0.0
    monkeypatch.setattr("services.auth.passwords.admission.boottime", lambda: boottime() + late)
    bench.hasher.gate.clear()
    guess = asyncio.create_task(bench.guess(password))
    await until(bench.hasher.started.is_set)
    late = bench.lockout.outcome_within_s + 1
    bench.hasher.gate.set()
    no_outcome(await refused(guess))
    assert bench.steps == ["reserve", "admit", "load", "evaluate"]
    assert len(bench.lockout.open) == 1, "the sweep counts it"


async def test_an_attempt_that_is_overdue_before_the_hash_is_given_back(bench: Bench) -> None:
    bench.lockout.outcome_within_s = 0
    no_outcome(await refused(bench.guess()))
    assert bench.steps == ["reserve", "admit", "load", "give_back"]


async def test_a_right_guess_that_lockout_will_not_settle_signs_nobody_in(bench: Bench) -> None:
    bench.lockout.settles = False
    no_outcome(await refused(bench.guess()))
    assert bench.steps[-1] == "settle_right"
    assert not bench.accounts.facts


async def test_a_right_guess_that_cannot_be_settled_signs_nobody_in(bench: Bench) -> None:
    bench.lockout.fail_settle = unavailable()
    no_outcome(await refused(bench.guess()))
    assert not bench.accounts.facts
    assert not bench.lockout.given_back


async def test_earlier_failures_are_named_when_a_right_guess_is_settled(bench: Bench) -> None:
    for _ in range(2):
        await refused(bench.guess("wrong"))
    earlier = tuple(admission.attempt_id for admission in bench.lockout.admissions)
    assert await bench.guess() == "signed in"
    assert bench.lockout.settled == [(bench.lockout.admissions[-1].attempt_id, earlier)]
    assert bench.accounts.account.open_failures == ()


@pytest.mark.row("B1")
async def test_a_failure_stored_while_the_right_guess_was_under_way_is_named_then_or_later(bench: Bench) -> None:
    overlapping = uuid4()
    bench.hasher.gate.clear()
    guess = asyncio.create_task(bench.guess())
    await until(bench.hasher.started.is_set)
    bench.accounts.happens(decide_failure(overlapping, 1, known=True))
    bench.hasher.gate.set()
    assert await guess == "signed in"
    assert bench.lockout.settled[-1][1] == (overlapping,)


@pytest.mark.row("B1")
async def test_a_failure_stored_between_settling_and_storing_is_named_by_the_next_success(bench: Bench) -> None:
    late = uuid4()

    async def somebody_fails_once() -> None:
        if "append" not in bench.steps:
            bench.accounts.happens(decide_failure(late, 1, known=True))

    bench.accounts.before_append = somebody_fails_once
    assert await bench.guess() == "signed in"
    assert await bench.guess() == "signed in"
    assert [earlier for _, earlier in bench.lockout.settled] == [(), (late,)]


async def test_a_decision_that_somebody_was_faster_than_is_made_again_on_what_is_there_now(bench: Bench) -> None:
    async def somebody_fails_once() -> None:
        if "append" not in bench.steps:
            bench.accounts.happens(decide_failure(uuid4(), 1, known=True))

    bench.accounts.before_append = somebody_fails_once
    assert await bench.guess() == "signed in"
    assert bench.steps[-4:] == ["settle_right", "append", "load", "append"]
    assert bench.accounts.kinds == ["LoginFailed", "LoginSucceeded", "SessionStarted"]


@pytest.mark.parametrize("known", [True, False])
async def test_a_failure_is_recorded_though_somebody_was_faster(bench: Bench, known: bool) -> None:
    bench.lockout.epoch = 1 if known else 0

    async def somebody_is_faster() -> None:
        if "append" not in bench.steps:
            fact = decide_failure(uuid4(), 1, known)
            bench.accounts.happens(fact) if known else bench.accounts.strangers.setdefault(bench.pseudonym, []).extend(fact)

    bench.accounts.before_append = somebody_is_faster
    assert (await refused(bench.guess("wrong", known))).reason == "CREDENTIALS_REJECTED"
    stored = bench.accounts.facts if known else bench.accounts.strangers[bench.pseudonym]
    assert [type_of(fact.payload) for fact in stored] == ["LoginFailed"] * 2


async def test_who_is_overtaken_for_ever_gets_no_outcome(bench: Bench) -> None:
    async def somebody_is_always_faster() -> None:
        bench.accounts.happens(decide_success(bench.accounts.account, 1, uuid4(), [], NewSession(uuid4(), b"", NOW), None))

    bench.accounts.before_append = somebody_is_always_faster
    no_outcome(await refused(bench.guess()))


@pytest.mark.row("M8")
async def test_who_verified_a_password_that_was_replaced_meanwhile_is_not_signed_in(bench: Bench) -> None:
    async def somebody_is_faster() -> None:
        if "append" not in bench.steps:
            somebody_resets(bench)

    bench.accounts.before_append = somebody_is_faster
    no_outcome(await refused(bench.guess()))
    assert "LoginSucceeded" not in bench.accounts.kinds


@pytest.mark.parametrize(("password", "recorded"), [("wrong", "LoginFailed"), (PASSWORD, "LoginSucceeded")])
async def test_who_hangs_up_is_neither_struck_for_it_nor_spared(bench: Bench, password: str, recorded: str) -> None:
    bench.hasher.gate.clear()
    guess = asyncio.create_task(bench.guess(password))
    await until(bench.hasher.started.is_set)
    guess.cancel()
    with pytest.raises(asyncio.CancelledError):
        await guess
    assert bench.accounts.kinds == []
    bench.hasher.gate.set()
    await bench.shielded.drain()
    assert bench.accounts.kinds[:1] == [recorded]
    assert not bench.lockout.given_back


async def test_the_work_of_those_who_hung_up_still_counts_against_the_line(bench: Bench) -> None:
    bench.hasher.gate.clear()
    guesses = [asyncio.create_task(bench.guess("wrong")) for _ in range(8)]
    await until(lambda: bench.steps.count("load") == 8)
    for guess in guesses:
        guess.cancel()
    await asyncio.gather(*guesses, return_exceptions=True)
    error = await refused(bench.guess("wrong"))
    assert (error.code.name, error.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert bench.steps.count("admit") == 8
    bench.hasher.gate.set()
    await bench.shielded.drain()
    assert bench.accounts.kinds == ["LoginFailed"] * 8


async def test_whom_the_line_has_no_place_for_is_never_admitted(bench: Bench) -> None:
    bench.line._per_subject = 0
    error = await refused(bench.guess())
    assert error.reason == "OVERLOADED"
    assert bench.steps == ["reserve"]


async def test_many_right_guesses_at_once_all_succeed_though_each_gets_in_the_others_way(bench: Bench) -> None:
    assert await asyncio.gather(*(bench.guess() for _ in range(8))) == ["signed in"] * 8
    assert bench.accounts.kinds.count("LoginSucceeded") == 8


def test_a_guess_shows_nothing_of_itself(bench: Bench) -> None:
    guess = Guess(None, UUID(int=1), UUID(int=2), "Secret-1", None, None, lambda: True)  # type: ignore[arg-type]
    assert "Secret" not in repr(guess)


async def test_the_error_of_one_who_hung_up_is_nobodys_and_makes_no_noise(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.hasher.gate.clear()
    guess = asyncio.create_task(bench.guess("wrong"))
    await until(bench.hasher.started.is_set)
    guess.cancel()
    await asyncio.gather(guess, return_exceptions=True)
    del guess
    bench.hasher.gate.set()
    await until(lambda: not bench.shielded._under_way)
    gc.collect()
    assert not caplog.records
