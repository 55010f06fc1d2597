"""Numbers that an office puts on file (M18): asked for by one of its staff, approved by another, carried out later."""

from uuid import UUID

from zasov.events.v1.auth_event_pb2 import ContactChanged, SessionEnded
from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_OFFICE_PASSWORD

from tests.faults.history import Event, History

_MOVE = ("ContactChangeRequested", "ContactChangeApproved", "ContactChangeCancelled", "ContactChanged")


def by_an_office(event: Event) -> bool:
    """What comes of an approved number, by no call: it is put on file, all sessions end, and a one-time password goes there."""
    if event.kind == "ContactChanged":
        return event.payload.via == ContactChanged.VIA_OFFICE
    if event.kind == "ContactReplaced":
        return event.payload.part == ContactChanged.PART_PHONE
    if event.kind == "SessionEnded":
        return event.payload.reason == SessionEnded.REASON_OFFICE
    return event.kind in ("OtpIssued", "OtpRefused") and event.payload.purpose == OTP_PURPOSE_OFFICE_PASSWORD


def a_new_number_is_put_on_file_once_it_is_approved_and_due(history: History) -> list[str]:
    found = []
    for account_id, stream in history.streams("auth").items():
        asked, due, on_file, moves = "", None, "", 0
        for event in (one for one in stream if one.kind in _MOVE):
            call = history.call_behind(event.event_id)
            if event.kind == "ContactChangeRequested":
                asked, due = call.contact if call else "?", None
            elif event.kind == "ContactChangeApproved":
                due = event.payload.carried_out_from.ToNanoseconds() / 1e9
            elif event.kind == "ContactChangeCancelled":
                due = None
            elif by_an_office(event):
                moves += 1
                if due is None:
                    found.append(f"{account_id}: a number was put on file that nobody approved")
                elif event.at < due:
                    found.append(f"{account_id}: a number was put on file {due - event.at:.3f} s too early")
                on_file, due = asked, None
        if due is not None:
            found.append(f"{account_id}: an approved number was never put on file")
        if account_id in history.accounts and history.accounts[account_id].handset != on_file:
            found.append(f"{account_id}: the phone on file is not the one that was approved")
        if _invitations(account_id, history) > moves:
            found.append(f"{account_id}: a one-time password of an office was sent that nobody asked for")
    return found


def a_former_number_leads_nowhere(history: History) -> list[str]:
    """Whoever was invited by the new one guesses by the former: that guess is made at nobody's account."""
    return [
        f"the former number of {call.phone} leads to {event.stream_id}, trace {call.trace}"
        for event in history.of("auth", "LoginSucceeded", "LoginFailed", "LoginRefused")
        if (call := history.call_behind(event.event_id)) is not None
        and call.kind == "sign_in_by_former_phone"
        and event.stream_id in history.accounts
    ]


def handsets(cause: UUID, phone: str, history: History) -> set[str]:
    """Where a message to whoever registered with this phone may go. Until the number is put on file a claim may find either on
    file, for it comes later than its event; from then on there is the new one alone, but for what tells the former.
    """
    new = history.new_phones.get(phone)
    event = history.event_of.get(cause)
    if new is None or event is None or event.kind == "ContactReplaced":
        return {phone}
    moved_at = min((one.at for one in _carried_out(phone, history)), default=float("inf"))
    return {new} if event.at >= moved_at else {phone, new}


def _carried_out(phone: str, history: History) -> list[Event]:
    accounts = history.accounts_of.get(phone, [])
    return [one for one in history.of("auth", "ContactChanged") if one.stream_id in accounts and by_an_office(one)]


def _invitations(account_id: UUID, history: History) -> int:
    """One-time passwords of an office that no call has had sent."""
    return sum(
        by_an_office(one) and history.owners.get(one.stream_id) == account_id and history.call_behind(one.event_id) is None
        for one in history.of("otp", "OtpIssued")
    )
