"""What the fault suite says of numbers that an office puts on file fails on a history in which just that was spoilt."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from zasov.events.v1 import auth_event_pb2 as auth
from zasov.events.v1 import lockout_event_pb2 as lockout
from zasov.events.v1 import otp_event_pb2 as otp
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD

from tests.faults.calls import OK, Call
from tests.faults.history import Event, Subject
from tests.faults.invariants import violations
from tests.unit.faults.conftest import PHONE, SECOND, Scribe
from tests.unit.faults.spoiling import Spoil, Spoils, assert_noticed

NEW = "+79160000009"
CHANGE = str(uuid4())
spoils = Spoils()


def put_on_file() -> list[Message]:
    return [
        auth.ContactChanged(changed=[auth.ContactChanged.PART_PHONE], via=auth.ContactChanged.VIA_OFFICE),
        auth.ContactReplaced(part=auth.ContactChanged.PART_PHONE),
        auth.SessionEnded(all=True, reason=auth.SessionEnded.REASON_OFFICE),
    ]


def invite(scribe: Scribe) -> Event:
    challenge = uuid4()
    scribe.history.owners[challenge] = scribe.account
    (issued,) = scribe.write("otp", challenge, otp.OtpIssued(purpose=otp.OTP_PURPOSE_OFFICE_PASSWORD))
    return issued


def told(scribe: Scribe, event: Event, stream: UUID, kind: str, at: str, text: str) -> None:
    scribe.message(event.event_id, stream, kind, text)
    scribe.history.texts[-1] = replace(scribe.history.texts[-1], phone=at)


def ask_again(scribe: Scribe) -> Call:
    """What the office is asked once more, and the store holds of it so far."""
    call = scribe.call("request_new_phone", OK)
    call.contact = NEW
    requested: list[Message] = [auth.RecoveryStartedAtOffice(), auth.ContactChangeRequested(change_id=str(uuid4()))]
    *_, asked = scribe.write("auth", scribe.account, *requested, cause=call)
    told(scribe, asked, scribe.account, "contact_change_requested", NEW, "Asked for again.")
    return call


@pytest.fixture
def scribe(scribe: Scribe) -> Scribe:
    """And then: an office is asked for another number, one approves it, it is put on file, and they are invited."""
    history, account = scribe.history, scribe.account
    ask = scribe.call("request_new_phone", OK)
    ask.contact = NEW
    requested: list[Message] = [auth.RecoveryStartedAtOffice(), auth.ContactChangeRequested(change_id=CHANGE)]
    *_, asked = scribe.write("auth", account, *requested, cause=ask)
    told(scribe, asked, account, "contact_change_requested", PHONE, "Asked for.")
    scribe.call("approve_own_request", "SECOND_APPROVER_REQUIRED")
    approve = scribe.call("approve_new_phone", OK)
    due = Timestamp(seconds=int(scribe.clock) + 2)
    scribe.write("auth", account, auth.ContactChangeApproved(change_id=CHANGE, carried_out_from=due), cause=approve)
    scribe.clock += 3
    changed, replaced, _ = scribe.write("auth", account, *put_on_file())
    history.ended_sessions |= history.live_sessions
    history.live_sessions = set()
    history.accounts[account] = replace(history.accounts[account], handset=NEW)
    told(scribe, changed, account, "contact_changed", NEW, "Changed to this.")
    told(scribe, replaced, account, "contact_changed", PHONE, "Changed to another.")
    issued = invite(scribe)
    told(scribe, issued, issued.stream_id, "office_password", NEW, "Password ABCDEFGH2345, request 16.")
    scribe.clock += 1
    scribe.right("by the new one", SECOND, 2).kind = "sign_in_by_new_phone"
    former = scribe.call("sign_in_by_former_phone", "CREDENTIALS_REJECTED", SECOND)
    stranger = uuid4()
    scribe.write("auth", stranger, auth.LoginFailed(attempt_id="nobody's", credential=CREDENTIAL_PASSWORD), cause=former)
    about = {"account_id": str(stranger), "credential": CREDENTIAL_PASSWORD}
    scribe.write("lockout", stranger, lockout.StrikeRecorded(**about, strikes=1, attempt_id="nobody's"))
    history.subjects[stranger] = Subject(0, 1, is_blocked=False)
    return scribe


def change(scribe: Scribe, newest: str, **changed: Any) -> None:
    """newest: the kind of the event."""
    place = max(n for n, one in enumerate(scribe.history.events) if one.kind == newest)
    scribe.history.events[place] = replace(scribe.history.events[place], **changed)


def remove(scribe: Scribe, kind: str) -> None:
    scribe.history.events.remove([one for one in scribe.history.events if one.kind == kind][-1])


def goes_to(scribe: Scribe, text: str, phone: str) -> None:
    place = next(n for n, one in enumerate(scribe.history.texts) if one.text == text)
    scribe.history.texts[place] = replace(scribe.history.texts[place], phone=phone)


def test_a_sound_history_with_a_new_number_breaks_nothing(scribe: Scribe) -> None:
    assert violations(scribe.history) == []


def test_what_a_late_claim_or_a_lost_answer_leaves_is_no_violation(scribe: Scribe) -> None:
    """A notice of before that finds the new number on file, a lost answer to the approval, a request that nobody approved."""
    goes_to(scribe, "Asked for.", NEW)
    next(call for call in scribe.history.calls if call.kind == "approve_new_phone").answer = "UNCLEAR"
    ask_again(scribe)
    assert violations(scribe.history) == []


@spoils("a new number takes two and time", "was put on file that nobody approved")
def a_number_was_put_on_file_unapproved(scribe: Scribe) -> None:
    remove(scribe, "ContactChangeApproved")


@spoils("a new number takes two and time", "was put on file that nobody approved")
def a_cancelled_number_was_put_on_file(scribe: Scribe) -> None:
    change(scribe, "ContactChangeApproved", kind="ContactChangeCancelled")


@spoils("a new number takes two and time", "was put on file that nobody approved")
def a_number_was_put_on_file_twice(scribe: Scribe) -> None:
    scribe.write("auth", scribe.account, *put_on_file())


@spoils("a new number takes two and time", "s too early")
def a_number_was_put_on_file_before_its_time(scribe: Scribe) -> None:
    moved = next(one for one in scribe.history.events if one.kind == "ContactReplaced")
    change(scribe, "ContactChanged", at=moved.at - 2)


@spoils("a new number takes two and time", "was never put on file")
def an_approved_number_was_forgotten(scribe: Scribe) -> None:
    remove(scribe, "ContactChanged")


@spoils("a new number takes two and time", "is not the one that was approved")
def the_former_number_is_on_file(scribe: Scribe) -> None:
    scribe.history.accounts[scribe.account] = replace(scribe.history.accounts[scribe.account], handset="")


@spoils("a new number takes two and time", "a one-time password of an office was sent that nobody asked for")
def both_servers_invited(scribe: Scribe) -> None:
    invite(scribe)


@spoils("answers agree with the store", "approve_own_request was answered OK, and the store holds ContactChangeApproved")
def one_of_the_staff_did_both(scribe: Scribe) -> None:
    next(call for call in scribe.history.calls if call.kind == "approve_new_phone").kind = "approve_own_request"


@spoils("answers agree with the store", "request_new_phone was answered OK, and the store holds nothing")
def a_request_was_acknowledged_and_never_stored(scribe: Scribe) -> None:
    scribe.call("request_new_phone", OK).contact = NEW


@spoils("answers agree with the store", "nobody asked for ContactChanged")
def a_contact_changed_by_nobody(scribe: Scribe) -> None:
    scribe.write("auth", scribe.account, auth.ContactChanged(via=auth.ContactChanged.VIA_SUBSCRIBER))


@spoils("a former number leads nowhere", "leads to")
def the_former_number_leads_to_the_account_still(scribe: Scribe) -> None:
    scribe.right("by the former one", SECOND, 2).kind = "sign_in_by_former_phone"


@spoils("a number leads to its account", "leads nowhere")
def the_new_number_leads_nowhere(scribe: Scribe) -> None:
    call = scribe.call("sign_in_by_new_phone", "CREDENTIALS_REJECTED", SECOND)
    scribe.write("auth", uuid4(), auth.LoginFailed(attempt_id="nowhere", credential=CREDENTIAL_PASSWORD), cause=call)


@spoils("sent where it belongs", f"a message of kind office_password for {PHONE} went to {PHONE}")
def the_invitation_went_to_the_former_number(scribe: Scribe) -> None:
    goes_to(scribe, "Password ABCDEFGH2345, request 16.", PHONE)


@spoils("sent where it belongs", f"a message of kind contact_changed for {PHONE} went to {NEW}")
def the_former_number_was_not_told(scribe: Scribe) -> None:
    goes_to(scribe, "Changed to another.", NEW)


@spoils("nothing is forgotten", "0 messages for ContactChangeRequested")
def nobody_was_told_that_a_number_was_asked_for(scribe: Scribe) -> None:
    scribe.history.messages = [one for one in scribe.history.messages if one.kind != "contact_change_requested"]


@spoils("old sessions have ended", "outlived")
def a_session_outlived_the_former_number(scribe: Scribe) -> None:
    scribe.history.live_sessions.add(scribe.history.ended_sessions.pop())


@pytest.mark.parametrize(("invariant", "text", "spoil"), spoils.all, ids=spoils.names)
def test_a_spoilt_history_is_noticed(scribe: Scribe, invariant: str, text: str, spoil: Spoil) -> None:
    assert_noticed(scribe, invariant, text, spoil)
