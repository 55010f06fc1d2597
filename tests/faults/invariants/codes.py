"""One-time codes: what otp's history says."""

from collections import Counter

from tests.faults.history import History

_TRIES = 3


def three_tries_and_one_use(history: History) -> list[str]:
    found = []
    for stream_id, events in history.streams("otp").items():
        seen = Counter(event.kind for event in events)
        for without_grant in (False, True):
            wrong = [one for one in events if one.kind == "OtpFailed" and one.payload.without_grant == without_grant]
            if len(wrong) > _TRIES:
                found.append(f"code {stream_id} was checked wrong {len(wrong)} times")
        if seen["OtpVerified"] > 1:
            found.append(f"code {stream_id} was used {seen['OtpVerified']} times")
    return found
