"""The invariants of the fault suite hold of a sound history; the other files here spoil it."""

from dataclasses import replace

from zasov.events.v1 import notifier_event_pb2 as notifier

from tests.faults.history import Text
from tests.faults.invariants import INVARIANTS, violations
from tests.unit.faults import (
    test_spoilt_contacts,
    test_spoilt_guesses,
    test_spoilt_moves,
    test_spoilt_one_time,
    test_spoilt_records_and_answers,
)
from tests.unit.faults.conftest import PHONE, SECOND, Scribe


def test_a_sound_history_breaks_nothing(scribe: Scribe) -> None:
    assert violations(scribe.history) == []


def test_each_invariant_has_a_history_that_breaks_it() -> None:
    spoilt = [
        *test_spoilt_guesses.spoils.all,
        *test_spoilt_records_and_answers.spoils.all,
        *test_spoilt_one_time.spoils.all,
        *test_spoilt_contacts.spoils.all,
        *test_spoilt_moves.spoils.all,
    ]
    assert {name for name, _, _ in spoilt} == set(INVARIANTS)


def test_what_may_happen_is_no_violation(scribe: Scribe) -> None:
    """Records that come again in order; a code sent again and reported; a right guess lost after it was settled."""
    history = scribe.history
    last = history.records[-1].offset
    history.records += [replace(one, offset=last + 1 + place) for place, one in enumerate(history.records)]
    code = next(one for one in history.messages if one.kind == "code")
    scribe.write("notifier", code.notification_id, notifier.MessageAmbiguous(resent=True))
    history.texts.append(Text(PHONE, "Code 4711, request 12.", ("unknown",)))
    for number in (1, 2):
        scribe.wrong(f"new-{number}", 2)
    scribe.call("sign_in", "UNCLEAR", SECOND)  # settled, and forgave both: then the server died
    for number in (3, 4, 5):
        scribe.wrong(f"new-{number}", 2)
        scribe.strike(f"new-{number}", number - 2, 2)
    assert violations(history) == []
