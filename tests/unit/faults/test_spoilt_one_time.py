"""What the fault suite says of one-time passwords and SMS commands fails on a history in which just that was spoilt."""

from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from zasov.events.v1 import auth_event_pb2 as auth
from zasov.events.v1 import notifier_event_pb2 as notifier
from zasov.events.v1 import otp_event_pb2 as otp

from tests.faults.calls import OK, Call
from tests.faults.history import Account, Event, Text
from tests.faults.invariants import violations
from tests.unit.faults.conftest import PHONE, SECOND, Scribe
from tests.unit.faults.spoiling import Spoil, Spoils, assert_noticed

THIRD = "Osen-in-Tver-3"
SAID = "Password ABCDEFGH23, request 12."

spoils = Spoils()


@pytest.fixture
def scribe(scribe: Scribe) -> Scribe:
    """And then: a password is proposed by SMS, its one-time password is used, and it is confirmed."""
    history, account = scribe.history, scribe.account
    scribe.call("propose", OK, new=THIRD)
    scribe.write("notifier", uuid4(), notifier.SmsReceived())
    scribe.write("auth", account, auth.PasswordProposed())
    challenge = uuid4()
    (issued,) = scribe.write("otp", challenge, otp.OtpIssued(purpose=otp.OTP_PURPOSE_PROPOSED_PASSWORD))
    history.owners[challenge] = account
    scribe.message(issued.event_id, challenge, "proposed_password", SAID)
    use = scribe.call("use_one_time", OK)
    scribe.write("otp", challenge, otp.OtpVerified(), cause=use)
    used: list[Message] = [auth.TemporaryPasswordUsed(credential_version=3), auth.SessionEnded(all=True)]
    scribe.write("auth", account, *used, cause=use)
    scribe.raise_epoch(3)
    confirm = scribe.call("confirm_proposed", OK, new=THIRD)
    confirm.session_id = str(uuid4())
    history.ended_sessions |= history.live_sessions
    history.live_sessions = {UUID(confirm.session_id)}
    ended = auth.SessionEnded(all_except_session_id=confirm.session_id)
    started = auth.SessionStarted(session_id=confirm.session_id)
    reset, *_ = scribe.write("auth", account, auth.PasswordReset(credential_version=4), ended, started, cause=confirm)
    scribe.raise_epoch(4)
    history.passwords[account, 4] = THIRD
    history.accounts[account] = Account(PHONE, 4)
    scribe.message(reset.event_id, account, "password_changed", "Changed.")
    return scribe


def call_of(scribe: Scribe, kind: str) -> Call:
    return next(call for call in scribe.history.calls if call.kind == kind)


def event_of(scribe: Scribe, kind: str) -> Event:
    """The newest."""
    return [event for event in scribe.history.events if event.kind == kind][-1]


def test_a_sound_history_with_a_one_time_password_breaks_nothing(scribe: Scribe) -> None:
    assert violations(scribe.history) == []


@spoils("codes: three tries, one use", "OtpVerified after OtpVerified")
def a_one_time_password_was_used_twice(scribe: Scribe) -> None:
    scribe.write("otp", event_of(scribe, "OtpVerified").stream_id, otp.OtpVerified(), cause=scribe.call("use_one_time", OK))


@spoils("answers agree with the store", "use_one_time was answered OK, and the store holds SessionEnded, TemporaryPasswordUsed")
def one_was_used_that_was_never_right(scribe: Scribe) -> None:
    scribe.history.events.remove(event_of(scribe, "OtpVerified"))


@spoils(
    "answers agree with the store",
    "use_one_time was answered OK, and the store holds OtpVerified, SessionEnded, SessionStarted",
)
def a_session_began_before_the_choice(scribe: Scribe) -> None:
    scribe.write("auth", scribe.account, auth.SessionStarted(session_id=str(uuid4())), cause=call_of(scribe, "use_one_time"))


@spoils("only the right password gets in", "which has no password")
def the_old_password_got_in_before_the_choice(scribe: Scribe) -> None:
    scribe.right("too-late", SECOND, 3)


@spoils("an old password is dead", "version 2 got in after")
def the_old_password_got_in_after_the_use(scribe: Scribe) -> None:
    scribe.right("too-late", SECOND, 2)


@spoils("the password is what was chosen", "confirm_proposed set a password")
def what_was_confirmed_was_not_proposed(scribe: Scribe) -> None:
    scribe.history.passwords[scribe.account, 4] = SECOND


@spoils("the password is what was chosen", "choose_recovery set a password")
def what_was_set_was_not_chosen(scribe: Scribe) -> None:
    call_of(scribe, "choose_recovery").new_password = THIRD


@spoils("old sessions have ended", "outlived a new password")
def a_session_outlived_a_one_time_password(scribe: Scribe) -> None:
    ended = UUID(call_of(scribe, "choose_recovery").session_id)
    scribe.history.ended_sessions.remove(ended)
    scribe.history.live_sessions.add(ended)


@spoils("texts are received once", "2 texts are stored, 1 were acknowledged, 1 sent")
def a_text_was_received_twice(scribe: Scribe) -> None:
    scribe.write("notifier", uuid4(), notifier.SmsReceived())


@spoils("texts are received once", "0 texts are stored, 1 were acknowledged")
def an_acknowledged_text_is_gone(scribe: Scribe) -> None:
    scribe.history.events.remove(event_of(scribe, "SmsReceived"))


@spoils("texts are received once", "OtpIssued")
def a_one_time_password_went_to_somebody_who_texted_nothing(scribe: Scribe) -> None:
    other = uuid4()
    scribe.history.accounts[other] = Account("+79160000002", 1)
    scribe.history.owners[event_of(scribe, "OtpIssued").stream_id] = other


@spoils("texts are received once", "PasswordProposed")
def a_proposal_was_made_by_nobody(scribe: Scribe) -> None:
    call_of(scribe, "propose").phone = "+79160000002"


@spoils("sent once", "unknown to the notifier")
def a_one_time_password_arrived_twice(scribe: Scribe) -> None:
    scribe.history.texts.append(Text(PHONE, SAID, ("unknown",)))


@spoils("nothing is forgotten", "0 messages for OtpIssued")
def a_one_time_password_was_never_sent(scribe: Scribe) -> None:
    scribe.history.messages = [one for one in scribe.history.messages if one.kind != "proposed_password"]


@pytest.mark.parametrize(("invariant", "text", "spoil"), spoils.all, ids=spoils.names)
def test_a_spoilt_history_is_noticed(scribe: Scribe, invariant: str, text: str, spoil: Spoil) -> None:
    assert_noticed(scribe, invariant, text, spoil)
