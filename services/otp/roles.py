"""Composition roots: what each role is made of."""

from datetime import timedelta

from zasov.otp.v1.delivery_service_pb2_grpc import add_DeliveryServiceServicer_to_server
from zasov.otp.v1.otp_service_pb2_grpc import add_OtpServiceServicer_to_server

from services.chassis import outbox_relay, rpc_server, streams
from services.chassis.lifecycle import Lifecycle
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import open_database
from services.chassis.sealing import Seal, read_key
from services.otp import sweep
from services.otp.challenges import Challenges
from services.otp.codes import CodeKey
from services.otp.deliveries import Deliveries
from services.otp.servicer import DeliveryServicer, OtpServicer
from services.otp.settings import OtpSettings
from services.otp.store import Store


async def server(settings: OtpSettings, life: Lifecycle) -> None:
    async with open_database(settings) as database:
        store = Store(database, settings.brake())
        waker = OutboxWaker(database)
        seal = Seal(read_key(settings.keys_dir / "otp-delivery.key"))
        code_key = CodeKey(read_key(settings.keys_dir / "otp-codes.key"))
        decoy_sent_after = timedelta(seconds=settings.decoy_sent_after_s)
        challenges = Challenges(store, settings.rules(), code_key, seal, waker, decoy_sent_after)
        deliveries = Deliveries(store, seal, timedelta(seconds=settings.lease_s))
        sweep.start(life, settings, waker)
        async with rpc_server.serving(
            settings,
            life,
            [
                lambda server: add_OtpServiceServicer_to_server(OtpServicer(challenges), server),
                lambda server: add_DeliveryServiceServicer_to_server(DeliveryServicer(deliveries), server),
            ],
            ["zasov.otp.v1.OtpService", "zasov.otp.v1.DeliveryService"],
        ):
            await life.stopping()
        await challenges.drained()


async def relay(settings: OtpSettings, life: Lifecycle) -> None:
    await outbox_relay.relay(settings, life, service="otp", topic=streams.OTP_EVENTS, envelope="OtpEvent")
