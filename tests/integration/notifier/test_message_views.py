"""What the notifier tells of its messages: states and times, never a text or a destination (M11)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from zasov.events.v1.notifier_event_pb2 import CHANNEL_SMS, CHANNEL_UNSPECIFIED
from zasov.notifier.v1 import notifier_service_pb2 as pb
from zasov.notifier.v1.notifier_service_pb2_grpc import NotifierServiceStub

from devstack.handsets import Handsets
from devstack.waiting import free_port
from services.chassis.errors import ServiceError, from_rpc_error
from services.chassis.postgres import Database
from services.notifier.domain import ChannelId, State
from services.notifier.settings import NotifierSettings
from services.notifier.views import Recent, Views
from tests.integration.notifier.conftest import PHONE, Notifier, Start, comes_to, otp_issued, password_changed, until
from tests.integration.notifier.test_worker_role import running

pytestmark = pytest.mark.row("M11")


@pytest.fixture
async def stub(settings: NotifierSettings, database: Database) -> AsyncIterator[Any]:
    ports = {name: f"127.0.0.1:{free_port()}" for name in ("listen", "health_listen")}
    served = settings.model_copy(update=ports)
    async with running(served, "server"), grpc.aio.insecure_channel(served.listen) as channel:
        yield NotifierServiceStub(channel)


async def refused(call: Any) -> ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_receipt_makes_it_delivered_and_before_it_was_only_submitted(
    notifier: Notifier, handsets: Handsets, database: Database, stub: Any
) -> None:
    event = otp_issued()
    request = pb.GetDeliveryRequest(cause_stream_id=str(event.stream_id))
    assert await stub.GetDelivery(request, timeout=5) == pb.GetDeliveryResponse(), "none is known"
    await handsets.switch(PHONE, on=False)
    await notifier.meet(event)
    await comes_to(database, event, "submitted")
    answer = await stub.GetDelivery(request, timeout=5)
    assert (answer.state, answer.channel) == (pb.MESSAGE_STATE_SUBMITTED, CHANNEL_SMS)
    await handsets.switch(PHONE, on=True)
    await comes_to(database, event, "delivered")
    answer = await stub.GetDelivery(request, timeout=5)
    assert (answer.state, answer.channel) == (pb.MESSAGE_STATE_DELIVERED, CHANNEL_SMS)


async def test_what_was_known_some_time_ago_is_told_as_it_was_then(notifier: Notifier, database: Database) -> None:
    event = otp_issued()
    await notifier.meet(event)
    row = await comes_to(database, event, "delivered")
    views = Views(database)
    rows = await database.fetch(
        "SELECT clock_timestamp() - occurred_at AS age FROM event WHERE stream_id = $1 ORDER BY version", row["notification_id"]
    )
    accepted, _, delivered = [one["age"] for one in rows]
    now = await views.known(event.stream_id, timedelta(0))
    assert now is not None
    assert now.state is State.DELIVERED
    # Ages grow while this test goes on: one second more is before all of it.
    assert await views.known(event.stream_id, accepted + timedelta(seconds=1)) is None
    assert accepted >= delivered


async def test_of_a_stream_that_asked_for_nothing_nothing_is_known_whoever_else_asked(
    notifier: Notifier, database: Database
) -> None:
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "delivered")
    views = Views(database)
    for beside in (event.stream_id.int - 1, event.stream_id.int + 1):
        assert await views.known(UUID(int=beside), timedelta(0)) is None


async def test_of_recent_codes_it_is_told_how_many_had_arrived_in_time(
    notifier: Notifier, handsets: Handsets, database: Database, stub: Any
) -> None:
    views, within = Views(database), timedelta(seconds=1.5)
    for state in ("delivered", "submitted"):
        await handsets.switch(PHONE, on=state == "delivered")
        events = [otp_issued(), otp_issued(), password_changed()]
        for event in events:
            await notifier.meet(event)
            await comes_to(database, event, state)
    await until(lambda: database.fetch_value("SELECT max(created_at) < clock_timestamp() - $1::interval FROM message", within))
    hour = timedelta(hours=1)
    assert await views.recent(timedelta(0), within, ChannelId.SMS) == Recent(4, 2)
    assert await views.recent(timedelta(0), within, ChannelId.EMAIL) == Recent(0, 0)
    assert await views.recent(hour, within, ChannelId.SMS) == Recent(0, 0), "not yet asked for"
    # What comes later than that is late.
    await handsets.switch(PHONE, on=True)
    await until(lambda: database.fetch_value("SELECT count(*) = 6 FROM message WHERE state = 'delivered'"))
    assert await views.recent(timedelta(0), within, ChannelId.SMS) == Recent(4, 2)
    request = pb.GetDeliveryRequest(cause_stream_id=str(uuid4()), within_ms=1500)
    answer = await stub.GetDelivery(request, timeout=5)
    assert (answer.state, answer.recent, answer.recent_arrived) == (pb.MESSAGE_STATE_UNSPECIFIED, 4, 2)


async def test_of_several_messages_of_a_stream_the_newest_is_told(notifier: Notifier, database: Database) -> None:
    account = uuid4()
    first, second = password_changed(account, version=7), password_changed(account, version=8)
    for event in (first, second):
        await notifier.meet(event)
        await comes_to(database, event, "delivered")
    views = await Views(database).newest(10, None, account)
    assert [view.cause_event_id for view in views] == [second.event_id, first.event_id]


async def test_an_operator_sees_states_and_times_and_nothing_that_leads_to_anybody(
    notifier: Notifier, database: Database, stub: Any, handsets: Handsets
) -> None:
    events = [otp_issued(), password_changed()]
    for event in events:
        await notifier.meet(event)
        await comes_to(database, event, "delivered")
    listed = await stub.ListMessages(pb.ListMessagesRequest(), timeout=5)
    assert [one.kind for one in listed.messages] == ["password_changed", "code"]
    newest, oldest = listed.messages
    assert newest.state == pb.MESSAGE_STATE_DELIVERED
    assert newest.attempts == 1
    assert newest.created_at.ToDatetime() <= newest.changed_at.ToDatetime() <= newest.deadline.ToDatetime()
    one = await stub.GetMessage(pb.GetMessageRequest(notification_id=oldest.notification_id), timeout=5)
    assert one.message == oldest
    pages = [
        (await stub.ListMessages(pb.ListMessagesRequest(limit=1, before_notification_id=before), timeout=5)).messages
        for before in ("", newest.notification_id, oldest.notification_id)
    ]
    assert [list(page) for page in pages] == [[newest], [oldest], []]
    of_one = pb.ListMessagesRequest(cause_stream_id=str(events[0].stream_id))
    assert list((await stub.ListMessages(of_one, timeout=5)).messages) == [oldest]
    said = listed.SerializeToString()
    texts = [message.text for message in await handsets.messages(PHONE)]
    assert len(texts) == 2
    assert not any(secret.encode() in said for secret in (*texts, PHONE, PHONE.lstrip("+"), "4711"))


async def test_before_its_first_claim_a_message_waits_and_has_no_channel(start: Start, database: Database, stub: Any) -> None:
    notifier = await start(bound=False, smpp_address=f"127.0.0.1:{free_port()}")
    event = otp_issued()
    await notifier.meet(event)
    answer = await stub.GetDelivery(pb.GetDeliveryRequest(cause_stream_id=str(event.stream_id)), timeout=5)
    assert (answer.state, answer.channel) == (pb.MESSAGE_STATE_PENDING, CHANNEL_UNSPECIFIED)


async def test_what_is_not_in_order_is_refused(stub: Any) -> None:
    wrong = [
        (stub.GetDelivery, pb.GetDeliveryRequest(cause_stream_id="x"), "cause_stream_id"),
        (stub.GetDelivery, pb.GetDeliveryRequest(cause_stream_id=str(uuid4()), ago_ms=-1), "ago_ms"),
        (stub.GetDelivery, pb.GetDeliveryRequest(cause_stream_id=str(uuid4()), ago_ms=86_400_001), "ago_ms"),
        (stub.GetDelivery, pb.GetDeliveryRequest(cause_stream_id=str(uuid4()), within_ms=600_001), "within_ms"),
        (stub.GetDelivery, pb.GetDeliveryRequest(cause_stream_id=str(uuid4()), recent_channel=9), "recent_channel"),  # type: ignore[arg-type]
        (stub.GetMessage, pb.GetMessageRequest(), "notification_id"),
        (stub.ListMessages, pb.ListMessagesRequest(limit=501), "limit"),
        (stub.ListMessages, pb.ListMessagesRequest(before_notification_id="x"), "before_notification_id"),
    ]
    for method, request, field in wrong:
        error = await refused(method(request, timeout=5))
        assert (error.code, list(error.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    unknown = await refused(stub.GetMessage(pb.GetMessageRequest(notification_id=str(uuid4())), timeout=5))
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "MESSAGE_UNKNOWN")
