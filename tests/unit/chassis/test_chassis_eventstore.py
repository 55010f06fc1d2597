"""Facts become events with a place, an id and bytes that are the same wherever they are written."""

from datetime import UTC, datetime
from uuid import RFC_4122, UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from zasov.events.v1.auth_event_pb2 import AuthEvent, LoginFailed
from zasov.events.v1.lockout_event_pb2 import AccountBlocked, LockoutEvent, StrikeRecorded, StrikesCleared
from zasov.events.v1.meta_pb2 import Origin

from services.chassis.eventstore import Fact, payload_of, stamp, type_of

STREAM = UUID(int=9)
NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
FACTS = [Fact(StrikeRecorded(strikes=3)), Fact(AccountBlocked(epoch=2)), Fact(StrikesCleared(), b"sealed", is_public=False)]


def test_events_take_the_places_after_the_version() -> None:
    events = stamp(LockoutEvent, STREAM, 4, FACTS, NOW)
    metas = [LockoutEvent.FromString(data).meta for data in events.datas]
    assert [meta.version for meta in metas] == [5, 6, 7]
    assert (events.first_version, events.last_version) == (5, 7)


def test_the_bytes_say_what_the_columns_say() -> None:
    origin = Origin(key_id="2026-03", ip_pseudonym="ab")
    events = stamp(LockoutEvent, STREAM, 0, FACTS, NOW, origin)
    for data, event_id, kind, at, fact in zip(events.datas, events.ids, events.types, events.times, FACTS, strict=True):
        event = LockoutEvent.FromString(data)
        assert event.meta.event_id == str(event_id)
        assert event.meta.stream_id == str(STREAM)
        assert event.meta.origin == origin
        assert event.meta.occurred_at.ToDatetime(tzinfo=UTC) == at == NOW
        assert payload_of(event) == fact.payload
        assert type_of(payload_of(event)) == kind


def test_an_id_tells_the_databases_time_whatever_the_clock_of_the_process() -> None:
    """Auth decides by it whether a block's notice may still come to be known."""
    (first, *_) = stamp(LockoutEvent, STREAM, 0, FACTS, NOW).ids
    assert (first.version, first.variant) == (7, RFC_4122)
    assert (first.int >> 80) / 1000 == pytest.approx(NOW.timestamp(), abs=0.001)


def test_ids_are_unique_and_in_order_of_time() -> None:
    ids = stamp(LockoutEvent, STREAM, 0, FACTS * 50, NOW).ids
    assert ids == sorted(set(ids))
    assert {one.version for one in ids} == {7}


@pytest.mark.row("B2")
def test_a_secret_stays_beside_the_bytes_and_an_internal_event_is_marked() -> None:
    events = stamp(LockoutEvent, STREAM, 0, FACTS, NOW)
    assert events.secrets == [None, None, b"sealed"]
    assert events.publics == [True, True, False]
    assert not any(b"sealed" in data for data in events.datas)


def test_without_an_origin_none_is_written() -> None:
    data = stamp(LockoutEvent, STREAM, 0, FACTS[:1], NOW).datas[0]
    assert not LockoutEvent.FromString(data).meta.HasField("origin")


def test_a_fact_of_another_topic_has_no_place_in_the_envelope() -> None:
    with pytest.raises(TypeError, match="LoginFailed is not an event of LockoutEvent"):
        stamp(LockoutEvent, STREAM, 0, [Fact(LoginFailed())], NOW)
    assert stamp(AuthEvent, STREAM, 0, [Fact(LoginFailed())], NOW).types == ["LoginFailed"]


def test_what_is_no_event_at_all_has_no_place_either() -> None:
    with pytest.raises(TypeError):
        stamp(LockoutEvent, STREAM, 0, [Fact(Timestamp())], NOW)


def test_an_empty_envelope_is_an_event_of_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        payload_of(LockoutEvent())
