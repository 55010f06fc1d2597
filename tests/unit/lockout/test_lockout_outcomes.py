"""What the stream reads, events that can be settled and poison, and how it settles them side by side."""

import asyncio
from contextlib import suppress
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zasov.events.v1.auth_event_pb2 import (
    AccountRegistered,
    AuthEvent,
    LoginFailed,
    LoginRefused,
    LoginSucceeded,
    PasswordChanged,
    PasswordReset,
    SessionStarted,
    TemporaryPasswordUsed,
)
from zasov.events.v1.lockout_event_pb2 import LimitDimension
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, EventMeta, Origin
from zasov.events.v1.otp_event_pb2 import DecoyIssued, OtpEvent, OtpIssued

from services.chassis.streams import Poison
from services.lockout.domain import SubjectKey
from services.lockout.outcomes import OTP_KINDS, counted, counted_codes, parse_auth, parse_otp, settle
from services.lockout.penalties import WHOLE_SYSTEM, LimitKey

STREAM = str(UUID(int=5))
ATTEMPT = str(UUID(int=6))
ORIGIN = Origin(key_id="2026-03", ip_pseudonym="aa", subnet_pseudonym="bb", range_pseudonym="cc")
FAILED = LoginFailed(attempt_id=ATTEMPT, credential=CREDENTIAL_PASSWORD, identifier_known=True)


def event(meta: EventMeta | None = None, **fact: object) -> AuthEvent:
    meta = meta or EventMeta(stream_id=STREAM, version=1, origin=ORIGIN)
    meta.occurred_at.FromSeconds(1_780_000_000)
    return AuthEvent(meta=meta, **fact)  # type: ignore[arg-type]


def test_an_event_that_can_be_settled_is_read() -> None:
    known = event(login_failed=FAILED)
    assert parse_auth(known.SerializeToString()) == known


@pytest.mark.row("B7")
@pytest.mark.parametrize(
    "poison",
    [
        None,
        b"",
        b"\xff not protobuf",
        AuthEvent(meta=EventMeta(stream_id=STREAM)).SerializeToString(),
        event(EventMeta(stream_id="nobody"), login_failed=FAILED).SerializeToString(),
        event(login_failed=LoginFailed(attempt_id="?", credential=CREDENTIAL_PASSWORD)).SerializeToString(),
        event(login_failed=LoginFailed(attempt_id=ATTEMPT, credential=99)).SerializeToString(),  # type: ignore[arg-type]
        event(login_succeeded=LoginSucceeded()).SerializeToString(),
    ],
)
def test_what_no_retry_would_ever_settle_is_poison(poison: bytes | None) -> None:
    with pytest.raises(Poison):
        parse_auth(poison)


def test_a_time_that_is_none_is_poison() -> None:
    broken = event(login_failed=FAILED)
    broken.meta.occurred_at.seconds = 10**18
    with pytest.raises(Poison):
        parse_auth(broken.SerializeToString())
    with pytest.raises(Poison):
        parse_otp(OtpEvent(meta=broken.meta).SerializeToString())


@given(st.binary(max_size=60))
def test_whatever_the_bytes_nothing_but_poison_is_raised(value: bytes) -> None:
    for parse in (parse_auth, parse_otp):
        with suppress(Poison):
            parse(value)


def test_failures_and_refusals_are_counted_by_address_subnet_range_and_in_all() -> None:
    both = counted([event(login_failed=FAILED), event(login_refused=LoginRefused())])
    keys = [LimitKey(1, "2026-03", "aa"), LimitKey(2, "2026-03", "bb"), LimitKey(5, "2026-03", "cc"), LimitKey(6, "", "")]
    assert [one.key for one in both] == keys * 2
    assert {one.at for one in both} == {1_780_000_000.0}


def test_what_succeeds_or_comes_from_nowhere_is_not_counted() -> None:
    nowhere = EventMeta(stream_id=STREAM)
    assert counted([event(login_succeeded=LoginSucceeded()), event(session_started=SessionStarted())]) == []
    assert counted([event(nowhere, login_failed=FAILED)]) == []


def test_codes_have_limits_of_their_own() -> None:
    keys = [one.key.dimension for one in counted_codes([OtpEvent(meta=event().meta)])]
    assert keys == [3, 4, 7, 8]


def test_where_no_number_was_typed_no_range_is_counted() -> None:
    of_a_change = EventMeta(stream_id=STREAM, origin=Origin(key_id="2026-03", ip_pseudonym="aa", subnet_pseudonym="bb"))
    assert [one.key.dimension for one in counted([event(of_a_change, login_failed=FAILED)])] == [1, 2, 6]


def test_a_limits_key_survives_being_text() -> None:
    key = LimitKey(LimitDimension.Value("LIMIT_DIMENSION_CODES_BY_IP"), "2026-03", "ab" * 16)
    assert LimitKey.from_text(key.to_text()) == key
    assert key.stream_id != LimitKey(key.dimension, key.key_id, "cd" * 16).stream_id


def test_the_whole_systems_key_survives_being_text() -> None:
    key = LimitKey(LimitDimension.Value("LIMIT_DIMENSION_CODES_BY_SYSTEM"), "", WHOLE_SYSTEM)
    assert LimitKey.from_text(key.to_text()) == key


@pytest.mark.parametrize("text", ["", "1:2", "x:y:z", "1:2:3:4"])
def test_a_text_that_is_no_key_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        LimitKey.from_text(text)


def test_a_code_for_somebody_unknown_counts_like_one_for_somebody_known() -> None:
    meta = EventMeta(origin=ORIGIN)
    known = OtpEvent(meta=meta, otp_issued=OtpIssued())
    unknown = OtpEvent(meta=meta, decoy_issued=DecoyIssued())
    assert [one.key for one in counted_codes([known])] == [one.key for one in counted_codes([unknown])]
    assert {"OtpIssued", "DecoyIssued"} <= OTP_KINDS


def failures(streams: int, of_each: int = 1) -> list[AuthEvent]:
    """Failed logins of so many accounts, one of each in turn."""
    accounts = [str(uuid4()) for _ in range(streams)]
    return [
        event(
            EventMeta(stream_id=account, version=version + 1),
            login_failed=LoginFailed(attempt_id=str(uuid4()), credential=CREDENTIAL_PASSWORD, identifier_known=True),
        )
        for version in range(of_each)
        for account in accounts
    ]


class SlowStore:
    """A LockoutStore whose settling of a failure goes through a gate; `fails` does so at once."""

    def __init__(self, fails: UUID | None = None) -> None:
        self.gate = asyncio.Event()
        self.fails = fails
        self.under_way: set[UUID] = set()
        self.most = 0
        self.done: list[UUID] = []

    async def record_failure(self, subject_id: UUID, attempt_id: UUID) -> None:
        assert subject_id not in self.under_way, "the events of one stream go one after the other"
        self.under_way.add(subject_id)
        self.most = max(self.most, len(self.under_way))
        try:
            if subject_id == self.fails:
                raise OSError
            await self.gate.wait()
            self.done.append(attempt_id)
        finally:
            self.under_way.remove(subject_id)


@pytest.mark.row("B7")
async def test_each_new_password_is_told_to_the_store_by_the_stream_too() -> None:
    """Auth may have been unable to tell lockout over gRPC."""
    told: list[tuple[UUID, int]] = []

    class Store:
        async def raise_epoch(self, key: SubjectKey, epoch: int) -> None:
            told.append((key.subject_id, epoch))

    passwords = [
        event(account_registered=AccountRegistered(credential_version=1)),
        event(password_changed=PasswordChanged(credential_version=2)),
        event(password_reset=PasswordReset(credential_version=3)),
        event(temporary_password_used=TemporaryPasswordUsed(credential_version=4)),
    ]
    await settle(passwords, cast(Any, Store()))
    assert told == [(UUID(STREAM), 1), (UUID(STREAM), 2), (UUID(STREAM), 3), (UUID(STREAM), 4)]


@pytest.mark.row("B7")
async def test_if_one_streams_settling_fails_none_goes_on_beside_the_next_try() -> None:
    events = failures(3)
    store = SlowStore(fails=UUID(events[1].meta.stream_id))
    with pytest.raises((ExceptionGroup, OSError)):
        await settle(events, cast(Any, store))
    assert not store.under_way
    store.gate.set()
    await asyncio.sleep(0)
    assert store.done == [], "nothing of the failed try comes after it"


@pytest.mark.row("B7")
async def test_no_more_streams_are_settled_at_once_than_the_pool_has_connections_for() -> None:
    """Whoever waits for a connection beyond its patience fails the whole batch."""
    events, store = failures(20, of_each=2), SlowStore()
    settling = asyncio.create_task(settle(events, cast(Any, store)))
    await asyncio.sleep(0.01)
    assert len(store.under_way) == 6
    store.gate.set()
    await settling
    assert store.most == 6
    assert sorted(store.done) == sorted(UUID(one.login_failed.attempt_id) for one in events)
