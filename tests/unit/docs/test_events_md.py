"""docs/events.md is the analyst's only source: it describes every event of the protos, and nothing else."""

import importlib
import inspect
import re
from types import SimpleNamespace
from typing import Any, Self

import aiokafka
import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from zasov.events.v1 import auth_event_pb2, lockout_event_pb2, meta_pb2, notifier_event_pb2, otp_event_pb2
from zasov.events.v1.auth_event_pb2 import AccountRegistered, AuthEvent

from devstack.paths import REPO
from services.chassis import streams

TEXT = (REPO / "docs" / "events.md").read_text()

ENVELOPES = {
    streams.AUTH_EVENTS: auth_event_pb2.AuthEvent.DESCRIPTOR,
    streams.OTP_EVENTS: otp_event_pb2.OtpEvent.DESCRIPTOR,
    streams.LOCKOUT_EVENTS: lockout_event_pb2.LockoutEvent.DESCRIPTOR,
    streams.NOTIFIER_EVENTS: notifier_event_pb2.NotifierEvent.DESCRIPTOR,
}


def events_of(envelope: Descriptor) -> dict[str, Descriptor]:
    return {field.message_type.name: field.message_type for field in envelope.oneofs_by_name["event"].fields}


def section_of(topic: str) -> str:
    found = re.search(rf"^## {re.escape(topic)}\n(.*?)(?=^## )", TEXT, re.M | re.S)
    assert found, f"no section for {topic}"
    return found[1]


def described_in(section: str) -> dict[str, str]:
    parts = re.split(r"^### (\w+)\n", section, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("topic", streams.EVENT_TOPICS)
def test_every_event_of_a_topic_is_described_and_nothing_else(topic: str) -> None:
    assert list(described_in(section_of(topic))) == list(events_of(ENVELOPES[topic]))


@pytest.mark.parametrize("topic", streams.EVENT_TOPICS)
def test_every_field_of_an_event_is_described_and_nothing_else(topic: str) -> None:
    events = events_of(ENVELOPES[topic])
    for name, text in described_in(section_of(topic)).items():
        fields = re.findall(r"^\| `(\w+)` \|", text, re.M)
        assert fields == [field.name for field in events[name].fields], name


def test_internal_is_said_of_those_events_that_the_protos_call_internal_and_of_no_others() -> None:
    source = "\n".join(path.read_text() for path in (REPO / "protos" / "zasov" / "events" / "v1").glob("*.proto"))
    internal = set(re.findall(r"// Internal: never published\.\n\s+(\w+) ", source))
    described = {
        name
        for topic in streams.EVENT_TOPICS
        for name, text in described_in(section_of(topic)).items()
        if "Internal, never published" in text
    }
    assert described == internal


@pytest.mark.parametrize("topic", streams.EVENT_TOPICS)
def test_every_value_of_every_enum_is_named_in_its_topics_section(topic: str) -> None:
    section = section_of(topic)
    for name, event in events_of(ENVELOPES[topic]).items():
        for field in event.fields:
            values = enum_values(field.enum_type) if field.enum_type else []
            assert [value for value in values if value not in section] == [], name


def enum_values(enum: EnumDescriptor) -> list[str]:
    return [value.name for value in enum.values if value.number]


def test_what_all_events_share_is_described() -> None:
    for message in (meta_pb2.EventMeta, meta_pb2.Origin, notifier_event_pb2.MessageRef):
        missing = [field.name for field in message.DESCRIPTOR.fields if f"`{field.name}`" not in TEXT]
        assert missing == []


def test_every_header_of_a_record_is_described() -> None:
    written = re.findall(r'^\s+"([a-z_-]+)": ', inspect.getsource(streams.headers_of), re.M)
    assert written
    assert [name for name in [*written, streams.TRACEPARENT, streams.REPUBLISHED] if f"`{name}`" not in TEXT] == []


def example() -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
    return str(code)


def test_the_example_has_fifteen_lines_at_most() -> None:
    assert len([line for line in example().splitlines() if line.strip()]) <= 15


def test_the_example_prints_what_a_topic_holds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    event = AuthEvent(account_registered=AccountRegistered(credential_version=1))
    event.meta.stream_id, event.meta.version = "4f2c7c0e-5b0e-4a51-8c30-0d3ad1a2b6f1", 1
    real = inspect.signature(importlib.import_module("aiokafka").AIOKafkaConsumer.__init__)

    class OneRecord:
        """Stands for a consumer that is given what the real one would accept, and has one record to read."""

        def __init__(self, *topics: str, **options: Any) -> None:
            real.bind(self, *topics, **options)
            assert topics == (streams.AUTH_EVENTS,)
            self._records = [SimpleNamespace(value=event.SerializeToString())]

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        def __aiter__(self) -> Self:
            return self

        async def __anext__(self) -> SimpleNamespace:
            if not self._records:
                raise StopAsyncIteration
            return self._records.pop()

    assert hasattr(aiokafka.AIOKafkaConsumer, "__aenter__")
    monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", OneRecord)
    exec(compile(example(), "docs/events.md", "exec"), {})
    assert capsys.readouterr().out.split()[1:] == [event.meta.stream_id, "1", "account_registered"]
