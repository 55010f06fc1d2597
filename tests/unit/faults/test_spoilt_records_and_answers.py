"""What the fault suite says of Kafka, answers and messages fails on a history in which just that was spoilt."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from zasov.events.v1 import auth_event_pb2 as auth
from zasov.events.v1 import otp_event_pb2 as otp

from tests.faults.calls import OK
from tests.faults.history import Text
from tests.faults.invariants import violations
from tests.unit.faults.conftest import FIRST, PHONE, SECOND, Scribe
from tests.unit.faults.spoiling import Spoil, Spoils, assert_noticed

TOLD_BY_CALL = (
    "answers agree with the store", "time is the database's", "only the right password gets in", "an old password is dead",
)  # fmt: skip
SITES = otp.OTP_PURPOSE_TEMPORARY_PASSWORD

spoils = Spoils()


@spoils("each event is in Kafka", "is not in Kafka")
def an_event_never_reached_kafka(scribe: Scribe) -> None:
    scribe.history.records.pop(3)


@spoils("each event is in Kafka", "but not (as public) in the store")
def kafka_has_an_event_whose_commit_was_lost(scribe: Scribe) -> None:
    scribe.history.events.remove(next(one for one in scribe.history.events if one.kind == "LoginFailed"))


@spoils("each event is in Kafka", "differs in Kafka")
def other_bytes_were_published(scribe: Scribe) -> None:
    scribe.history.records[0] = replace(scribe.history.records[0], value=b"")


@spoils("each event is in Kafka", "differs in Kafka")
def an_event_was_published_under_another_key(scribe: Scribe) -> None:
    scribe.history.records[0] = replace(scribe.history.records[0], key=str(uuid4()))


@spoils("each event is in Kafka", "as different bytes")
def a_copy_has_other_bytes(scribe: Scribe) -> None:
    scribe.history.records.insert(0, replace(scribe.history.records[0], value=b"", offset=0))


@spoils("in order per subject", "after")
def two_versions_changed_places(scribe: Scribe) -> None:
    first, second = [one for one in scribe.history.records if one.service == "auth"][:2]
    scribe.history.records.remove(first)
    scribe.history.records.append(replace(first, offset=second.offset + 0.5))  # type: ignore[arg-type]


@spoils("in order per subject", "two partitions")
def a_stream_went_to_two_partitions(scribe: Scribe) -> None:
    scribe.history.records[0] = replace(scribe.history.records[0], partition=1)


@spoils("nothing is left over", "attempts are open")
def an_attempt_was_left_open(scribe: Scribe) -> None:
    scribe.history.open_attempts = 1


@spoils("nothing is left over", "outbox")
def an_outbox_was_left_full(scribe: Scribe) -> None:
    scribe.history.outboxes = {"auth": 1}


@spoils("nothing is left over", "still due")
def a_message_was_left_due(scribe: Scribe) -> None:
    scribe.history.undelivered = 1


@spoils("nothing is left over", "dead letters")
def a_record_became_a_dead_letter(scribe: Scribe) -> None:
    scribe.history.dead_letters = 1


@spoils("nothing is left over", "never ended")
def a_call_never_ended(scribe: Scribe) -> None:
    scribe.history.calls[0].ended = None


@spoils("answers agree with the store", "was answered OK, and the store holds nothing")
def an_acknowledged_sign_in_is_gone(scribe: Scribe) -> None:
    scribe.call("sign_in", OK, SECOND).session_id = str(uuid4())


@spoils("answers agree with the store", "was answered CREDENTIALS_REJECTED, and the store holds nothing")
def an_acknowledged_failure_is_gone(scribe: Scribe) -> None:
    scribe.call("sign_in", "CREDENTIALS_REJECTED", "Wrong-2")


@spoils("answers agree with the store", "was answered COOL_DOWN")
def a_refused_code_was_issued(scribe: Scribe) -> None:
    scribe.history.calls[
        next(n for n, one in enumerate(scribe.history.calls) if one.kind == "start_recovery")
    ].answer = "COOL_DOWN"


@spoils("answers agree with the store", "the store holds LoginFailed, LoginSucceeded")
def an_unclear_call_was_evaluated_twice(scribe: Scribe) -> None:
    call = scribe.right("twice", SECOND, 2)
    call.answer = "UNCLEAR"
    scribe.write("auth", scribe.account, auth.LoginFailed(attempt_id="other", credential_version=2), cause=call)


@spoils("answers agree with the store", "INTERNAL")
def a_call_was_answered_internal(scribe: Scribe) -> None:
    scribe.call("introspect", "INTERNAL")


@spoils("answers agree with the store", "is not the one that is stored")
def another_session_was_answered(scribe: Scribe) -> None:
    scribe.history.calls[-1].session_id = str(uuid4())


@spoils("answers agree with the store", "does not exist")
def an_acknowledged_session_is_gone(scribe: Scribe) -> None:
    scribe.history.live_sessions.clear()


@spoils("answers agree with the store", "nobody asked for")
def an_event_comes_from_nowhere(scribe: Scribe) -> None:
    scribe.write("otp", uuid4(), otp.OtpRefused())


@spoils("time is the database's", "is dated")
def an_event_was_dated_by_a_wrong_clock(scribe: Scribe) -> None:
    place, event = next((n, one) for n, one in enumerate(scribe.history.events) if one.kind == "LoginFailed")
    scribe.history.events[place] = replace(event, at=event.at + 3600)


@spoils("only the right password gets in", "LoginSucceeded")
def a_wrong_password_got_in(scribe: Scribe) -> None:
    scribe.right("wrong", "Wrong-3", 2)


@spoils("only the right password gets in", "LoginFailed")
def a_right_password_was_called_wrong(scribe: Scribe) -> None:
    scribe.wrong("was right", 2)
    scribe.history.calls[-1].guess = SECOND


@spoils("only the right password gets in", "no password that anybody chose")
def a_password_that_nobody_chose_was_stored(scribe: Scribe) -> None:
    del scribe.history.passwords[scribe.account, 2]


@spoils("an old password is dead", "got in after 2 was acknowledged")
def an_old_password_got_in(scribe: Scribe) -> None:
    scribe.right("old", FIRST, 1)


@spoils("an old password is dead", "follows version 2")
def an_old_password_got_in_at_the_same_time(scribe: Scribe) -> None:
    scribe.right("old", FIRST, 1).started = 0.0


@spoils("old sessions have ended", "outlived")
def an_old_session_lives_on(scribe: Scribe) -> None:
    session = scribe.history.ended_sessions.pop()
    scribe.history.live_sessions.add(session)


@spoils("old sessions have ended", "by nothing")
def a_session_ended_without_an_event(scribe: Scribe) -> None:
    scribe.history.ended_sessions.add(UUID(scribe.history.calls[-1].session_id))


@spoils("old sessions have ended", "was active after")
def an_old_session_was_told_to_be_active(scribe: Scribe) -> None:
    first = next(one for one in scribe.history.calls if one.session_id)
    scribe.call("introspect", OK).session_id = first.session_id


@spoils("codes: three tries, one use", "wrong 4 times")
def a_code_was_tried_four_times(scribe: Scribe) -> None:
    challenge = next(one.stream_id for one in scribe.history.events if one.kind == "OtpIssued")
    for _ in range(4):
        scribe.write("otp", challenge, otp.OtpFailed(), cause=scribe.call("confirm_recovery", "CODE_REJECTED"))


@spoils("codes: three tries, one use", "wrong 4 times")
def a_one_time_password_was_tried_four_times_without_its_grant(scribe: Scribe) -> None:
    challenge = next(one.stream_id for one in scribe.history.events if one.kind == "OtpIssued")
    for _ in range(4):
        failed = otp.OtpFailed(without_grant=True)
        scribe.write("otp", challenge, failed, cause=scribe.call("use_one_time", "CODE_REJECTED"))


@spoils("codes: three tries, one use", "OtpVerified after OtpVerified")
def a_code_was_used_twice(scribe: Scribe) -> None:
    challenge = next(one.stream_id for one in scribe.history.events if one.kind == "OtpIssued")
    scribe.write("otp", challenge, otp.OtpVerified(), cause=scribe.call("confirm_recovery", OK))


def code_with(scribe: Scribe, *then: Message) -> None:
    """One that was issued, and what became of it, each by a call without the grant of its request."""
    challenge = uuid4()
    for one in (otp.OtpIssued(purpose=SITES), *then):
        call = scribe.call("use_one_time", OK if isinstance(one, otp.OtpVerified) else "CODE_REJECTED")
        call.lacks_grant = True
        scribe.write("otp", challenge, one, cause=call)


@spoils("codes: three tries, one use", "OtpVerified after three wrong checks")
def a_code_was_right_after_three_wrong_ones(scribe: Scribe) -> None:
    code_with(scribe, *[otp.OtpFailed()] * 3, otp.OtpVerified(purpose=SITES))


@spoils("codes: three tries, one use", "was checked 4 times, wrong 3 times")
def a_code_was_right_after_three_wrong_ones_without_its_grant(scribe: Scribe) -> None:
    code_with(scribe, *[otp.OtpFailed(without_grant=True)] * 3, otp.OtpVerified(purpose=SITES))


@spoils("codes: three tries, one use", "was checked 4 times, wrong 3 times")
def a_code_was_right_while_three_wrong_ones_were_under_way(scribe: Scribe) -> None:
    code_with(scribe, otp.OtpVerified(purpose=otp.OTP_PURPOSE_RECOVERY), *[otp.OtpFailed()] * 3)


@spoils("codes: three tries, one use", "OtpVerified after OtpSuperseded")
def a_code_was_right_after_a_newer_one_took_its_place(scribe: Scribe) -> None:
    code_with(scribe, otp.OtpSuperseded(), otp.OtpVerified(purpose=SITES))


@spoils("codes: three tries, one use", "OtpVerified after OtpExpired")
def a_code_was_right_after_its_expiry(scribe: Scribe) -> None:
    code_with(scribe, otp.OtpExpired(), otp.OtpVerified(purpose=SITES))


def test_strangers_tries_take_none_of_the_owners_and_a_wrong_check_may_come_after_the_end(scribe: Scribe) -> None:
    """Without the grant three were wrong; with it two, and the third right; a stranger's was right at the third."""
    code_with(scribe, *[otp.OtpFailed(without_grant=True)] * 3, *[otp.OtpFailed()] * 2, otp.OtpVerified(purpose=SITES))
    scribe.history.calls[-1].lacks_grant = False
    code_with(scribe, *[otp.OtpFailed()] * 2, *[otp.OtpFailed(without_grant=True)] * 2, otp.OtpVerified(purpose=SITES))
    code_with(scribe, otp.OtpSuperseded(), *[otp.OtpFailed()] * 3)
    assert [text for name, text in violations(scribe.history) if name == "codes: three tries, one use"] == []


def start_with(scribe: Scribe, proof: str, answer: str, *written: Message) -> None:
    call = scribe.call("start_recovery", answer)
    call.proof = proof
    for one in written:
        scribe.write("otp", uuid4(), one, cause=call)


def test_a_captcha_that_let_one_call_pass_breaks_nothing(scribe: Scribe) -> None:
    """Of two at once the other was rejected; and nobody knows what became of a third."""
    for proof in ("one", "another"):
        start_with(scribe, proof, OK, otp.DecoyIssued())
        start_with(scribe, proof, "CAPTCHA_REJECTED")
        start_with(scribe, proof, "UNCLEAR")
    assert violations(scribe.history) == []


@spoils("a captcha is good once", "one captcha let 2 calls pass")
def one_captcha_had_two_codes_sent(scribe: Scribe) -> None:
    for _ in range(2):
        start_with(scribe, "one", OK, otp.DecoyIssued())


@spoils("a captcha is good once", "one captcha let 2 calls pass")
def a_captcha_was_good_again_for_a_number_that_had_to_wait(scribe: Scribe) -> None:
    start_with(scribe, "one", OK, otp.DecoyIssued())
    start_with(scribe, "one", "COOL_DOWN")


@spoils("a captcha is good once", "one captcha let 2 calls pass")
def a_captcha_was_good_again_after_an_answer_was_lost(scribe: Scribe) -> None:
    start_with(scribe, "one", "UNCLEAR", otp.DecoyIssued())
    start_with(scribe, "one", OK, otp.DecoyIssued())


@spoils("sent once", "arrived 2 times, 0 reported")
def a_message_arrived_twice(scribe: Scribe) -> None:
    scribe.history.parts["again"] = scribe.history.messages[0].notification_id
    scribe.history.texts.append(Text(PHONE, "Blocked.", ("again",)))


@spoils("sent once", "unknown to the notifier, 0 were reported")
def a_message_arrived_that_the_store_knows_nothing_of(scribe: Scribe) -> None:
    scribe.history.texts.append(Text(PHONE, "Blocked.", ("unknown",)))


@spoils("sent once", "the same code arrived 2 times")
def a_code_arrived_twice_under_two_notifications(scribe: Scribe) -> None:
    code = next(one for one in scribe.history.texts if "4711" in one.text)
    scribe.history.parts["again"] = scribe.history.messages[0].notification_id
    scribe.history.texts = [one for one in scribe.history.texts if one.text != "Blocked."]
    scribe.history.texts.append(replace(code, message_ids=("again",)))


@spoils("nothing is forgotten", "0 messages for AccountBlocked")
def a_block_was_never_told(scribe: Scribe) -> None:
    scribe.history.messages = [one for one in scribe.history.messages if one.kind != "account_blocked"]


@spoils("nothing is forgotten", "is left submitted")
def a_message_never_ended(scribe: Scribe) -> None:
    scribe.history.messages[0] = replace(scribe.history.messages[0], state="submitted")


@spoils("nothing is forgotten", "and is not")
def a_message_is_delivered_in_the_store_alone(scribe: Scribe) -> None:
    scribe.history.texts.pop()


@spoils("nothing is forgotten", "was never sent")
def a_notice_was_voided(scribe: Scribe) -> None:
    scribe.history.messages[0] = replace(scribe.history.messages[0], state="void")


@spoils("other checkers", "the trace is no behaviour of the model")
def another_checker_objects(scribe: Scribe) -> None:
    scribe.history.extra.append("the trace is no behaviour of the model")


def a_wrong_guess_was_answered_late(scribe: Scribe) -> None:
    call = scribe.wrong(str(uuid4()), 2)
    call.started = call.ended = scribe.clock + 60


AGAIN: tuple[Spoil, ...] = (
    an_acknowledged_sign_in_is_gone, an_acknowledged_failure_is_gone, a_call_was_answered_internal, a_wrong_password_got_in,
    a_wrong_guess_was_answered_late, an_old_password_got_in,
)  # fmt: skip


@pytest.mark.parametrize("spoil", AGAIN)
def test_what_happens_again_after_another_fault_is_told_again(scribe: Scribe, spoil: Spoil) -> None:
    """A sentence that was said before is not: each says which call it means."""
    spoil(scribe)
    spoil(scribe)
    said = [text for name, text in violations(scribe.history) if name in TOLD_BY_CALL]
    assert len(said) >= 2
    assert len(set(said)) == len(said)


@pytest.mark.parametrize(("invariant", "text", "spoil"), spoils.all, ids=spoils.names)
def test_a_spoilt_history_is_noticed(scribe: Scribe, invariant: str, text: str, spoil: Spoil) -> None:
    assert_noticed(scribe, invariant, text, spoil)
