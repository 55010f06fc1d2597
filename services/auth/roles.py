"""Composition roots: each role's parts, put together."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, timedelta
from uuid import UUID

import grpc
from aiokafka import ConsumerRecord
from google.protobuf.message import DecodeError
from zasov.auth.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server
from zasov.auth.v1.captcha_service_pb2_grpc import add_CaptchaServiceServicer_to_server
from zasov.auth.v1.delivery_service_pb2_grpc import add_DeliveryServiceServicer_to_server
from zasov.auth.v1.provisioning_service_pb2_grpc import add_ProvisioningServiceServicer_to_server
from zasov.auth.v1.recovery_service_pb2_grpc import add_RecoveryServiceServicer_to_server
from zasov.auth.v1.registration_service_pb2_grpc import add_RegistrationServiceServicer_to_server
from zasov.auth.v1.sign_in_service_pb2_grpc import add_SignInServiceServicer_to_server
from zasov.auth.v1.staff_service_pb2_grpc import add_StaffServiceServicer_to_server
from zasov.auth.v1.token_service_pb2_grpc import add_TokenServiceServicer_to_server
from zasov.events.v1.lockout_event_pb2 import LockoutEvent
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD
from zasov.events.v1.notifier_event_pb2 import NotifierEvent
from zasov.events.v1.otp_event_pb2 import (
    OTP_PURPOSE_EMAIL,
    OTP_PURPOSE_REGISTRATION,
    OTP_PURPOSE_TEMPORARY_PASSWORD,
)
from zasov.lockout.v1.lockout_service_pb2_grpc import LockoutServiceStub
from zasov.notifier.v1.notifier_service_pb2_grpc import NotifierServiceStub
from zasov.otp.v1.otp_service_pb2_grpc import OtpServiceStub

from services.auth.assembly import (
    accounts_of,
    captcha_of,
    commands_of,
    hasher_of,
    lookup_of,
    notices_of,
    recovery_of,
    staff_desk_of,
    usual_deliveries,
    vaults_of,
)
from services.auth.captcha.pictures import DrawingLine
from services.auth.captcha.provider import UsedCaptchas
from services.auth.contacts.masks import Shares
from services.auth.flows.choice import ChoiceOfContact
from services.auth.flows.codes import Codes
from services.auth.flows.delivery import Deliveries, Messages
from services.auth.flows.email_change import EmailChange
from services.auth.flows.store import Flows
from services.auth.flows.temporary import TemporaryPasswords
from services.auth.links.linking import Linking
from services.auth.links.store import Links
from services.auth.office.recovery import ContactChanges, Office, carry_out_for_ever
from services.auth.office.staff import StaffDesk
from services.auth.office.store import PendingChanges
from services.auth.passwords.admission import LockoutClient
from services.auth.passwords.guesses import Guesses
from services.auth.passwords.hashing import HashingLine
from services.auth.passwords.proofs import Proofs
from services.auth.passwords.sign_in import SignIn
from services.auth.provisioning import Provisioning
from services.auth.repeats import Repeats
from services.auth.servicers.account import AccountServicer
from services.auth.servicers.captcha import CaptchaServicer
from services.auth.servicers.delivery import DeliveryServicer
from services.auth.servicers.office import StaffServicer
from services.auth.servicers.provisioning import ProvisioningServicer
from services.auth.servicers.recovery import RecoveryServicer, RegistrationServicer
from services.auth.servicers.sign_in import SignInServicer, TokenServicer
from services.auth.settings import AuthSettings
from services.auth.spread import Spread
from services.auth.texts.commands import obey
from services.auth.texts.inbound import open_inbound_texts
from services.chassis import outbox_relay, streams
from services.chassis.dead_letters import dead_letters
from services.chassis.lifecycle import Lifecycle
from services.chassis.postgres import AWAY, open_database
from services.chassis.protocol_trace import open_trace
from services.chassis.pseudonyms import Pseudonyms
from services.chassis.replay import DeadLetterTopics
from services.chassis.rpc_clients import open_channel
from services.chassis.rpc_server import serving
from services.chassis.sealing import Seal, read_key
from services.chassis.shielded import Shielded
from services.chassis.streams import Consumer, Poison
from services.chassis.telemetry import error_name, logger

SERVICE_NAMES = tuple(
    f"zasov.auth.v1.{name}Service"
    for name in ("SignIn", "Registration", "Recovery", "Account", "Token", "Delivery", "Captcha", "Provisioning")
)
SIGN_IN = "/zasov.auth.v1.SignInService/SignIn"
STAFF_SERVICE = "zasov.auth.v1.StaffService"
DEAD_LETTERS = "zasov.auth.deadletters.v1"
RETRIES = "zasov.auth.retries.v1"
DEAD_LETTER_TOPICS = DeadLetterTopics(DEAD_LETTERS, RETRIES, {streams.LOCKOUT_EVENTS, streams.NOTIFIER_EVENTS})
_HOUSEKEEPING_S = 300.0


async def server(settings: AuthSettings, life: Lifecycle) -> None:
    """Everything that is called over gRPC. Needs PostgreSQL and lockout to sign in; Kafka may be away (B7)."""
    async with AsyncExitStack() as stack:
        trace = stack.enter_context(open_trace(settings.protocol_trace, "auth", "server"))
        database = await stack.enter_async_context(open_database(settings))
        accounts = accounts_of(settings, database, trace)
        lookup, pseudonyms = lookup_of(settings), Pseudonyms(settings.keys_dir / "pseudonyms")
        lockout_channel = await stack.enter_async_context(open_channel(settings.lockout_address))
        otp_channel = await stack.enter_async_context(open_channel(settings.otp_address))
        notifier_channel = await stack.enter_async_context(open_channel(settings.notifier_address))
        lockout_stub = LockoutServiceStub(lockout_channel)
        lockout = LockoutClient(
            lockout_stub, timeout_s=settings.call_timeout_s, admit_timeout_s=settings.admission_timeout_s, trace=trace
        )
        line = HashingLine(hasher_of(settings), settings.hash_threads, settings.hash_places, settings.hash_places_per_subject)
        stack.callback(line.close)
        shielded = Shielded()
        stack.push_async_callback(shielded.drain)
        guesses = Guesses(accounts, lockout, line, shielded, trace, has_office=settings.office_recovery)
        flows_key = read_key(settings.keys_dir / "auth-flows.key")
        flows_seal = Seal(flows_key)
        flows = Flows(database, flows_seal, timedelta(seconds=settings.flow_lifetime_s))
        drawing, used_captchas = DrawingLine(settings.captcha_places), UsedCaptchas(database)
        stack.callback(drawing.close)
        captcha = captcha_of(settings, used_captchas, flows_seal, drawing)
        sign_in = SignIn(accounts, guesses, lockout, line, lookup, pseudonyms, timedelta(days=settings.session_days), captcha)
        codes = Codes(OtpServiceStub(otp_channel), settings.call_timeout_s)
        recovery = recovery_of(settings, accounts, flows, codes, lockout, line, shielded, captcha)
        registration = replace(recovery, purpose=OTP_PURPOSE_REGISTRATION)
        temporary = TemporaryPasswords(replace(recovery, purpose=OTP_PURPOSE_TEMPORARY_PASSWORD))
        proof_lifetime = timedelta(seconds=settings.proof_lifetime_s)
        proofs = Proofs(accounts, guesses, line, pseudonyms, captcha, flows_seal, proof_lifetime)
        email_change = EmailChange(replace(recovery, purpose=OTP_PURPOSE_EMAIL), sign_in, proofs, shielded)
        links = Links(database, vaults_of(settings))
        linking = Linking(accounts, links, proofs, guesses, line, lookup, pseudonyms, captcha)
        messages = Messages(NotifierServiceStub(notifier_channel), settings.call_timeout_s)
        deliveries = Deliveries(
            flows, accounts, lookup, messages, timedelta(seconds=settings.delivery_quiet_s), usual_deliveries(settings)
        )
        choice = ChoiceOfContact(recovery, Shares(settings.decoy_email_share, settings.decoy_phone_share))
        provisioning = Provisioning(accounts, lockout, settings.default_language, shielded)
        notices = notices_of(settings, database, accounts)
        changes = PendingChanges(database, lookup, timedelta(days=settings.office_phone_days))
        contact_changes = ContactChanges(accounts, changes)
        repeats = Repeats(database, flows_key, shielded)
        spread = Spread(flows_key, settings.answer_spread_ms / 1000, settings.region)
        housekeeping = [flows.remove_expired, used_captchas.remove_expired, repeats.remove_expired]
        staffed: tuple[Office, StaffDesk] | None = None
        if settings.office_recovery:
            desk = staff_desk_of(settings, database, lookup, pseudonyms)
            office = Office(
                accounts, changes, desk, temporary, lookup,
                timedelta(seconds=settings.office_delay_s), timedelta(seconds=settings.office_approval_s),
            )  # fmt: skip
            staffed = office, desk
            housekeeping += [desk.remove_expired, changes.remove_expired]
            life.keep_running(carry_out_for_ever(office, settings.office_look_s), "contact changes")

        def add(grpc_server: grpc.aio.Server) -> None:
            add_SignInServiceServicer_to_server(SignInServicer(sign_in, temporary, settings.region), grpc_server)
            account = AccountServicer(sign_in, email_change, contact_changes, proofs, linking, settings.region)
            add_AccountServiceServicer_to_server(account, grpc_server)
            add_TokenServiceServicer_to_server(TokenServicer(sign_in), grpc_server)
            registering = RegistrationServicer(registration, deliveries, settings.region)
            add_RegistrationServiceServicer_to_server(registering, grpc_server)
            recovering = RecoveryServicer(recovery, temporary, choice, deliveries, settings.region)
            add_RecoveryServiceServicer_to_server(recovering, grpc_server)
            add_DeliveryServiceServicer_to_server(DeliveryServicer(notices), grpc_server)
            add_CaptchaServiceServicer_to_server(CaptchaServicer(captcha), grpc_server)
            add_ProvisioningServiceServicer_to_server(ProvisioningServicer(provisioning, settings.region), grpc_server)
            if staffed:
                add_StaffServiceServicer_to_server(StaffServicer(*staffed, settings.region), grpc_server)

        life.keep_running(_tidy_for_ever(*housekeeping), "housekeeping")
        names = (*SERVICE_NAMES, STAFF_SERVICE) if staffed else SERVICE_NAMES
        async with serving(settings, life, [add], names, [spread.layer, repeats.layer], {SIGN_IN: line.refuse_if_full}):
            await life.stopping()


async def worker(settings: AuthSettings, life: Lifecycle) -> None:
    """Meets other services' events: notes whom the notifier may tell of a block (M20), obeys subscribers' texts (M6)."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings))
        accounts = accounts_of(settings, database)
        notices = notices_of(settings, database, accounts)
        texts = await stack.enter_async_context(open_inbound_texts(settings))
        commands = await commands_of(settings, stack, database, accounts)
        put_aside = await stack.enter_async_context(dead_letters(settings, DEAD_LETTERS))

        async def announce_block(record: ConsumerRecord) -> None:
            try:
                event = LockoutEvent.FromString(record.value)
                account_id, event_id = UUID(event.account_blocked.account_id), UUID(event.meta.event_id)
                occurred_at = event.meta.occurred_at.ToDatetime(tzinfo=UTC)
            except (DecodeError, ValueError, OverflowError):
                raise Poison("not readable") from None
            if event.account_blocked.credential == CREDENTIAL_PASSWORD:
                await notices.announce(account_id, event_id, occurred_at)

        async def obey_text(record: ConsumerRecord) -> None:
            try:
                inbound_id = UUID(NotifierEvent.FromString(record.value).meta.stream_id)
            except (DecodeError, ValueError):
                raise Poison("not readable") from None
            await obey(texts, commands, inbound_id)

        consumer = Consumer(
            settings,
            group="zasov.auth",
            handlers={
                streams.LOCKOUT_EVENTS: {"AccountBlocked": announce_block},
                streams.NOTIFIER_EVENTS: {"SmsReceived": obey_text},
            },
            dead_letter=put_aside,
            retries=RETRIES,
        )
        life.keep_running(consumer.run(life), "consumer")
        await life.stopping()


async def relay(settings: AuthSettings, life: Lifecycle) -> None:
    await outbox_relay.relay(settings, life, service="auth", topic=streams.AUTH_EVENTS, envelope="AuthEvent")


async def _tidy_for_ever(*removals: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(_HOUSEKEEPING_S)
        try:
            for remove_expired in removals:
                await remove_expired()
        except AWAY as error:
            logger().warning("housekeeping put off", error=error_name(error))
