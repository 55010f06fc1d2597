"""What the fault suite says of guesses, strikes and blocks fails on a history in which just that was spoilt."""

import pytest
from zasov.events.v1 import auth_event_pb2 as auth
from zasov.events.v1 import lockout_event_pb2 as lockout

from tests.faults.history import Account, Subject
from tests.faults.invariants import violations
from tests.faults.stage import LONG_PAUSE_S, SWEEP_AGE_S
from tests.unit.faults.conftest import PHONE, SECOND, Scribe
from tests.unit.faults.spoiling import Spoil, Spoils, assert_noticed

spoils = Spoils()


@spoils("three wrong guesses at most", "4 wrong guesses at version 1, 0 right ones lost")
def a_fourth_wrong_guess_was_evaluated(scribe: Scribe) -> None:
    scribe.wrong("late-4")


@spoils("three wrong guesses at most", "4 wrong guesses at version 2, 0 right ones lost")
def a_lost_attempt_was_the_fourth(scribe: Scribe) -> None:
    for number in (1, 2, 3):
        scribe.wrong(f"new-{number}", 2)
    scribe.abandon("lost")
    scribe.strike("lost", 1, 2)


@spoils("three wrong guesses at most", "4 wrong guesses at version 2")
def a_right_guess_that_was_lost_later_excuses_nothing(scribe: Scribe) -> None:
    for number in range(4):
        scribe.wrong(f"new-{number}", 2)
    scribe.call("sign_in", "UNCLEAR", SECOND)


@spoils("three wrong guesses at most", "4 wrong guesses at version 2, 0 right ones lost")
def a_right_guess_that_was_lost_an_hour_ago_excuses_nothing(scribe: Scribe) -> None:
    scribe.call("sign_in", "UNCLEAR", SECOND)
    scribe.clock += 3600
    for number in range(4):
        scribe.wrong(f"new-{number}", 2)


@spoils("three wrong guesses at most", "7 wrong guesses at version 2, 1 right ones lost")
def one_lost_right_guess_excuses_three_and_no_more(scribe: Scribe) -> None:
    scribe.call("sign_in", "UNCLEAR", SECOND)
    for number in range(7):
        scribe.wrong(f"new-{number}", 2)


@spoils("three wrong guesses at most", "4 wrong guesses at version 2, 0 right ones lost")
def a_change_of_password_excuses_nothing_that_it_does_not_name(scribe: Scribe) -> None:
    for number in range(5):
        scribe.wrong(f"new-{number}", 2)
    scribe.write("auth", scribe.account, auth.PasswordChanged(attempt_id="change", forgiven_attempt_ids=["new-0"]))


@spoils("strikes are the history", "is no strike")
def a_wrong_guess_was_never_counted(scribe: Scribe) -> None:
    scribe.wrong("new", 2)


@spoils("strikes are the history", "is no strike")
def a_wrong_guess_was_never_counted_an_hour_after_a_right_one_was_lost(scribe: Scribe) -> None:
    scribe.call("sign_in", "UNCLEAR", SECOND)
    scribe.clock += 3600
    scribe.wrong("new", 2)


@spoils("strikes are the history", "struck 2 times")
def a_wrong_guess_was_counted_twice(scribe: Scribe) -> None:
    scribe.wrong("new", 2)
    scribe.strike("new", 1, 2)
    scribe.strike("new", 2, 2)


@spoils("strikes are the history", "is no wrong guess and was not lost")
def a_strike_has_no_cause(scribe: Scribe) -> None:
    scribe.strike("nobody's", 1, 2)


@spoils("strikes are the history", "the right guess")
def a_right_guess_became_a_strike(scribe: Scribe) -> None:
    scribe.strike("again", 1, 2)


@spoils("strikes are the history", "became a strike of 2")
def a_guess_at_the_old_password_was_spent_on_the_new_one(scribe: Scribe) -> None:
    scribe.wrong("old", 1)
    scribe.strike("old", 1, 2)


@spoils("strikes are the history", "came after it")
def a_success_forgives_what_came_after_it(scribe: Scribe) -> None:
    scribe.right("eager", SECOND, 2, forgiven=("new",))
    scribe.wrong("new", 2)


@spoils("strikes are the history", "is no failure")
def a_success_forgives_what_never_was(scribe: Scribe) -> None:
    scribe.right("eager", SECOND, 2, forgiven=("new",))


@spoils("strikes are the history", "which was wrong or lost")
def a_wrong_guess_cleared_strikes(scribe: Scribe) -> None:
    for number in (1, 2):
        scribe.wrong(f"new-{number}", 2)
    scribe.strike("new-1", 1, 2)
    scribe.clear("new-2")


@spoils("attempts left are not too many", "told of 2 attempts left after 1 wrong ones")
def somebody_was_told_of_an_attempt_that_is_used_up(scribe: Scribe) -> None:
    for number in (1, 2):
        scribe.wrong(f"new-{number}", 2, left=2)
    for number in (1, 2):
        scribe.strike(f"new-{number}", number, 2)


@spoils("subjects are their events", "its events say")
def a_row_differs_from_its_events(scribe: Scribe) -> None:
    scribe.history.subjects[scribe.account] = Subject(2, 1, is_blocked=False)


@spoils("subjects are their events", "can't follow")
def strikes_skip_a_number(scribe: Scribe) -> None:
    scribe.wrong("new", 2)
    scribe.strike("new", 2, 2)


@spoils("subjects are their events", "version 3, epoch 2")
def lockout_never_heard_of_a_password(scribe: Scribe) -> None:
    scribe.history.accounts[scribe.account] = Account(PHONE, 3)


@spoils("no block under three", "blocked with 2")
def a_block_came_after_two(scribe: Scribe) -> None:
    for number in (1, 2):
        scribe.wrong(f"new-{number}", 2)
        scribe.strike(f"new-{number}", number, 2)
    scribe.write("lockout", scribe.account, lockout.AccountBlocked(epoch=2))


@spoils("a block holds", "after it was blocked")
def a_right_password_lifted_a_block(scribe: Scribe) -> None:
    for number in (1, 2, 3):
        scribe.wrong(f"new-{number}", 2)
        scribe.strike(f"new-{number}", number, 2)
    scribe.right("lifts", SECOND, 2)


@spoils("a block holds", "told of a block that the store does not hold")
def a_block_was_told_that_is_none(scribe: Scribe) -> None:
    scribe.write("auth", scribe.account, auth.LoginRefused(), cause=scribe.call("sign_in", "SIGN_IN_BLOCKED", SECOND))


@spoils("lost attempts are unclear answers", "1 attempts were lost, 0 answers were unclear")
def an_attempt_was_lost_though_all_were_answered(scribe: Scribe) -> None:
    scribe.abandon("lost")
    scribe.strike("lost", 1, 2)


def test_a_right_guess_whose_answer_was_lost_may_forgive_until_its_attempt_is_swept(scribe: Scribe) -> None:
    """Its server stood still, went on, and settled it after a wrong one was stored."""
    scribe.call("sign_in", "UNCLEAR", SECOND)
    scribe.clock += LONG_PAUSE_S + SWEEP_AGE_S
    scribe.wrong("new", 2)
    assert violations(scribe.history) == []


def test_who_guesses_side_by_side_or_after_a_success_may_be_told_of_more(scribe: Scribe) -> None:
    first = scribe.wrong("side", 2, left=2)
    scribe.wrong("by-side", 2, left=2)
    first.ended = scribe.clock + 2
    for number, attempt in enumerate(("side", "by-side"), 1):
        scribe.strike(attempt, number, 2)
    scribe.clear("again")
    scribe.wrong("after", 2, left=2)
    scribe.strike("after", 1, 2)
    assert [text for name, text in violations(scribe.history) if name == "attempts left are not too many"] == []


@pytest.mark.parametrize(("invariant", "text", "spoil"), spoils.all, ids=spoils.names)
def test_a_spoilt_history_is_noticed(scribe: Scribe, invariant: str, text: str, spoil: Spoil) -> None:
    assert_noticed(scribe, invariant, text, spoil)
