"""Parts that both server and worker are made of, from their settings."""

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

from argon2 import PasswordHasher
from zasov.events.v1.otp_event_pb2 import (
    OTP_PURPOSE_RECOVERY,
    OTP_PURPOSE_TEMPORARY_PASSWORD,
)
from zasov.lockout.v1.lockout_service_pb2_grpc import LockoutServiceStub
from zasov.otp.v1.otp_service_pb2_grpc import OtpServiceStub

from services.auth.accounts import Accounts
from services.auth.captcha.pictures import DrawingLine, PictureCaptcha
from services.auth.captcha.provider import Captcha, NoCaptcha, UsedCaptchas
from services.auth.captcha.tokens import TokenCaptcha
from services.auth.contacts.destinations import Channel
from services.auth.flows.codes import Codes
from services.auth.flows.new_passwords import NewPasswords
from services.auth.flows.recovery import Recovery
from services.auth.flows.store import Flows
from services.auth.flows.temporary import TemporaryPasswords
from services.auth.identifiers import LookupKey
from services.auth.notices import Notices
from services.auth.office.staff import StaffDesk
from services.auth.passwords.admission import LockoutClient
from services.auth.passwords.hashing import HashingLine
from services.auth.settings import AuthSettings
from services.auth.signed_tokens import TokenKey, read_public_key
from services.auth.texts.commands import Commands, ShortNumbers
from services.auth.vault import Vaults
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import Database
from services.chassis.protocol_trace import OFF, ProtocolTrace
from services.chassis.pseudonyms import Pseudonyms
from services.chassis.rpc_clients import open_channel
from services.chassis.sealing import PublicSeal, Seal, read_key
from services.chassis.shielded import Shielded


async def commands_of(settings: AuthSettings, stack: AsyncExitStack, database: Database, accounts: Accounts) -> Commands:
    lockout_channel = await stack.enter_async_context(open_channel(settings.lockout_address))
    otp_channel = await stack.enter_async_context(open_channel(settings.otp_address))
    line = HashingLine(hasher_of(settings), 1, settings.hash_places, settings.hash_places_per_subject)
    stack.callback(line.close)
    shielded = Shielded()
    stack.push_async_callback(shielded.drain)
    flows_seal = Seal(read_key(settings.keys_dir / "auth-flows.key"))
    recovery = recovery_of(
        settings,
        accounts,
        Flows(database, flows_seal, timedelta(seconds=settings.flow_lifetime_s)),
        Codes(OtpServiceStub(otp_channel), settings.call_timeout_s),
        LockoutClient(
            LockoutServiceStub(lockout_channel),
            timeout_s=settings.call_timeout_s,
            admit_timeout_s=settings.admission_timeout_s,
        ),
        line,
        shielded,
        NoCaptcha(),
    )
    temporary = TemporaryPasswords(replace(recovery, purpose=OTP_PURPOSE_TEMPORARY_PASSWORD))
    return Commands(accounts, temporary, line, ShortNumbers(settings.sms_password_number, settings.sms_proposal_number))


def recovery_of(
    settings: AuthSettings,
    accounts: Accounts,
    flows: Flows,
    codes: Codes,
    lockout: LockoutClient,
    line: HashingLine,
    shielded: Shielded,
    captcha: Captcha,
) -> Recovery:
    pseudonyms = Pseudonyms(settings.keys_dir / "pseudonyms")
    lifetime = timedelta(days=settings.session_days)
    return Recovery(
        purpose=OTP_PURPOSE_RECOVERY,
        accounts=accounts,
        flows=flows,
        codes=codes,
        lockout=lockout,
        passwords=NewPasswords(accounts, flows, lockout, line, pseudonyms, lifetime, shielded),
        lookup=lookup_of(settings),
        pseudonyms=pseudonyms,
        default_language=settings.default_language,
        shielded=shielded,
        captcha=captcha,
    )


def usual_deliveries(settings: AuthSettings) -> dict[Channel | None, float]:
    sms, email = settings.decoys_delivered_sms, settings.decoys_delivered_email
    return {None: sms, Channel.PHONE: sms, Channel.EMAIL: email}


def lookup_of(settings: AuthSettings) -> LookupKey:
    return LookupKey(read_key(settings.keys_dir / "auth-lookup.key"))


def vaults_of(settings: AuthSettings) -> Vaults:
    return Vaults(read_key(settings.keys_dir / "auth-accounts.key"))


def accounts_of(settings: AuthSettings, database: Database, trace: ProtocolTrace = OFF) -> Accounts:
    return Accounts(
        database,
        OutboxWaker(database),
        lookup_of(settings),
        vaults_of(settings),
        timedelta(seconds=settings.notice_lifetime_s),
        settings.pace(),
        trace,
    )


def notices_of(settings: AuthSettings, database: Database, accounts: Accounts) -> Notices:
    return Notices(
        database,
        accounts,
        lifetime=timedelta(seconds=settings.notice_lifetime_s),
        lease=timedelta(seconds=settings.notice_lease_s),
    )


def staff_desk_of(settings: AuthSettings, database: Database, lookup: LookupKey, pseudonyms: Pseudonyms) -> StaffDesk:
    key = TokenKey(read_public_key(settings.keys_dir / "staff-assertion.pem"), settings.staff_audience)
    audit = PublicSeal(read_key(settings.keys_dir / "auth-staff-public.key"))
    return StaffDesk(database, key, lookup, pseudonyms, audit, settings.staff_daily_limit)


def captcha_of(settings: AuthSettings, used: UsedCaptchas, seal: Seal, line: DrawingLine) -> Captcha:
    match settings.captcha_provider:
        case "picture":
            lifetime = timedelta(seconds=settings.captcha_lifetime_s)
            return PictureCaptcha(seal, used, line, lifetime, settings.captcha_fixed_text)
        case "token":
            key = read_public_key(settings.keys_dir / "captcha-token.pem")
            return TokenCaptcha(TokenKey(key, settings.captcha_token_audience), used)
        case "none":
            return NoCaptcha()


def hasher_of(settings: AuthSettings) -> PasswordHasher:
    return PasswordHasher(settings.argon2_iterations, settings.argon2_memory_kib, parallelism=1)
