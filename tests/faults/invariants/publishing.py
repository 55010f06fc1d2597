"""Events and Kafka: each acknowledged event is there, and in order."""

from collections import Counter, defaultdict
from uuid import UUID

from tests.faults.history import History


def each_public_event_is_in_kafka_and_no_other(history: History) -> list[str]:
    """The very bytes, under the stream's key; once after dedup by event id."""
    found = []
    published = {record.event_id: record for record in history.records}
    stored = {event.event_id: event for event in history.events if event.is_public}
    times = Counter(event.event_id for event in history.events if event.is_public)
    found += [f"{event_id} is {count} events in the stores" for event_id, count in times.items() if count > 1]
    for event_id, event in stored.items():
        record = published.get(event_id)
        if record is None:
            found.append(f"{event.service} {event.kind} {event_id} of {event.stream_id} is not in Kafka")
        elif (record.service, record.key, record.value) != (event.service, str(event.stream_id), event.data):
            found.append(f"{event.service} {event.kind} {event_id} differs in Kafka")
    copies: dict[UUID, set[bytes]] = defaultdict(set)
    for record in history.records:
        copies[record.event_id].add(record.value)
    for event_id, record in published.items():
        if event_id not in stored:
            found.append(f"{record.service} {record.kind} {event_id} is in Kafka, but not (as public) in the store")
        elif len(copies[event_id]) > 1:
            found.append(f"{record.service} {record.kind} {event_id} was published as different bytes")
    return found


def each_stream_is_in_order_after_dedup(history: History) -> list[str]:
    """By first occurrence: a batch that comes again brings old versions, which consumers skip."""
    found = []
    highest: dict[tuple[str, UUID], int] = {}
    places: dict[tuple[str, UUID], int] = {}
    seen: set[UUID] = set()
    for record in sorted(history.records, key=lambda one: (one.service, one.partition, one.offset)):
        stream = record.service, record.stream_id
        if places.setdefault(stream, record.partition) != record.partition:
            found.append(f"{record.service} {record.stream_id} is in two partitions")
        if record.event_id in seen:
            continue
        seen.add(record.event_id)
        if record.version <= highest.get(stream, 0):
            found.append(f"{record.service} {record.stream_id}: version {record.version} after {highest[stream]}")
        highest[stream] = max(highest.get(stream, 0), record.version)
    return found
