"""What clients were told is what the stores hold. An unclear answer may be either."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from uuid import UUID

from tests.faults.calls import OK, Call
from tests.faults.history import Event, History
from tests.faults.invariants.moves import by_an_office
from tests.faults.invariants.texts import by_text

_SUCCESS = ("LoginSucceeded", "SessionStarted")
_FROM_A_NEW_DEVICE = (*_SUCCESS, "SignedInFromNewDevice")
_WRONG = ("LoginFailed",)
_REFUSED = ("LoginRefused",)
_RESET = ("PasswordReset", "SessionEnded", "SessionStarted")
_ONE_TIME = ("OtpVerified", "TemporaryPasswordUsed", "SessionEnded")
_REGISTERED = ("AccountRegistered", "SessionStarted")
_GUESS = {"CREDENTIALS_REJECTED": [_WRONG], "SIGN_IN_BLOCKED": [_REFUSED]}
_SIGN_IN = {OK: [_SUCCESS, _FROM_A_NEW_DEVICE], **_GUESS}
# A step that stands alone, when the next one was not to be taken any more.
_PROVEN, _AT_OFFICE = ("PasswordProven",), ("RecoveryStartedAtOffice",)
_MOVED = ("OtpVerified", "ContactChanged")
# A decoy's own events never leave otp's store.
_START = {
    OK: [("OtpIssued",), ("DecoyIssued",)],
    "COOL_DOWN": [("OtpRefused",), ()],
    "CODE_BUDGET_SPENT": [("OtpRefused",), ()],
}
_TRIED = {"CODE_REJECTED": [("OtpFailed",)], "CODE_DEAD": [(), ("OtpFailed",)]}
_CONFIRM = {OK: [("OtpVerified",)], **_TRIED}
_START_AT_OFFICE = {
    **{answer: [(*_AT_OFFICE, *one) for one in outcomes] for answer, outcomes in _START.items()},
    "UNCLEAR": [_AT_OFFICE],
}

# For each kind of call and each answer: what the stores may hold on behalf of it. Answers not named leave nothing.
OUTCOMES: dict[str, dict[str, list[tuple[str, ...]]]] = {
    "sign_in": _SIGN_IN,
    "sign_in_by_number": _SIGN_IN,
    "sign_in_by_new_phone": _SIGN_IN,
    "sign_in_by_former_phone": _GUESS,
    # Nothing: it was on file already, by a call whose answer was lost.
    "put_number": {OK: [("ContactChanged",), ()]},
    "list_contacts": {},
    "send_recovery_code": _START,
    "get_delivery": {},
    "start_email_change": {
        **_GUESS,
        **{answer: [(*_PROVEN, *one) for one in outcomes] for answer, outcomes in _START.items()},
        "UNCLEAR": [_PROVEN],
    },
    # Void, if another password was set between the check and the change.
    "confirm_email_change": {
        OK: [_MOVED, (*_MOVED, "ContactReplaced")],
        **_TRIED,
        "GRANT_INVALID": [(), ("OtpVerified",)],
    },
    "prove_again": {OK: [_PROVEN], **_GUESS},
    # Linked already, by a call whose answer was lost; the link may have ended with the password.
    "link_number": {OK: [(*_PROVEN, "NumberLinked"), _PROVEN], **_GUESS},
    "unlink_number": {OK: [("NumberUnlinked",)]},
    "start_at_office": _START_AT_OFFICE,
    "print_slip": _START_AT_OFFICE,
    "request_new_phone": {OK: [(*_AT_OFFICE, "ContactChangeRequested")]},
    # Approved already, by a call whose answer was lost; what comes of it comes later (moves.py).
    "approve_new_phone": {OK: [("ContactChangeApproved",)]},
    "approve_own_request": {},
    "change_password": {OK: [("PasswordChanged", "SessionEnded")], **_GUESS},
    "solve_captcha": {},
    "start_recovery": _START,
    "start_registration": _START,
    "confirm_recovery": _CONFIRM,
    "confirm_registration": _CONFIRM,
    "choose_recovery": {OK: [_RESET]},
    "choose_registration": {OK: [_RESET, _REGISTERED]},
    "introspect": {},
    "request_one_time": _START,
    # Right and used up, though it is void because another password was set since.
    "use_one_time": {OK: [_ONE_TIME], "CODE_REJECTED": [("OtpFailed",)], "CODE_DEAD": [(), ("OtpFailed",), ("OtpVerified",)]},
    "choose_permanent": {OK: [_RESET]},
    "confirm_proposed": {OK: [_RESET]},
    # What comes of them comes later (texts.py).
    "text": {},
    "propose": {},
}
# What these clients give no cause for.
_NEVER = frozenset({
    "INTERNAL", "IDENTIFIER_TAKEN", "CONTACT_ON_FILE", "STAFF_ASSERTION_REJECTED", "STAFF_NOT_ALLOWED", "STAFF_LIMIT",
    "SUBSCRIBER_UNKNOWN", "NUMBER_TAKEN", "NEW_PHONE_USED",
})  # fmt: skip
_NEW_PASSWORD = ("AccountRegistered", "PasswordChanged", "PasswordReset", "TemporaryPasswordUsed")
_RIGHT = ("LoginSucceeded", "PasswordProven")
_CHOICES = ("choose_recovery", "choose_registration", "choose_permanent", "confirm_proposed")
# Written by a sweep or by another's request, long after.
_NOBODYS = frozenset({"OtpExpired", "OtpSuperseded", "PasswordRehashed"})
# Clocks of the client and of the database are one machine's; this is what reading them takes.
_SLACK_S = 0.05


def each_answer_agrees_with_the_store(history: History) -> list[str]:
    found = []
    for call in history.calls:
        caused = Counter(event.kind for event in history.caused_by.get(call.trace, ()) if event.kind not in _NOBODYS)
        outcomes = OUTCOMES[call.kind]
        allowed = outcomes.get(call.answer, [()])
        if call.is_unclear:
            allowed = [(), *(one for each in outcomes.values() for one in each)]
        if caused not in [Counter(one) for one in allowed]:
            held = ", ".join(sorted(caused.elements())) or "nothing"
            found.append(f"{call.kind} was answered {call.answer}, and the store holds {held}, trace {call.trace}")
        if call.answer in _NEVER:
            found.append(f"{call.kind} was answered {call.answer}, trace {call.trace}")
        if call.lacks_time:
            found.append(f"{call.kind} was answered {call.answer}, and not when to try again, trace {call.trace}")
        found += _wrong_session(call, history)
    for service in ("auth", "otp"):
        for event in history.of(service):
            trace = history.trace_of.get(event.event_id)
            of_a_call = event.is_public and event.kind not in _NOBODYS and not by_text(event) and not by_an_office(event)
            if of_a_call and trace is not None and trace not in history.call_of:
                found.append(f"nobody asked for {event.kind} {event.event_id}")
    return found


def _wrong_session(call: Call, history: History) -> list[str]:
    if call.answer != OK or call.kind not in ("sign_in", "sign_in_by_number", "sign_in_by_new_phone", *_CHOICES):
        return []
    started = [event for event in history.caused_by.get(call.trace, ()) if event.kind == "SessionStarted"]
    if [(str(one.stream_id), one.payload.session_id) for one in started] != [(call.account_id, call.session_id)]:
        return [f"the session that {call.kind} answered is not the one that is stored, trace {call.trace}"]
    if UUID(call.session_id) not in history.live_sessions | history.ended_sessions:
        return [f"the session that {call.kind} answered does not exist, trace {call.trace}"]
    return []


def events_are_dated_by_the_database(history: History) -> list[str]:
    """Between a call's begin and its answer, whatever the clocks of the processes that answered it."""
    return [
        f"{event.kind} of {call.kind} is dated {event.at - call.started:.3f} s after the call began, trace {call.trace}"
        for call in history.calls
        if not call.is_unclear and call.ended is not None
        for event in history.caused_by.get(call.trace, ())
        if not call.started - _SLACK_S <= event.at <= call.ended + _SLACK_S
    ]


def only_the_right_password_gets_in(history: History) -> list[str]:
    """Judged by the hash that is stored for the version that was tested; none, while a password is still to be chosen."""
    found = []
    given_up = {(event.stream_id, event.payload.credential_version) for event in history.of("auth", "TemporaryPasswordUsed")}
    for event in history.of("auth", *_RIGHT, "LoginFailed"):
        call = history.call_of.get(history.trace_of.get(event.event_id, ""))
        if call is None or (event.kind == "LoginFailed" and not event.payload.identifier_known):
            continue
        version = event.payload.credential_version
        password = history.passwords.get((event.stream_id, version))
        what = f"{event.kind} at version {version} of {event.stream_id}"
        if password is None and (event.stream_id, version) in given_up:
            if event.kind != "LoginFailed":
                found.append(f"{what}, which has no password: {event.event_id}")
        elif password is None:
            found.append(f"version {version} of {event.stream_id} is no password that anybody chose")
        elif (call.guess == password) != (event.kind != "LoginFailed"):
            found.append(f"{what}, by a guess that says otherwise: {event.event_id}")
    return found


def the_password_is_the_one_that_was_chosen(history: History) -> list[str]:
    """By the hash that is stored. A proposal may have come late: then it is another of the same handset's."""
    proposals: dict[str, set[str | None]] = defaultdict(set)
    for call in history.calls:
        if call.kind == "propose":
            proposals[call.phone].add(call.new_password)
    return [
        f"{call.kind} set a password of {event.stream_id} that was not chosen by it, trace {call.trace}"
        for event, call in _with_calls(history, history.of("auth", "AccountRegistered", "PasswordChanged", "PasswordReset"))
        if history.passwords.get((event.stream_id, event.payload.credential_version))
        not in (proposals[call.phone] if call.kind == "confirm_proposed" else {call.new_password})
    ]


def an_old_password_is_dead_once_the_new_one_is_acknowledged(history: History) -> list[str]:
    acknowledged: dict[UUID, list[tuple[float, int]]] = defaultdict(list)
    for event, call in _with_calls(history, history.of("auth", *_NEW_PASSWORD)):
        if call.answer == OK and call.ended is not None:
            acknowledged[event.stream_id].append((call.ended, event.payload.credential_version))
    found = []
    for event, call in _with_calls(history, history.of("auth", *_RIGHT)):
        tested = event.payload.credential_version
        newest = max((version for ended, version in acknowledged[event.stream_id] if ended < call.started), default=0)
        if tested < newest:
            found.append(f"{event.stream_id}: version {tested} got in after {newest} was acknowledged, trace {call.trace}")
    current: dict[UUID, int] = {}
    for event in history.of("auth", *_NEW_PASSWORD, *_RIGHT):
        version = event.payload.credential_version
        if event.kind in _RIGHT and version != current.get(event.stream_id):
            before = current.get(event.stream_id)
            found.append(f"{event.stream_id}: a success at version {version} follows version {before}: {event.event_id}")
        elif event.kind not in _RIGHT:
            current[event.stream_id] = version
    return found


def a_new_password_has_ended_all_older_sessions(history: History) -> list[str]:
    found = []
    ended_at: dict[str, float] = {}
    for stream in history.streams("auth").values():
        open_sessions: dict[str, None] = {}
        for event in stream:
            if event.kind == "SessionStarted":
                open_sessions[event.payload.session_id] = None
            elif event.kind == "SessionEnded":
                kept = event.payload.all_except_session_id
                call = history.call_of.get(history.trace_of.get(event.event_id, ""))
                for session in set(open_sessions) - {kept}:
                    del open_sessions[session]
                    ended_at[session] = call.ended if call and call.answer == OK and call.ended else float("inf")
                    if UUID(session) not in history.ended_sessions:
                        found.append(f"session {session} outlived a new password")
        found += [f"session {one} has ended by nothing" for one in open_sessions if UUID(one) in history.ended_sessions]
    for call in history.answered("introspect"):
        if ended_at.get(call.session_id, float("inf")) + _SLACK_S < call.started:
            found.append(f"session {call.session_id} was active after a new password was acknowledged, trace {call.trace}")
    return found


def _with_calls(history: History, events: Iterable[Event]) -> Iterable[tuple[Event, Call]]:
    for event in events:
        call = history.call_of.get(history.trace_of.get(event.event_id, ""))
        if call is not None:
            yield event, call
