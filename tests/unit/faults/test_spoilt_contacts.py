"""The same with numbers, an address on file, what is told of deliveries, and an office (M11, M12, M18)."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from zasov.events.v1 import auth_event_pb2 as auth
from zasov.events.v1 import notifier_event_pb2 as notifier
from zasov.events.v1 import otp_event_pb2 as otp
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD

from tests.faults.calls import OK, Call
from tests.faults.history import Account, Event, Sms, Text
from tests.faults.invariants import violations
from tests.faults.invariants.deliveries import DELIVERED, NOT_DELIVERED, UNDERWAY
from tests.unit.faults.conftest import FIRST, PHONE, SECOND, Scribe
from tests.unit.faults.spoiling import Spoil, Spoils, assert_noticed

FIRST_EMAIL, EMAIL, NUMBER, STRANGERS = "vera.old@example.com", "Vera.New@example.com", "9160000001", "+79160000002"

spoils = Spoils()


def mail(scribe: Scribe, cause: UUID, stream: UUID, kind: str, to: str) -> UUID:
    one, message_id = uuid4(), f"<{uuid4()}@zasov.example>"
    ref = notifier.MessageRef(channel=notifier.CHANNEL_EMAIL, kind=kind)
    scribe.write("notifier", one, notifier.MessageSubmitted(message=ref))
    scribe.history.messages.append(Sms(one, cause, stream, kind, "submitted", "email"))
    scribe.history.parts[message_id] = one
    scribe.history.texts.append(Text(to.lower(), f"{kind} {one}", (message_id,)))
    return one


def issue(scribe: Scribe, call: Call, *before: Message) -> Event:
    """For that call, after what auth writes for it."""
    challenge = uuid4()
    scribe.write("auth", scribe.account, *before, cause=call)
    issued = otp.OtpIssued(expires_at=Timestamp(seconds=int(scribe.clock) + 300))
    scribe.history.owners[challenge] = scribe.account
    return scribe.write("otp", challenge, issued, cause=call)[0]


def change_email(scribe: Scribe, email: str, former: str = "") -> None:
    attempt = f"proof of {email}"
    start = scribe.call("start_email_change", OK, SECOND)
    start.contact = email
    proven = auth.PasswordProven(attempt_id=attempt, credential_version=2, session_id=str(uuid4()))
    issued = issue(scribe, start, proven)
    mail(scribe, issued.event_id, issued.stream_id, "code", email)
    confirm = scribe.call("confirm_email_change", OK)
    confirm.contact = email
    scribe.write("otp", issued.stream_id, otp.OtpVerified(), cause=confirm)
    facts: list[Message] = [auth.ContactChanged(changed=[auth.ContactChanged.PART_EMAIL])]
    facts += [auth.ContactReplaced(part=auth.ContactChanged.PART_EMAIL)] if former else []
    changed, *replaced = scribe.write("auth", scribe.account, *facts, cause=confirm)
    scribe.message(changed.event_id, scribe.account, "contact_changed", f"Changed to another {email}.")
    for event in replaced:
        mail(scribe, event.event_id, scribe.account, "contact_changed", former)


def ask(scribe: Scribe, sending: Call, told: str) -> Call:
    call = scribe.call("get_delivery", OK)
    call.about, call.told = sending.trace, (told,)
    return call


@pytest.fixture
def scribe(scribe: Scribe) -> Scribe:
    """And then: a number is put on file, and an address, and another; in by the number, back in by either contact, by an
    office's slip, and by an office.
    """
    history, account = scribe.history, scribe.account
    put = scribe.call("put_number", OK)
    put.contact = NUMBER
    scribe.write("auth", account, auth.ContactChanged(changed=[auth.ContactChanged.PART_NUMBER]), cause=put)
    scribe.right("by number", SECOND, 2).kind = "sign_in_by_number"
    scribe.call("list_contacts", OK).told = ("CONTACT_CHANNEL_PHONE",)
    change_email(scribe, FIRST_EMAIL)
    change_email(scribe, EMAIL, FIRST_EMAIL)
    history.accounts[account] = Account(PHONE, 2, EMAIL.lower(), frozenset({NUMBER}))
    scribe.call("list_contacts", OK).told = ("CONTACT_CHANNEL_PHONE", "CONTACT_CHANNEL_EMAIL")
    by_email = scribe.call("send_recovery_code", OK)
    by_email.contact = EMAIL
    issued = issue(scribe, by_email)
    mail(scribe, issued.event_id, issued.stream_id, "code", EMAIL)
    scribe.clock += 1
    ask(scribe, by_email, DELIVERED)
    by_sms = scribe.call("send_recovery_code", OK)
    issued = issue(scribe, by_sms)
    scribe.message(issued.event_id, issued.stream_id, "code", "Code 4712, request 13.")
    # A broker dates its records; here all are there at once.
    history.records = [replace(one, at=scribe.clock + 0.2) for one in history.records]
    scribe.clock -= 0.9
    ask(scribe, by_sms, UNDERWAY)
    scribe.clock += 2
    ask(scribe, by_sms, DELIVERED)
    ask(scribe, by_sms, DELIVERED)
    slip = scribe.call("print_slip", OK)
    issued = issue(scribe, slip, auth.RecoveryStartedAtOffice())
    scribe.message(issued.event_id, issued.stream_id, "office_slip", "Second half JKLMNP, request 15.")
    office = scribe.call("start_at_office", OK)
    issued = issue(scribe, office, auth.RecoveryStartedAtOffice())
    scribe.message(issued.event_id, issued.stream_id, "office_password", "Password ABCDEFGH2345, request 14.")
    return scribe


def call_of(scribe: Scribe, kind: str) -> Call:
    """The newest."""
    return [call for call in scribe.history.calls if call.kind == kind][-1]


def event_of(scribe: Scribe, kind: str) -> Event:
    return [event for event in scribe.history.events if event.kind == kind][-1]


def message_of(scribe: Scribe, kind: str, channel: str) -> Sms:
    return [one for one in scribe.history.messages if (one.kind, one.channel) == (kind, channel)][-1]


def change_message(scribe: Scribe, message: Sms, **changed: Any) -> None:
    scribe.history.messages = [replace(one, **changed) if one == message else one for one in scribe.history.messages]


def change_account(scribe: Scribe, **changed: Any) -> None:
    scribe.history.accounts[scribe.account] = replace(scribe.history.accounts[scribe.account], **changed)


def test_a_sound_history_with_contacts_breaks_nothing(scribe: Scribe) -> None:
    assert violations(scribe.history) == []


def test_what_a_crash_may_leave_is_no_violation(scribe: Scribe) -> None:
    """A proof without its code, an office's start without one, a number that was on file; and what is told after the end."""
    unclear = scribe.call("start_email_change", "UNCLEAR", SECOND)
    proven = auth.PasswordProven(attempt_id="alone", credential_version=2, session_id=str(uuid4()))
    scribe.write("auth", scribe.account, proven, cause=unclear)
    scribe.write("auth", scribe.account, auth.RecoveryStartedAtOffice(), cause=scribe.call("start_at_office", "UNCLEAR"))
    scribe.call("put_number", OK).contact = NUMBER
    sending = scribe.call("send_recovery_code", OK)
    issued = issue(scribe, sending)
    scribe.history.messages.append(Sms(uuid4(), issued.event_id, issued.stream_id, "code", "ambiguous"))
    scribe.clock += 2
    ask(scribe, sending, UNDERWAY)
    scribe.clock += 400
    ask(scribe, sending, NOT_DELIVERED)
    assert violations(scribe.history) == []


@spoils("answers agree with the store", "sign_in_by_number was answered OK, and the store holds SessionStarted")
def a_sign_in_by_number_left_no_success(scribe: Scribe) -> None:
    scribe.history.events.remove(event_of(scribe, "LoginSucceeded"))


@spoils("answers agree with the store", "start_email_change was answered OK, and the store holds OtpIssued")
def a_proof_is_gone(scribe: Scribe) -> None:
    scribe.history.events.remove(event_of(scribe, "PasswordProven"))


@spoils("answers agree with the store", "confirm_email_change was answered OK, and the store holds OtpVerified")
def an_acknowledged_change_is_gone(scribe: Scribe) -> None:
    scribe.history.events.remove(event_of(scribe, "ContactChanged"))
    scribe.history.events.remove(event_of(scribe, "ContactReplaced"))


@spoils("answers agree with the store", "link_number was answered OK, and the store holds nothing")
def a_link_was_acknowledged_and_never_made(scribe: Scribe) -> None:
    scribe.call("link_number", OK, SECOND)


@spoils("only the right password gets in", "PasswordProven at version 2")
def a_wrong_password_linked_a_number(scribe: Scribe) -> None:
    proven = auth.PasswordProven(attempt_id="of a link", credential_version=2, session_id=str(uuid4()))
    linked = auth.NumberLinked(link_id=str(uuid4()), owner_account_id=str(uuid4()), credential_version=2)
    scribe.write("auth", scribe.account, proven, linked, cause=scribe.call("link_number", OK, "Wrong-6"))


@spoils("nothing is forgotten", "0 messages for NumberLinked")
def nobody_was_told_of_a_link(scribe: Scribe) -> None:
    proven = auth.PasswordProven(attempt_id="of a link", credential_version=2, session_id=str(uuid4()))
    linked = auth.NumberLinked(link_id=str(uuid4()), owner_account_id=str(uuid4()), credential_version=2)
    scribe.write("auth", scribe.account, proven, linked, cause=scribe.call("link_number", OK, SECOND))


@spoils("answers agree with the store", "send_recovery_code was answered OK, and the store holds nothing")
def a_code_was_acknowledged_and_never_issued(scribe: Scribe) -> None:
    scribe.call("send_recovery_code", OK)


@spoils("answers agree with the store", "send_recovery_code was answered GRANT_INVALID, and the store holds OtpIssued")
def a_grant_sent_two_codes(scribe: Scribe) -> None:
    call_of(scribe, "send_recovery_code").answer = "GRANT_INVALID"


@spoils("answers agree with the store", "start_at_office was answered OK, and the store holds OtpIssued")
def nobody_knows_who_started_it_at_the_office(scribe: Scribe) -> None:
    scribe.history.events.remove(event_of(scribe, "RecoveryStartedAtOffice"))


@spoils("answers agree with the store", "print_slip was answered OK, and the store holds RecoveryStartedAtOffice")
def a_slip_was_printed_whose_other_half_does_not_exist(scribe: Scribe) -> None:
    scribe.write("auth", scribe.account, auth.RecoveryStartedAtOffice(), cause=scribe.call("print_slip", OK))


@spoils("answers agree with the store", "nobody asked for RecoveryStartedAtOffice")
def an_office_started_what_nobody_asked_for(scribe: Scribe) -> None:
    scribe.write("auth", scribe.account, auth.RecoveryStartedAtOffice())


@spoils("answers agree with the store", "was answered STAFF_ASSERTION_REJECTED")
def an_assertion_that_is_in_order_was_rejected(scribe: Scribe) -> None:
    scribe.call("start_at_office", "STAFF_ASSERTION_REJECTED")


@spoils("answers agree with the store", "and not when to try again")
def a_time_is_missing(scribe: Scribe) -> None:
    scribe.call("list_contacts", "TEMPORARILY_UNAVAILABLE").lacks_time = True


@spoils("only the right password gets in", "PasswordProven at version 2")
def a_wrong_password_proved_somebody(scribe: Scribe) -> None:
    call_of(scribe, "start_email_change").guess = "Wrong-5"


@spoils("an old password is dead", "version 1 got in after 2 was acknowledged")
def an_old_password_proved_somebody(scribe: Scribe) -> None:
    cause = scribe.call("start_email_change", OK, FIRST)
    issue(scribe, cause, auth.PasswordProven(attempt_id="old", credential_version=1, session_id=str(uuid4())))


@spoils("a block holds", "a success at version 2 after it was blocked")
def a_password_was_proven_though_blocked(scribe: Scribe) -> None:
    for number in (1, 2, 3):
        scribe.wrong(f"blocking-{number}", 2)
        scribe.strike(f"blocking-{number}", number, 2)
    scribe.clock += 1
    change_email(scribe, "another@example.com", EMAIL)


@spoils("on file is what was put there", "not the one that was confirmed last")
def the_older_address_is_on_file(scribe: Scribe) -> None:
    change_account(scribe, email=FIRST_EMAIL)


@spoils("on file is what was put there", "a number that was put there is not on file")
def an_acknowledged_number_is_gone(scribe: Scribe) -> None:
    change_account(scribe, numbers=frozenset())


@spoils("on file is what was put there", "that nobody put there")
def a_number_came_from_nowhere(scribe: Scribe) -> None:
    change_account(scribe, numbers=frozenset({NUMBER, "9999999"}))


@spoils("a number leads to its account", "leads nowhere")
def a_number_is_not_found(scribe: Scribe) -> None:
    call = scribe.call("sign_in_by_number", "CREDENTIALS_REJECTED", SECOND)
    scribe.write("auth", uuid4(), auth.LoginFailed(attempt_id="nowhere", credential=CREDENTIAL_PASSWORD), cause=call)


@spoils("a number leads to its account", "which is another's")
def a_number_leads_to_somebody_else(scribe: Scribe) -> None:
    call_of(scribe, "sign_in_by_number").phone = STRANGERS


@spoils("contacts are listed as they are", "was shown no phone")
def a_phone_was_not_listed(scribe: Scribe) -> None:
    call_of(scribe, "list_contacts").told = ("CONTACT_CHANNEL_EMAIL",)


@spoils("contacts are listed as they are", "was shown no address, and has one")
def an_address_was_not_listed(scribe: Scribe) -> None:
    call_of(scribe, "list_contacts").told = ("CONTACT_CHANNEL_PHONE",)


@spoils("contacts are listed as they are", "was shown an address, and has none")
def an_address_was_listed_that_nobody_has(scribe: Scribe) -> None:
    next(call for call in scribe.history.calls if call.kind == "list_contacts").told += ("CONTACT_CHANNEL_EMAIL",)


@spoils("delivery is told as it is", f"was told {NOT_DELIVERED}, and no event says so")
def a_message_was_told_to_be_lost_that_arrived(scribe: Scribe) -> None:
    call_of(scribe, "get_delivery").told = (NOT_DELIVERED,)


@spoils("delivery is told as it is", f"was told {DELIVERED}, and no event says so")
def a_message_was_told_to_have_arrived_that_did_not(scribe: Scribe) -> None:
    sms = message_of(scribe, "code", "sms").notification_id
    gone = [one for one in scribe.history.events if one.stream_id == sms and one.kind == "MessageDelivered"]
    scribe.history.events = [one for one in scribe.history.events if one not in gone]


@spoils("delivery is told as it is", "while nothing is told yet")
def an_end_was_told_at_once(scribe: Scribe) -> None:
    [call for call in scribe.history.calls if call.kind == "get_delivery"][1].told = (DELIVERED,)


@spoils("delivery is told as it is", f"was told {UNDERWAY}, and {DELIVERED} was known")
def a_delivery_was_kept_from_the_subscriber(scribe: Scribe) -> None:
    for call in [call for call in scribe.history.calls if call.kind == "get_delivery"][-2:]:
        call.told = (UNDERWAY,)


@spoils("delivery is told as it is", f"was told {DELIVERED} and then {UNDERWAY}")
def the_end_of_a_message_was_taken_back(scribe: Scribe) -> None:
    call_of(scribe, "get_delivery").told = (UNDERWAY,)


@spoils("delivery is told as it is", "for a code that was never issued")
def a_delivery_was_told_of_nothing(scribe: Scribe) -> None:
    ask(scribe, call_of(scribe, "list_contacts"), UNDERWAY)


def goes_to(scribe: Scribe, kind: str, channel: str, to: str) -> None:
    one = message_of(scribe, kind, channel).notification_id
    text = next(text for text in scribe.history.texts if scribe.history.parts[text.message_ids[0]] == one)
    scribe.history.texts[scribe.history.texts.index(text)] = replace(text, phone=to)


@spoils("sent where it belongs", f"a message of kind code for {EMAIL} went to {FIRST_EMAIL}")
def a_code_went_to_the_former_address(scribe: Scribe) -> None:
    goes_to(scribe, "code", "email", FIRST_EMAIL)


@spoils("sent where it belongs", f"a message of kind contact_changed for {FIRST_EMAIL} went to {EMAIL.lower()}")
def the_former_address_was_not_told(scribe: Scribe) -> None:
    goes_to(scribe, "contact_changed", "email", EMAIL.lower())


@spoils("sent where it belongs", f"a message of kind office_password for {PHONE} went to {STRANGERS}")
def a_password_of_an_office_went_to_a_stranger(scribe: Scribe) -> None:
    goes_to(scribe, "office_password", "sms", STRANGERS)


@spoils("sent where it belongs", f"a message of kind office_slip for {PHONE} went to {STRANGERS}")
def half_a_password_of_an_office_went_to_a_stranger(scribe: Scribe) -> None:
    goes_to(scribe, "office_slip", "sms", STRANGERS)


@spoils("sent once", "arrived 2 times, 0 reported")
def a_mail_arrived_twice(scribe: Scribe) -> None:
    scribe.history.texts.append([text for text in scribe.history.texts if "@" in text.phone][-1])


@spoils("nothing is forgotten", "0 messages for ContactChanged")
def a_change_of_the_address_was_never_told(scribe: Scribe) -> None:
    scribe.history.messages.remove(message_of(scribe, "contact_changed", "sms"))


@spoils("nothing is forgotten", "1 messages for ContactChanged")
def the_number_in_the_books_was_told_of(scribe: Scribe) -> None:
    put = next(one for one in scribe.history.events if one.kind == "ContactChanged")
    scribe.message(put.event_id, scribe.account, "contact_changed", "Changed.")


@spoils("nothing is forgotten", "a message of kind code is told to be delivered, and is not")
def a_mail_is_taken_in_the_store_alone(scribe: Scribe) -> None:
    one = message_of(scribe, "code", "email").notification_id
    scribe.history.texts = [text for text in scribe.history.texts if scribe.history.parts[text.message_ids[0]] != one]


@spoils("nothing is forgotten", "a message of kind code is left submitted")
def an_sms_has_no_receipt(scribe: Scribe) -> None:
    change_message(scribe, message_of(scribe, "code", "sms"), state="submitted")


@spoils("nothing is forgotten", "0 messages for TemporaryPasswordUsed")
def the_end_of_a_block_was_never_told(scribe: Scribe) -> None:
    used = auth.TemporaryPasswordUsed(credential_version=3, lifted_block=True)
    scribe.write("auth", scribe.account, used, cause=scribe.call("use_one_time", OK))


@pytest.mark.parametrize(("invariant", "text", "spoil"), spoils.all, ids=spoils.names)
def test_a_spoilt_history_is_noticed(scribe: Scribe, invariant: str, text: str, spoil: Spoil) -> None:
    assert_noticed(scribe, invariant, text, spoil)
