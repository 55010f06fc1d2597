"""SMS and email: what stands on the handsets and in the mailboxes, beside what the notifier's store says."""

import re
from collections import Counter
from uuid import UUID

from tests.faults.history import Event, History, Sms
from tests.faults.invariants.contacts import changes_what_is_told, emails
from tests.faults.invariants.moves import handsets

# Which events ask for a message. A new kind of notice joins with a line.
_ASK = {
    ("otp", "OtpIssued"), ("auth", "PasswordChanged"), ("auth", "PasswordReset"), ("auth", "PasswordProposalRefused"),
    ("auth", "SmsCommandNotUnderstood"), ("auth", "ContactReplaced"), ("auth", "SignedInFromNewDevice"),
    ("auth", "ContactChanged"), ("auth", "TemporaryPasswordUsed"), ("auth", "NumberLinked"), ("auth", "EmailWarned"),
    ("auth", "ContactChangeRequested"), ("lockout", "AccountBlocked"),
}  # fmt: skip
# Told of once in a while: of two within it, one is void.
_MAY_BE_QUIET = frozenset({"password_changed", "new_device", "number_linked"})
# What every secret's text names, and no notice's.
_REQUEST = re.compile(r"№ \d|request (No\. )?\d")
# A code may have been used, superseded or have expired; a notice is open for hours.
_CODES = frozenset({"code", "temporary_password", "proposed_password", "office_password", "office_slip"})
_NOBODYS = UUID(int=0)
_ENDS = frozenset({"delivered", "failed", "ambiguous", "void"})


def nothing_is_sent_twice_but_what_is_reported_ambiguous(history: History) -> list[str]:
    """A text whose id the store knows belongs to its notification: one each, and one more for each ambiguity reported.

    A text whose id the store does not know was on the wire when a worker died: there must be a report for it.
    """
    ambiguous = Counter(event.stream_id for event in history.of("notifier", "MessageAmbiguous"))
    arrived: Counter[UUID] = Counter()
    unknown: Counter[str] = Counter()
    for text in history.texts:
        notifications = {history.parts.get(one) for one in text.message_ids}
        if None in notifications:
            unknown[text.phone] += 1
        else:
            arrived.update(one for one in notifications if one is not None)
    found = [
        f"notification {one} arrived {count} times, {ambiguous[one]} reported ambiguous"
        for one, count in arrived.items()
        if count > 1 + ambiguous[one]
    ]
    excused: Counter[str] = Counter()
    mailboxes = {history.parts.get(one): text.phone for text in history.texts for one in text.message_ids}
    for message in history.messages:
        to = mailboxes.get(message.notification_id) if message.channel == "email" else _phone_of(message, history)
        for handset in {to or "", history.new_phones.get(to or "", to or "")}:
            excused[handset] += ambiguous[message.notification_id]
    found += [
        f"{count} texts on {phone} are unknown to the notifier, {excused[phone]} were reported ambiguous"
        for phone, count in unknown.items()
        if count > excused[phone]
    ]
    same = Counter((text.phone, text.text) for text in history.texts if _REQUEST.search(text.text))
    for (phone, _), count in same.items():
        if count > 1 + excused[phone]:
            found.append(f"the same code arrived {count} times on {phone}, {excused[phone]} reported ambiguous")
    return found


def each_event_that_asks_for_a_message_has_one_with_an_end(history: History) -> list[str]:
    """Delivered for all but what is told to be otherwise; and what is told to be delivered stands on the handset."""
    found = []
    by_cause = Counter(message.cause_event_id for message in history.messages)
    for event in history.events:
        if event.is_public and (event.service, event.kind) in _ASK and by_cause[event.event_id] != _asked_for(event):
            found.append(f"{by_cause[event.event_id]} messages for {event.kind} {event.event_id}")
    arrived = {history.parts.get(one) for text in history.texts for one in text.message_ids}
    for message in history.messages:
        is_taken = message.state == "submitted" and message.channel == "email"  # of which no more will be known
        if message.state not in _ENDS and not is_taken:
            found.append(f"a message of kind {message.kind} is left {message.state}: {message.notification_id}")
        if (message.state == "delivered" or is_taken) and message.notification_id not in arrived:
            found.append(f"a message of kind {message.kind} is told to be delivered, and is not: {message.notification_id}")
        if message.state == "void" and message.kind not in _CODES | _MAY_BE_QUIET:
            found.append(f"a notice of kind {message.kind} was never sent: {message.notification_id}")
    return found


def each_message_goes_where_it_belongs(history: History) -> list[str]:
    """A code to the address that it is to prove, or that was chosen; what tells of a former contact there; all else to the
    phone on file.
    """
    _, replaced = emails(history)
    messages = {message.notification_id: message for message in history.messages}
    found = []
    for text in history.texts:
        for message in {messages.get(history.parts.get(one, _NOBODYS)) for one in text.message_ids} - {None}:
            assert message is not None
            call = history.call_behind(message.cause_event_id)
            belongs = replaced.get(message.cause_event_id) or (
                (call.contact if call and message.kind == "code" else "") or _phone_of(message, history)
            )
            if belongs and text.phone not in handsets(message.cause_event_id, belongs.lower(), history):
                found.append(f"a message of kind {message.kind} for {belongs} went to {text.phone}: {message.notification_id}")
    return found


def _asked_for(event: Event) -> int:
    """How many messages an event of such a kind asks for."""
    if event.kind == "ContactChanged":
        return int(changes_what_is_told(event))
    if event.kind == "TemporaryPasswordUsed":
        return int(event.payload.lifted_block)
    return 1


def _phone_of(message: Sms, history: History) -> str:
    """Whose handset it was for; empty: not known."""
    if message.kind in _CODES:
        call = history.call_of.get(history.trace_of.get(message.cause_event_id, ""))
        return call.phone if call else history.phone_of(message.cause_stream_id) or ""
    account = history.accounts.get(message.cause_stream_id)
    return account.phone if account else ""
