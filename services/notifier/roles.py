"""The roles: `worker` consumes events, sends messages, receives receipts and subscribers' texts; `server` hands those texts to
auth and tells what became of messages; `relay` publishes the notifier's own events.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from aiokafka import ConsumerRecord
from zasov.notifier.v1.inbound_service_pb2_grpc import add_InboundServiceServicer_to_server
from zasov.notifier.v1.notifier_service_pb2_grpc import add_NotifierServiceServicer_to_server

from services.chassis import outbox_relay, streams
from services.chassis.dead_letters import dead_letters
from services.chassis.lifecycle import Lifecycle
from services.chassis.postgres import Database, open_database
from services.chassis.rpc_clients import open_channel
from services.chassis.rpc_server import serving
from services.chassis.sealing import PublicSeal, read_key
from services.chassis.streams import Consumer, Handler
from services.notifier import planner
from services.notifier.channels import Channel
from services.notifier.channels.email import EmailChannel
from services.notifier.channels.sms import SmsChannel
from services.notifier.dispatcher import Dispatcher, forget_old_receipts
from services.notifier.domain import ChannelId
from services.notifier.inbound.receiving import Receiving, tidy_for_ever
from services.notifier.inbound.sealed import Sealer
from services.notifier.inbound.servicer import InboundServicer
from services.notifier.inbound.store import InboundStore
from services.notifier.issuers import Issuers
from services.notifier.moments import Moments
from services.notifier.servicer import NotifierServicer
from services.notifier.settings import NotifierSettings
from services.notifier.store import Store
from services.notifier.templates import Templates
from services.notifier.views import Views

GROUP = "zasov.notifier"
DEAD_LETTERS = "zasov.notifier.deadletters.v1"


async def relay(settings: NotifierSettings, life: Lifecycle) -> None:
    await outbox_relay.relay(settings, life, service="notifier", topic=streams.NOTIFIER_EVENTS, envelope="NotifierEvent")


async def server(settings: NotifierSettings, life: Lifecycle) -> None:
    """Serves claims of texts, and tells what became of messages. Needs PostgreSQL alone: neither Kafka nor the SMSC."""
    async with open_database(settings) as database:
        inbound = InboundServicer(_inbound_store(settings, database))
        messages = NotifierServicer(Views(database))
        async with serving(
            settings,
            life,
            [
                lambda grpc_server: add_InboundServiceServicer_to_server(inbound, grpc_server),
                lambda grpc_server: add_NotifierServiceServicer_to_server(messages, grpc_server),
            ],
            ["zasov.notifier.v1.InboundService", "zasov.notifier.v1.NotifierService"],
        ):
            await life.stopping()


async def worker(settings: NotifierSettings, life: Lifecycle) -> None:
    """Ready when it has its partitions. The SMSC may be away: messages wait for it."""
    templates = Templates(default_language=settings.default_language, operator=settings.operator_name)
    async with (
        open_database(settings) as database,
        dispatching(settings, life, database, templates) as (store, dispatcher),
        dead_letters(settings, DEAD_LETTERS) as put_aside,
    ):
        consumer = Consumer(settings, GROUP, handlers_of(store, dispatcher), put_aside)
        consuming = life.keep_running(consumer.run(life), "consumer")
        try:
            await life.stopping()
        finally:
            consuming.cancel()
            await asyncio.gather(consuming, return_exceptions=True)


@asynccontextmanager
async def dispatching(
    settings: NotifierSettings, life: Lifecycle, database: Database, templates: Templates
) -> AsyncIterator[tuple[Store, Dispatcher]]:
    """A dispatcher at work. At the end: nothing new is taken, what is in hand ends, the session with the SMSC is closed."""
    store = Store(database, settings.policy(), timedelta(seconds=settings.lease_s))
    async with AsyncExitStack() as stack:
        otp = await stack.enter_async_context(open_channel(settings.otp_address))
        auth = await stack.enter_async_context(open_channel(settings.auth_address))
        inbound = _inbound_store(settings, database)
        sms = SmsChannel(
            settings.smpp(),
            store,
            Receiving(inbound, _sealer(settings), settings.inbound_numbers.split(",")),
            smsc_id=settings.smpp_smsc_id,
            source=settings.smpp_source,
            receipt_ids=settings.smpp_receipt_ids,
        )
        await stack.enter_async_context(sms.client)
        channels: dict[ChannelId, Channel] = {ChannelId.SMS: sms}
        if (mail_server := settings.mail_server()) is not None:
            channels[ChannelId.EMAIL] = await stack.enter_async_context(EmailChannel(mail_server))
        moments = Moments(settings.time_zone)
        issuers = Issuers(otp, auth, f"notifier {uuid4()}", settings.claim_timeout_s, moments)
        dispatcher = Dispatcher(settings, store, issuers, templates, channels)
        background = [
            life.keep_running(tidy_for_ever(inbound), "inbound"),
            life.keep_running(dispatcher.run(), "dispatcher"),
            life.keep_running(
                forget_old_receipts(store, timedelta(seconds=settings.early_receipt_lifetime_s)), "early receipts"
            ),
        ]
        try:
            yield store, dispatcher
        finally:
            await dispatcher.drain(settings.drain_grace_s)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)


def _inbound_store(settings: NotifierSettings, database: Database) -> InboundStore:
    return InboundStore(database, settings.inbound_rules(), timedelta(seconds=settings.inbound_lease_s))


def _sealer(settings: NotifierSettings) -> Sealer:
    public, own = settings.keys_dir / "auth-inbound-public.key", settings.keys_dir / "notifier-inbound.key"
    return Sealer(PublicSeal(read_key(public)), read_key(own))


def handlers_of(store: Store, dispatcher: Dispatcher) -> dict[str, dict[str, Handler]]:
    """By topic and kind of event: those that ask for a message."""

    def handler_of(topic: str) -> Handler:
        async def handle(record: ConsumerRecord) -> None:
            stream_id, version, wanted = planner.read(topic, record)
            # A mark for each topic: an account's id is the id of two streams, auth's own and its password's in lockout.
            leased = await store.accept(f"notifier {topic}", stream_id, version, wanted, mine=dispatcher.has_room)
            if leased is not None:
                dispatcher.take(leased)

        return handle

    return {topic: dict.fromkeys(kinds, handler_of(topic)) for topic, kinds in planner.PLANS.items()}
