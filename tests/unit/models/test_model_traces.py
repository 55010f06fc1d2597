"""How the lines of several processes are put into one order, and what they say whatever it is."""

from typing import Any

from models.traces import Crashes, Traced, by_subject, evaluated_twice

SUBJECT, EARLIER, LATER = "subject", "earlier", "later"


def test_two_auth_servers_readings_of_one_version_are_in_the_order_of_their_admissions() -> None:
    """By file the later one's came first, and no behaviour of the model read for it before it was admitted."""
    lines: list[dict[str, Any]] = [
        {"step": "settling", "subject": SUBJECT, "attempt": LATER, "forgiven": [], "account_version": 2},
        {"step": "settling", "subject": SUBJECT, "attempt": EARLIER, "forgiven": [], "account_version": 2},
        *(_lockout("admit", attempt, "admitted", place, 1) for attempt, place in ((EARLIER, 1), (LATER, 3))),
        *(_lockout("settle_right", attempt, "settled", place, 0) for attempt, place in ((EARLIER, 2), (LATER, 4))),
    ]
    (subject,) = by_subject(Traced(lines, Crashes(0, 0, 0)))
    assert [given.source["attempt"] for given in subject.auth] == [EARLIER, LATER]


def test_a_second_evaluation_of_one_attempt_is_a_violation_whatever_was_killed() -> None:
    lines: list[dict[str, Any]] = [
        {"step": "evaluated", "subject": SUBJECT, "attempt": attempt, "right": right, "version": 1}
        for attempt, right in ((EARLIER, False), (LATER, False), (EARLIER, True))
    ]
    assert evaluated_twice(Traced(lines[:2], Crashes(0, 0, 0))) == []
    for crashes in (Crashes(0, 0, 0), Crashes(1, 1, 1)):
        assert evaluated_twice(Traced(lines, crashes)) == ["subject: attempt earlier was evaluated 2 times"]


def _lockout(step: str, attempt: str, outcome: str, place: int, now_open: int) -> dict[str, Any]:
    about = {"step": step, "subject": SUBJECT, "attempt": attempt, "outcome": outcome, "place": place}
    return {**about, "earlier": [], "epoch": 1, "strikes": 0, "open": now_open}
