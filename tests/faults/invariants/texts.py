"""SMS commands: what came of the handsets' texts, of which no call tells."""

from collections import defaultdict

from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_COMMANDED_PASSWORD, OTP_PURPOSE_PROPOSED_PASSWORD

from tests.faults.calls import OK
from tests.faults.history import Event, History

_WORD, _PROPOSAL = "text", "propose"
_TOLD = {"PasswordProposed": _PROPOSAL, "PasswordProposalRefused": _PROPOSAL, "SmsCommandNotUnderstood": _WORD}
_PURPOSES = {OTP_PURPOSE_COMMANDED_PASSWORD: _WORD, OTP_PURPOSE_PROPOSED_PASSWORD: _PROPOSAL}


def _asked_by(event: Event) -> str | None:
    """The kind of text that brings such an event about; None: none does."""
    if event.kind in ("OtpIssued", "OtpRefused"):
        return _PURPOSES.get(event.payload.purpose)
    return _TOLD.get(event.kind)


def by_text(event: Event) -> bool:
    return _asked_by(event) is not None


def each_text_is_received_once_and_acts_for_its_sender_alone(history: History) -> list[str]:
    """A text that was acknowledged is stored; one that was not may be, when the SMSC comes with it again."""
    texts = [call for call in history.calls if call.kind in (_WORD, _PROPOSAL)]
    acknowledged = sum(call.answer == OK for call in texts)
    received = sum(1 for _ in history.of("notifier", "SmsReceived"))
    found = []
    if not acknowledged <= received <= len(texts):
        found.append(f"{received} texts are stored, {acknowledged} were acknowledged, {len(texts)} sent")
    sent: defaultdict[str, list[float]] = defaultdict(list)
    for call in texts:
        sent[f"{call.kind} {call.phone}"].append(call.started)
    for service in ("auth", "otp"):
        for event in history.of(service):
            asked_by = _asked_by(event)
            if asked_by is None or event.kind == "OtpRefused":  # of which nobody knows whom it refuses
                continue
            account = history.accounts.get(event.stream_id)
            phone = history.phone_of(event.stream_id) if event.kind == "OtpIssued" else account and account.phone
            if not any(at <= event.at for at in sent[f"{asked_by} {phone}"]):
                found.append(f"{event.kind} {event.event_id} answers no text of its handset")
    return found
