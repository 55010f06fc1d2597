"""What is on file of a subscriber: numbers that lead to an account (M12), and addresses (M11)."""

from collections import defaultdict
from uuid import UUID

from zasov.events.v1.auth_event_pb2 import ContactChanged

from tests.faults.calls import OK, Call
from tests.faults.history import Event, History


def emails(history: History) -> tuple[dict[UUID, str], dict[UUID, str]]:
    """By account: the address on file, as its events and the calls behind them say. By event: the address that was replaced."""
    current: dict[UUID, str] = {}
    former: dict[UUID, str] = {}
    replaced: dict[UUID, str] = {}
    for event in history.of("auth", "ContactChanged", "ContactReplaced"):
        if event.kind == "ContactReplaced":
            replaced[event.event_id] = former.get(event.stream_id, "")
        elif ContactChanged.PART_EMAIL in event.payload.changed:
            call = history.call_behind(event.event_id)
            former[event.stream_id] = current.get(event.stream_id, "")
            current[event.stream_id] = call.contact.lower() if call else "?"
    return current, replaced


def what_is_on_file_is_what_was_put_there(history: History) -> list[str]:
    """The address that was confirmed last; each number that was acknowledged, and none that nobody put there."""
    found = []
    current, _ = emails(history)
    put: defaultdict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        if call.kind == "put_number":
            put[call.phone].append(call)
    for account_id, account in history.accounts.items():
        if account.email != current.get(account_id, ""):
            found.append(f"{account_id}: the address on file is not the one that was confirmed last")
        acknowledged = {call.contact for call in put[account.phone] if call.answer == OK}
        if not acknowledged <= account.numbers and len(history.accounts_of[account.phone]) == 1:
            found.append(f"{account_id}: a number that was put there is not on file")
        if not account.numbers <= {call.contact for call in put[account.phone]}:
            found.append(f"{account_id}: a number is on file that nobody put there")
    return found


def a_number_leads_to_its_account(history: History) -> list[str]:
    """Clients use one only when it was acknowledged: each guess by it is made at its account, and at nobody else's."""
    found = []
    for event in history.of("auth", "LoginSucceeded", "LoginFailed"):
        call = history.call_behind(event.event_id)
        if call is None or call.kind not in ("sign_in_by_number", "sign_in_by_new_phone"):
            continue
        if event.kind == "LoginFailed" and not event.payload.identifier_known:
            found.append(f"the number of {call.phone} leads nowhere, trace {call.trace}")
        elif event.stream_id not in history.accounts_of[call.phone]:
            found.append(f"the number of {call.phone} leads to {event.stream_id}, which is another's, trace {call.trace}")
    return found


def contacts_are_listed_as_they_are(history: History) -> list[str]:
    """The phone always; an address from when it was acknowledged, and none before anybody asked for it."""
    found = []
    acknowledged: dict[str, float] = {}
    asked: dict[str, float] = {}
    for call in history.calls:
        if call.kind == "confirm_email_change":
            asked.setdefault(call.phone, call.started)
            if call.answer == OK and call.ended is not None:
                acknowledged.setdefault(call.phone, call.ended)
    for call in history.answered("list_contacts"):
        by_email = "CONTACT_CHANNEL_EMAIL" in call.told
        if "CONTACT_CHANNEL_PHONE" not in call.told:
            found.append(f"{call.phone} was shown no phone, trace {call.trace}")
        if not by_email and acknowledged.get(call.phone, float("inf")) < call.started:
            found.append(f"{call.phone} was shown no address, and has one, trace {call.trace}")
        if by_email and asked.get(call.phone, float("inf")) > (call.ended or 0):
            found.append(f"{call.phone} was shown an address, and has none, trace {call.trace}")
    return found


def changes_what_is_told(event: Event) -> bool:
    """Whether a ContactChanged is told of: one of the phone or of the address."""
    return bool({ContactChanged.PART_PHONE, ContactChanged.PART_EMAIL} & set(event.payload.changed))
