"""Which events ask for a message, and which records nothing will make readable."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from zasov.events.v1.auth_event_pb2 import (
    AuthEvent,
    NumberLinked,
    PasswordChanged,
    PasswordReset,
    SignedInFromNewDevice,
    TemporaryPasswordUsed,
)
from zasov.events.v1.lockout_event_pb2 import AccountBlocked, LockoutEvent
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, EventMeta
from zasov.events.v1.otp_event_pb2 import OtpEvent, OtpIssued

from services.chassis.streams import AUTH_EVENTS, LOCKOUT_EVENTS, OTP_EVENTS, Poison
from services.notifier.domain import Kind
from services.notifier.planner import PLANS, read

STREAM, EVENT = uuid4(), uuid4()
AT = datetime(2026, 1, 1, tzinfo=UTC)


def meta(**changes: Any) -> EventMeta:
    made = EventMeta(**{"event_id": str(EVENT), "stream_id": str(STREAM), "version": 4} | changes)
    made.occurred_at.FromDatetime(AT)
    return made


def issued(at: datetime | None = AT) -> OtpIssued:
    made = OtpIssued()
    if at is not None:
        made.expires_at.FromDatetime(at)
    return made


def record(kind: str, value: bytes | None) -> ConsumerRecord:
    return ConsumerRecord("t", 0, 0, 0, 0, b"k", value, None, 1, len(value or b""), [("ce_type", kind.encode())])


@pytest.mark.row("M20")
@pytest.mark.parametrize(
    ("topic", "kind", "envelope", "wanted"),
    [
        (OTP_EVENTS, "OtpIssued", OtpEvent(meta=meta(), otp_issued=issued()), Kind.CODE),
        (
            LOCKOUT_EVENTS,
            "AccountBlocked",
            LockoutEvent(meta=meta(), account_blocked=AccountBlocked(account_id=str(STREAM), credential=CREDENTIAL_PASSWORD)),
            Kind.ACCOUNT_BLOCKED,
        ),
        (AUTH_EVENTS, "PasswordChanged", AuthEvent(meta=meta(), password_changed=PasswordChanged()), Kind.PASSWORD_CHANGED),
        (AUTH_EVENTS, "PasswordReset", AuthEvent(meta=meta(), password_reset=PasswordReset()), Kind.PASSWORD_CHANGED),
        (
            AUTH_EVENTS,
            "PasswordReset",
            AuthEvent(meta=meta(), password_reset=PasswordReset(lifted_block=True)),
            Kind.SIGN_IN_REOPENED,
        ),
        (
            AUTH_EVENTS,
            "TemporaryPasswordUsed",
            AuthEvent(meta=meta(), temporary_password_used=TemporaryPasswordUsed(lifted_block=True)),
            Kind.TEMPORARY_PASSWORD_USED,
        ),
        (
            AUTH_EVENTS,
            "SignedInFromNewDevice",
            AuthEvent(meta=meta(), signed_in_from_new_device=SignedInFromNewDevice(session_id=str(uuid4()))),
            Kind.NEW_DEVICE,
        ),
        (AUTH_EVENTS, "NumberLinked", AuthEvent(meta=meta(), number_linked=NumberLinked()), Kind.NUMBER_LINKED),
    ],
)
def test_events_that_ask_for_a_message(topic: str, kind: str, envelope: Any, wanted: Kind) -> None:
    stream_id, version, message = read(topic, record(kind, envelope.SerializeToString()))
    assert (stream_id, version) == (STREAM, 4)
    assert message is not None
    assert (message.kind, message.cause_event_id, message.cause_stream_id) == (wanted, EVENT, STREAM)


def test_the_block_of_a_credential_that_has_no_notice_asks_for_none() -> None:
    blocked = LockoutEvent(meta=meta(), account_blocked=AccountBlocked(account_id=str(STREAM)))
    assert read(LOCKOUT_EVENTS, record("AccountBlocked", blocked.SerializeToString()))[2] is None


@pytest.mark.row("M20")
def test_a_one_time_password_that_lifts_no_block_is_told_of_by_the_choice_of_a_permanent_one() -> None:
    used = AuthEvent(meta=meta(), temporary_password_used=TemporaryPasswordUsed())
    assert read(AUTH_EVENTS, record("TemporaryPasswordUsed", used.SerializeToString()))[2] is None


def test_a_block_is_claimed_by_the_account_that_it_names() -> None:
    account = uuid4()
    blocked = LockoutEvent(meta=meta(), account_blocked=AccountBlocked(account_id=str(account), credential=CREDENTIAL_PASSWORD))
    _, _, wanted = read(LOCKOUT_EVENTS, record("AccountBlocked", blocked.SerializeToString()))
    assert wanted is not None
    assert wanted.cause_stream_id == account


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xff",
        OtpEvent(meta=meta()).SerializeToString(),
        OtpEvent(meta=meta(version=0), otp_issued=issued()).SerializeToString(),
        OtpEvent(meta=meta(stream_id="+79160000001"), otp_issued=issued()).SerializeToString(),
        OtpEvent(meta=meta(event_id=""), otp_issued=issued()).SerializeToString(),
        OtpEvent(meta=meta(), otp_issued=issued(None)).SerializeToString(),
        AuthEvent(meta=meta(), password_changed=PasswordChanged()).SerializeToString(),
    ],
)
def test_what_cannot_be_read_is_poison_and_the_reason_quotes_nothing(value: bytes | None) -> None:
    with pytest.raises(Poison) as caught:
        read(OTP_EVENTS, record("OtpIssued", value))
    assert "7916" not in str(caught.value)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_poison(value: bytes) -> None:
    for topic, kinds in PLANS.items():
        for kind in kinds:
            try:
                stream_id, version, _ = read(topic, record(kind, value))
            except Poison:
                continue
            assert isinstance(stream_id, UUID)
            assert version > 0
