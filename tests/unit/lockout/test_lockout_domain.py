"""Strikes and blocks, decided purely: whatever happens in whatever order."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zasov.events.v1.lockout_event_pb2 import LimitTripped
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, Credential

from services.chassis.eventstore import Fact, type_of
from services.lockout.domain import (
    STRIKES_TO_BLOCK,
    Attempt,
    Subject,
    SubjectKey,
    decide_abandoned,
    decide_epoch,
    decide_failure,
    decide_forgotten,
    decide_success,
    evolve,
    fold,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEY = SubjectKey(UUID(int=7), CREDENTIAL_PASSWORD, stranger=False)
STRANGER = replace(KEY, stranger=True)


def attempt(epoch: int = 0) -> Attempt:
    return Attempt(uuid4(), epoch, NOW)


def struck(times: int, key: SubjectKey = KEY, epoch: int = 0) -> Subject:
    subject = Subject(key, epoch)
    for _ in range(times):
        subject = fold(subject, decide_failure(subject, attempt(epoch)), NOW)
    return subject


def kinds(facts: list[Fact]) -> list[str]:
    return [type_of(fact.payload) for fact in facts]


@pytest.mark.row("M3")
def test_a_strangers_block_can_be_forgotten_and_nothing_else() -> None:
    forgotten = decide_forgotten(struck(3, STRANGER))
    assert kinds(forgotten) == ["StrangerForgotten"]
    assert not forgotten[0].is_public
    assert fold(struck(3, STRANGER), forgotten, NOW) == Subject(STRANGER)
    assert decide_forgotten(struck(2, STRANGER)) == decide_forgotten(struck(3)) == []


@dataclass(frozen=True)
class Step:
    """A command. back: how many epochs the attempt is behind; epoch: what is told to RaiseEpoch."""

    name: str
    back: int = 0
    epoch: int = 0

    def decide(self, subject: Subject) -> list[Fact]:
        of = attempt(subject.epoch - self.back)
        if self.name == "epoch":
            return decide_epoch(subject, self.epoch)
        return {"fail": decide_failure, "abandon": decide_abandoned, "succeed": decide_success}[self.name](subject, of)


steps = st.lists(
    st.one_of(
        st.builds(Step, st.sampled_from(["fail", "abandon", "succeed"]), back=st.sampled_from([0, 0, 0, 1])),
        st.builds(Step, st.just("epoch"), epoch=st.integers(-1, 6)),
    ),
    max_size=40,
)


@pytest.mark.row("B1")
@given(steps)
def test_strikes_stay_within_three_and_three_is_what_a_block_is(history: list[Step]) -> None:
    subject = Subject(KEY)
    for step in history:
        subject = fold(subject, step.decide(subject), NOW)
        assert 0 <= subject.strikes <= STRIKES_TO_BLOCK
        assert (subject.strikes == STRIKES_TO_BLOCK) == (subject.blocked_at is not None)


@pytest.mark.row("M3")
@given(steps)
def test_only_a_higher_epoch_lifts_a_block_and_epochs_only_grow(history: list[Step]) -> None:
    subject = Subject(KEY)
    for step in history:
        before, facts = subject, step.decide(subject)
        subject = fold(subject, facts, NOW)
        assert subject.epoch == max(before.epoch, step.epoch if step.name == "epoch" else 0)
        if before.blocked_at is not None and subject.blocked_at is None:
            assert step.name == "epoch"
            assert step.epoch > before.epoch


@pytest.mark.row("B1")
@given(steps)
def test_as_many_strikes_as_wrong_guesses_since_the_last_success_of_the_epoch(history: list[Step]) -> None:
    subject, wrong = Subject(KEY), 0
    for step in history:
        blocked, before = subject.blocked_at is not None, subject.epoch
        subject = fold(subject, step.decide(subject), NOW)
        if subject.epoch > before:
            wrong = 0
        elif step.name in ("fail", "abandon") and step.back == 0 and not blocked:
            wrong += 1
        elif step.name == "succeed" and step.back == 0 and not blocked:
            wrong = 0
        assert subject.strikes == wrong


@pytest.mark.row("M3")
def test_the_third_wrong_guess_blocks_and_the_second_does_not() -> None:
    assert kinds(decide_failure(struck(1), attempt())) == ["StrikeRecorded"]
    assert kinds(decide_failure(struck(2), attempt())) == ["StrikeRecorded", "AccountBlocked"]
    assert struck(3).blocked_at == NOW


@pytest.mark.row("M3")
def test_a_blocked_subject_takes_no_further_strikes() -> None:
    assert decide_failure(struck(3), attempt()) == []
    assert decide_abandoned(struck(3), attempt()) == []


@pytest.mark.row("M3")
def test_a_right_guess_clears_strikes_below_three_and_lifts_no_block() -> None:
    assert kinds(decide_success(struck(2), attempt())) == ["StrikesCleared"]
    assert fold(struck(2), decide_success(struck(2), attempt()), NOW).strikes == 0
    assert decide_success(struck(3), attempt()) == []


def test_a_right_guess_without_strikes_is_no_event() -> None:
    assert decide_success(Subject(KEY), attempt()) == []


@pytest.mark.row("B1")
@pytest.mark.parametrize("decide", [decide_failure, decide_abandoned, decide_success])
@pytest.mark.parametrize("epoch", [1, 3])
def test_an_attempt_of_another_epoch_counts_for_nothing(decide: object, epoch: int) -> None:
    assert callable(decide)
    assert decide(struck(2, epoch=2), attempt(epoch)) == []


@pytest.mark.row("M3")
def test_a_new_epoch_wipes_strikes_and_says_so_in_public_only_if_there_was_a_block() -> None:
    quiet, loud = decide_epoch(struck(2), 1), decide_epoch(struck(3), 1)
    assert [(type_of(fact.payload), fact.is_public) for fact in quiet] == [("EpochRaised", False)]
    assert [(type_of(fact.payload), fact.is_public) for fact in loud] == [("EpochRaised", False), ("AccountUnblocked", True)]
    assert fold(struck(3), loud, NOW) == Subject(KEY, epoch=1)


@pytest.mark.parametrize("epoch", [0, 4, 5])
def test_an_epoch_that_is_not_higher_does_nothing(epoch: int) -> None:
    assert decide_epoch(struck(3, epoch=5), epoch) == []


@pytest.mark.row("B1")
def test_a_lost_attempt_says_that_it_was_lost_and_then_strikes() -> None:
    lost = Attempt(uuid4(), 0, NOW - timedelta(minutes=1))
    facts = decide_abandoned(struck(2), lost)
    assert kinds(facts) == ["AttemptAbandoned", "StrikeRecorded", "AccountBlocked"]
    assert facts[0].payload.attempt_id == facts[1].payload.attempt_id == str(lost.attempt_id)  # type: ignore[attr-defined]
    assert facts[0].payload.admitted_at.ToDatetime(tzinfo=UTC) == lost.admitted_at  # type: ignore[attr-defined]


@pytest.mark.row("B2")
@given(steps)
def test_nothing_that_happens_to_a_stranger_is_public(history: list[Step]) -> None:
    subject = Subject(STRANGER)
    for step in history:
        facts = step.decide(subject)
        assert not any(fact.is_public for fact in facts)
        subject = fold(subject, facts, NOW)


def test_strikes_and_blocks_of_a_known_account_are_public() -> None:
    assert all(fact.is_public for fact in decide_abandoned(struck(2), attempt()))


def test_an_event_of_another_stream_is_refused() -> None:
    with pytest.raises(TypeError):
        evolve(Subject(KEY), LimitTripped(), NOW)


@pytest.mark.row("M22")
def test_the_permanent_password_is_counted_under_the_accounts_own_id() -> None:
    assert KEY.subject_id == KEY.owner_id


@pytest.mark.row("M22")
def test_each_credential_of_an_owner_is_counted_apart() -> None:
    """Else a right PIN would wipe the strikes of the password."""
    ids = {replace(KEY, credential=credential).subject_id for credential in Credential.values()}
    assert len(ids) == len(Credential.values())
    other = replace(KEY, owner_id=UUID(int=8))
    assert not ids & {replace(other, credential=credential).subject_id for credential in Credential.values()}
