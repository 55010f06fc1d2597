"""What a process of the stream remembers of the penalties that it imposed."""

import pytest

from services.lockout import penalties
from services.lockout.penalties import LimitKey, RecentPenalties

KEY, OTHER = LimitKey(6, "", ""), LimitKey(5, "2026-03", "aa")


def test_what_comes_while_a_penalty_holds_need_not_impose_it_again() -> None:
    recent = RecentPenalties()
    assert not recent.covers(KEY, 100.0)
    recent.note(KEY, 100.0, 700.0, imposed=True)
    assert recent.covers(KEY, 100.0)
    assert recent.covers(KEY, 699.9)
    assert not recent.covers(KEY, 700.0)
    assert not recent.covers(OTHER, 100.0)


def test_somebody_elses_penalty_is_looked_at_again_for_it_may_end_sooner() -> None:
    recent = RecentPenalties()
    recent.note(KEY, 100.0, 700.0, imposed=False)
    assert recent.covers(KEY, 100.5)
    assert not recent.covers(KEY, 101.0)


def test_what_is_remembered_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalties, "_MOST_RECENT", 10)
    recent = RecentPenalties()
    for second in range(1000):
        recent.note(LimitKey(1, "2026-03", f"{second}"), second, second + 5, imposed=True)
    assert len(recent._until) <= 10
    assert recent.covers(LimitKey(1, "2026-03", "999"), 1000.0)
