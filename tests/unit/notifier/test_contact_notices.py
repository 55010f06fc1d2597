"""Which changes of what is on file are told of (M11, M20)."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import ConsumerRecord
from zasov.events.v1.auth_event_pb2 import AuthEvent, ContactChanged, ContactReplaced, EmailWarned
from zasov.events.v1.meta_pb2 import EventMeta

from services.chassis.streams import AUTH_EVENTS
from services.notifier.domain import ChannelId, Kind, Wanted
from services.notifier.planner import read
from services.notifier.templates import Templates

STREAM, EVENT = uuid4(), uuid4()


def asked_for(kind: str, **fact: Any) -> Wanted | None:
    meta = EventMeta(event_id=str(EVENT), stream_id=str(STREAM), version=4)
    meta.occurred_at.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    value = AuthEvent(meta=meta, **fact).SerializeToString()
    record = ConsumerRecord("t", 0, 0, 0, 0, b"k", value, None, 1, len(value), [("ce_type", kind.encode())])
    return read(AUTH_EVENTS, record)[2]


def key(message: Wanted | None) -> tuple[Kind, UUID, UUID] | None:
    return message and (message.kind, message.cause_event_id, message.cause_stream_id)


@pytest.mark.row("M20")
@pytest.mark.parametrize(
    "parts",
    [
        [ContactChanged.PART_EMAIL],
        [ContactChanged.PART_PHONE],
        [ContactChanged.PART_LANGUAGE, ContactChanged.PART_EMAIL],
    ],
)
def test_a_change_of_the_phone_or_the_email_is_told(parts: Any) -> None:
    message = asked_for("ContactChanged", contact_changed=ContactChanged(changed=parts))
    assert key(message) == (Kind.CONTACT_CHANGED, EVENT, STREAM)


@pytest.mark.row("M20")
def test_who_is_not_on_file_any_more_is_told_by_an_event_of_their_own() -> None:
    message = asked_for("ContactReplaced", contact_replaced=ContactReplaced(part=ContactChanged.PART_EMAIL))
    assert key(message) == (Kind.CONTACT_CHANGED, EVENT, STREAM)


@pytest.mark.row("M18")
@pytest.mark.parametrize(
    ("about", "kind"),
    [
        (EmailWarned.ABOUT_REQUEST, Kind.CONTACT_CHANGE_REQUESTED),
        (EmailWarned.ABOUT_CHANGE, Kind.CONTACT_CHANGED),
    ],
)
def test_an_email_beside_a_phone_is_told_the_same_as_the_phone(about: Any, kind: Kind) -> None:
    assert key(asked_for("EmailWarned", email_warned=EmailWarned(about=about))) == (kind, EVENT, STREAM)


@pytest.mark.row("M20")
@pytest.mark.parametrize("part", [ContactChanged.PART_LANGUAGE, ContactChanged.PART_NUMBER])
def test_a_change_of_the_language_or_of_a_number_in_the_books_is_told_to_nobody(part: Any) -> None:
    assert asked_for("ContactChanged", contact_changed=ContactChanged(changed=[part])) is None


@pytest.mark.row("M11")
def test_it_can_be_told_by_sms_and_by_email() -> None:
    templates = Templates()
    assert all(templates.can_say(Kind.CONTACT_CHANGED, channel) for channel in ChannelId)
    for language in ("ru", "en"):
        assert templates.render(Kind.CONTACT_CHANGED, language, {})
        assert templates.letter(Kind.CONTACT_CHANGED, language, {}).text
