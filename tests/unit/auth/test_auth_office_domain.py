"""A number that waits to be put on file (M18): what becomes of it."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from zasov.events.v1.auth_event_pb2 import ContactChangeCancelled, ContactChanged, StaffPseudonyms

from services.auth.domain import Account
from services.auth.office.domain import (
    ChangeVoid,
    Due,
    PendingChange,
    SameApprover,
    StaffRecord,
    decide_approval,
    decide_end,
    decide_request,
    evolve_change,
    what_is_due,
)

pytestmark = pytest.mark.row("M18")

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ACCOUNT = Account(uuid4(), version=3, credential_version=2)
FIRST = StaffRecord(StaffPseudonyms(key_id="2026-03", staff_pseudonym="a" * 32), b"1" * 32, b"sealed-1")
SECOND = StaffRecord(StaffPseudonyms(key_id="2026-03", staff_pseudonym="b" * 32), b"2" * 32, b"sealed-2")


def requested(before: PendingChange | None = None) -> PendingChange:
    facts = decide_request(before, uuid4(), b"sealed phone", FIRST, NOW + DAY)
    after = before
    for fact in facts:
        after = evolve_change(after, ACCOUNT, fact.payload, fact.secret)
    assert after is not None
    return after


def approved() -> PendingChange:
    pending = requested()
    (fact,) = decide_approval(ACCOUNT, pending, pending.change_id, SECOND, NOW, DAY)
    after = evolve_change(pending, ACCOUNT, fact.payload, fact.secret)
    assert after is not None
    return after


def test_what_was_asked_for_is_what_waits() -> None:
    pending = requested()
    assert (pending.phone, pending.requested_by, pending.credential_version) == (b"sealed phone", FIRST.mac, 2)
    assert (pending.approve_by, pending.due_at) == (NOW + DAY, None)
    assert approved().due_at == NOW + DAY


def test_who_asked_cannot_approve() -> None:
    pending = requested()
    with pytest.raises(SameApprover):
        decide_approval(ACCOUNT, pending, pending.change_id, FIRST, NOW, DAY)


def test_it_is_approved_once_in_time_and_for_the_password_that_was() -> None:
    pending, twice = requested(), approved()
    newer = Account(ACCOUNT.account_id, version=4, credential_version=3)
    for account, change, change_id, now in (
        (ACCOUNT, None, uuid4(), NOW),
        (ACCOUNT, pending, uuid4(), NOW),
        (ACCOUNT, twice, twice.change_id, NOW),
        (ACCOUNT, pending, pending.change_id, NOW + DAY),
        (newer, pending, pending.change_id, NOW),
    ):
        with pytest.raises(ChangeVoid):
            decide_approval(account, change, change_id, SECOND, now, DAY)


def test_it_is_due_at_its_time_and_not_before() -> None:
    instant = timedelta(microseconds=1)
    assert what_is_due(ACCOUNT, approved(), NOW + DAY - instant) is None
    assert what_is_due(ACCOUNT, approved(), NOW + DAY) is Due.NOW
    assert what_is_due(ACCOUNT, requested(), NOW + DAY - instant) is None
    assert what_is_due(ACCOUNT, requested(), NOW + DAY) == ContactChangeCancelled.REASON_LAPSED


def test_a_new_password_ends_it_even_when_it_is_due() -> None:
    newer = Account(ACCOUNT.account_id, version=4, credential_version=3)
    assert what_is_due(newer, approved(), NOW + DAY) == ContactChangeCancelled.REASON_NEW_PASSWORD


def test_it_ends_by_what_ends_it_and_by_nothing_else() -> None:
    pending = approved()
    (cancelled,) = decide_end(pending, ContactChangeCancelled.REASON_SUBSCRIBER)
    assert evolve_change(pending, ACCOUNT, cancelled.payload, None) is None
    assert evolve_change(pending, ACCOUNT, ContactChanged(via=ContactChanged.VIA_OFFICE), b"") is None
    assert evolve_change(pending, ACCOUNT, ContactChanged(via=ContactChanged.VIA_SUBSCRIBER), b"") == pending
    second = requested(pending)
    assert (second.change_id != pending.change_id, second.due_at) == (True, None)


def test_a_record_of_staff_shows_neither_mac_nor_seal() -> None:
    assert "sealed-1" not in repr(FIRST)
    assert "1111" not in repr(FIRST)
