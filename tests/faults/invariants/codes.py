"""One-time codes: what otp's history says."""

from collections import Counter

from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_TEMPORARY_PASSWORD

from tests.faults.history import Event, History

_TRIES = 3
_ENDS = frozenset({"OtpVerified", "OtpSuperseded", "OtpExpired"})


def three_tries_and_one_use(history: History) -> list[str]:
    """Three checks by whoever holds the grant of its flow, and as many by all who don't; the right one is among them. Its use,
    a newer code or a cancellation, its expiry, or the third wrong check with the grant is its one end. A wrong check that was
    under way meanwhile may still be recorded.
    """
    found = []
    for stream_id, events in history.streams("otp").items():
        wrong: Counter[bool] = Counter()
        right: Counter[bool] = Counter()
        end = ""
        for event in events:
            if event.kind == "OtpFailed":
                wrong[event.payload.without_grant] += 1
                if wrong[False] == _TRIES and not end:
                    end = "three wrong checks"
            if event.kind == "OtpVerified":
                right[_was_without_grant(event, history)] += 1
            if event.kind in _ENDS:
                if end:
                    found.append(f"code {stream_id}: {event.kind} after {end}")
                end = event.kind
        for without_grant in (False, True):
            checks = wrong[without_grant] + right[without_grant]
            if checks > _TRIES:
                found.append(f"code {stream_id} was checked {checks} times, wrong {wrong[without_grant]} times")
    return found


def _was_without_grant(verified: Event, history: History) -> bool:
    """So may the site's one-time passwords be; only the call says whether one was."""
    call = history.call_behind(verified.event_id)
    return verified.payload.purpose == OTP_PURPOSE_TEMPORARY_PASSWORD and call is not None and call.lacks_grant
