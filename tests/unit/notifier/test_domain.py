"""What follows from what happens to a message: pure rules, by example and by search."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zasov.events.v1.notifier_event_pb2 import CHANNEL_SMS, MessageFailed

from services.chassis.eventstore import type_of
from services.notifier import domain
from services.notifier.domain import ChannelId, Kind, Message, PartState, Policy, Report, State, Step, Wanted

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy(
    event_max_age=timedelta(hours=1),
    notice_lifetime=timedelta(hours=6),
    code_resends=1,
    retry_first=timedelta(seconds=0.5),
    retry_most=timedelta(seconds=15),
)
SUBMITTING = Message(
    notification_id=UUID(int=1),
    cause_event_id=UUID(int=2),
    cause_stream_id=UUID(int=3),
    kind=Kind.CODE,
    channel=ChannelId.SMS,
    state=State.SUBMITTING,
    created_at=NOW,
    deadline=NOW + timedelta(minutes=5),
    attempt=1,
)
parts = st.lists(st.sampled_from(PartState), min_size=1, max_size=5)
kinds = st.sampled_from(Kind)


def names(step: Step) -> list[str]:
    return [type_of(fact.payload) for fact in step.facts]


def test_the_attempt_is_counted_before_the_message_goes_out() -> None:
    pending = replace(SUBMITTING, state=State.PENDING)
    begun = domain.begin(pending).message
    assert (begun.state, begun.attempt) == (State.SUBMITTING, 2)


def test_facts_name_the_cause_and_the_attempt_and_nobody() -> None:
    (fact,) = domain.refused(SUBMITTING, 11).facts
    ref = fact.payload.message  # type: ignore[attr-defined]
    assert (ref.cause_event_id, ref.channel, ref.kind, ref.attempt) == (str(UUID(int=2)), CHANNEL_SMS, "code", 1)


def test_a_code_in_doubt_is_sent_again_once() -> None:
    first = domain.unknown(SUBMITTING, POLICY, NOW)
    assert (first.message.state, first.facts[0].payload.resent) == (State.PENDING, True)  # type: ignore[attr-defined]
    second = domain.unknown(replace(first.message, state=State.SUBMITTING), POLICY, NOW)
    assert (second.message.state, second.facts[0].payload.resent) == (State.AMBIGUOUS, False)  # type: ignore[attr-defined]
    assert second.message.report is Report.FAILED


@pytest.mark.parametrize("kind", [Kind.ACCOUNT_BLOCKED, Kind.PASSWORD_CHANGED])
def test_a_notice_in_doubt_is_not_sent_again(kind: Kind) -> None:
    step = domain.unknown(replace(SUBMITTING, kind=kind), POLICY, NOW)
    assert (step.message.state, step.due_in) == (State.AMBIGUOUS, None)


@pytest.mark.row("M10")
def test_a_dead_code_in_doubt_is_not_sent_again() -> None:
    assert domain.unknown(SUBMITTING, POLICY, SUBMITTING.deadline).message.state is State.AMBIGUOUS


@pytest.mark.row("M10")
def test_at_its_deadline_a_message_is_given_up_and_not_put_off() -> None:
    step = domain.put_off(SUBMITTING, timedelta(seconds=1), SUBMITTING.deadline)
    assert step.facts[0].payload.reason == MessageFailed.REASON_EXPIRED  # type: ignore[attr-defined]


@given(pause=st.timedeltas(timedelta(0), timedelta(days=1)), left=st.timedeltas(timedelta(microseconds=1), timedelta(hours=1)))
def test_a_message_that_is_put_off_is_looked_at_again_by_its_deadline(pause: timedelta, left: timedelta) -> None:
    step = domain.put_off(SUBMITTING, pause, SUBMITTING.deadline - left)
    assert step.due_in is not None
    assert step.due_in <= left


@given(tries=st.integers(0, 10**9), jitter=st.floats(0, 1))
def test_pauses_grow_within_bounds(tries: int, jitter: float) -> None:
    pause = POLICY.pause(tries, jitter)
    assert POLICY.retry_first / 2 <= pause <= POLICY.retry_most
    assert POLICY.pause(tries + 1, jitter) >= pause


@pytest.mark.row("M11")
@given(parts=parts)
def test_a_message_is_delivered_only_when_every_part_is(parts: list[PartState]) -> None:
    step = domain.submitted(SUBMITTING, parts)
    delivered = all(part is PartState.DELIVERED for part in parts)
    lost = bool({PartState.EXPIRED, PartState.UNDELIVERABLE} & set(parts))
    assert step.message.state is (State.FAILED if lost else State.DELIVERED if delivered else State.SUBMITTED)
    assert names(step)[0] == "MessageSubmitted"
    assert step.message.report is Report.SENT


@given(parts=parts, state=st.sampled_from([state for state in State if state is not State.SUBMITTED]))
def test_receipts_change_only_a_message_that_was_submitted(parts: list[PartState], state: State) -> None:
    assert domain.receipt(replace(SUBMITTING, state=state), parts) is None


@given(kind=kinds, parts=parts, status=st.integers(1, 2**32 - 1), resends=st.integers(0, 3))
def test_the_version_counts_the_facts(kind: Kind, parts: list[PartState], status: int, resends: int) -> None:
    message = replace(SUBMITTING, kind=kind, resends=resends)
    for step in (
        domain.submitted(message, parts),
        domain.refused(message, status),
        domain.void(message),
        domain.expired(message),
        domain.unknown(message, POLICY, NOW),
        domain.put_off(message, timedelta(seconds=1), NOW),
    ):
        assert step.message.version == message.version + len(step.facts)


def test_what_the_issuer_voided_it_is_not_told_of() -> None:
    assert domain.void(SUBMITTING).message.report is None


@given(age=st.timedeltas(timedelta(0), timedelta(days=1000)))
def test_only_messages_for_young_events_are_accepted(age: timedelta) -> None:
    wanted = Wanted(UUID(int=2), UUID(int=3), Kind.CODE, NOW - age)
    step = domain.accept(replace(SUBMITTING, state=State.PENDING), wanted, POLICY, NOW)
    assert step.message.state is (State.PENDING if age <= POLICY.event_max_age else State.VOID)


def test_the_deadline_of_a_code_is_its_own_and_that_of_a_notice_the_policys() -> None:
    expires = NOW + timedelta(minutes=1)
    code = Wanted(UUID(int=2), UUID(int=3), Kind.CODE, NOW, expires)
    notice = Wanted(UUID(int=2), UUID(int=3), Kind.ACCOUNT_BLOCKED, NOW)
    assert (code.deadline(POLICY), notice.deadline(POLICY)) == (expires, NOW + POLICY.notice_lifetime)
