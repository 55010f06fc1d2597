"""auth, lockout and otp as they run in production, behind gRPC, for a test that is no coroutine; the stream is played."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import grpc
import uvloop
from zasov.notifier.v1.notifier_service_pb2_grpc import add_NotifierServiceServicer_to_server
from zasov.otp.v1 import otp_service_pb2 as otp_pb
from zasov.otp.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from zasov.otp.v1.otp_service_pb2_grpc import OtpServiceStub

import services.auth.assembly
import services.auth.roles
import services.lockout.roles
import services.otp.roles
from devstack.staff import StaffSystem, make_staff_keys
from devstack.waiting import free_port
from services.auth.identifiers import AccountNumber, LookupKey, Phone
from services.auth.sessions import decode_token
from services.auth.settings import AuthSettings
from services.auth.texts.commands import Commands
from services.auth.texts.inbound import InboundText
from services.chassis.clock import boottime
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import open_database
from services.chassis.sealing import read_key
from services.lockout.settings import LockoutSettings
from services.lockout.store import LockoutStore
from services.otp.settings import OtpSettings
from tests.fakes.notifier import FakeNotifier
from tests.integration.auth.numbers import claim_of
from tests.integration.auth.suite import PICTURES, Auth, Suite, refusal_of, running
from tests.integration.rebuilding import assert_rows_are_their_events
from tests.integration.stateful import oracle
from tests.integration.stateful.messages import QUIET_S
from tests.integration.stateful.new_phones import APPROVAL_S, DELAY_S
from tests.integration.stateful.oracle import TICK_S, Answer
from tests.integration.stateful.pictures import LIFETIME_S

T = TypeVar("T")

ROLES: tuple[ModuleType, ...] = (services.auth.roles, services.lockout.roles, services.otp.roles)
_NEVER_S = 3600


# As otp and auth number them: asked for on the site; by the handset's own SMS, which may propose a password; at an office,
# which may print a slip.
ONE_TIME_PURPOSES = {"site": [3], "handset": [4, 5], "office": [7, 8]}


@dataclass(frozen=True)
class Challenge:
    """What a code is bound to."""

    challenge_id: str
    subject_id: str
    flow_id: str
    purpose: int


class World:
    """Each example has numbers of its own, so that nothing need be emptied between two."""

    def __init__(
        self,
        runner: asyncio.Runner,
        suite: Suite,
        pictured: Auth,
        otp: OtpServiceStub,
        notifier: FakeNotifier,
        commands: Commands,
    ) -> None:
        """pictured: a replica that asks for captchas."""
        self._runner = runner
        self._suite = suite
        self.pictured = pictured
        self.notifier = notifier
        self._otp = otp
        self._commands = commands
        self._lookup = LookupKey(read_key(suite.keys_dir / "auth-lookup.key"))
        self._staff = StaffSystem(suite.keys_dir)
        self._ahead = timedelta(0)
        self._serial = itertools.count()

    def new_number(self) -> str:
        return f"+7916{next(self._serial):07d}"

    def new_account_number(self) -> str:
        return f"60{next(self._serial):08d}"

    def call(self, work: Coroutine[Any, Any, T]) -> tuple[Answer, T | None]:
        """What was answered; and with what, if it was OK."""
        try:
            return oracle.OK, self._runner.run(work)
        except grpc.aio.AioRpcError as error:
            return _answer(error), None

    @property
    def auth(self) -> Auth:
        return self._suite.auth

    def new_picture(self) -> str:
        """Its id, of one that nobody has answered."""
        return str(self._runner.run(self.pictured.picture()).captcha_id)

    def introspect(self, token: str) -> bool:
        return self._runner.run(self._suite.auth.is_active(token))

    def code_of(self, grant: str, to: str, language: str) -> str:
        """As its message says it, which goes there."""
        claimed = self._runner.run(claim_of(self._suite, grant))
        assert (claimed.phone or claimed.email) == to, "a code went to another contact"
        assert claimed.language == language, f"a code in another language than {language}"
        return str(claimed.code)

    def challenge_of(self, grant: str) -> "Challenge":
        """The newest of the grant's flow."""
        return _challenge(self._row(self._suite.sql, "SELECT * FROM flow WHERE flow_id = $1", UUID(flow_id_of(grant))))

    def newest_one_time(self, way: str, e164: str, account_id: str | None) -> "Challenge | None":
        """Of one way to ask for a one-time password, for that number."""
        rows = self._rows(
            self._suite.sql,
            "SELECT * FROM flow WHERE step = 1 AND coalesce(account_id, subject_id) = $1 AND purpose = ANY($2)"
            " ORDER BY expires_at DESC",
            self._owner(e164, account_id),
            ONE_TIME_PURPOSES[way],
        )
        assert len(rows) < 2 or way == "site", "one at a time"
        return _challenge(rows[0]) if rows else None

    def password_of(self, challenge: "Challenge") -> str:
        """As its message says it."""
        return self._runner.run(self._suite.password_of(UUID(challenge.challenge_id)))

    def text(self, e164: str, to: str, said: str) -> None:
        """From the handset: the command of auth's worker, without SMSC and notifier before it."""
        self._runner.run(self._commands.obey(InboundText(Phone(e164), to, said, boottime() + 60)))

    def told_of_texts(self, account_id: str) -> Counter[str]:
        """What its history says of the handset's texts."""
        kinds = ["PasswordProposed", "PasswordProposalRefused", "SmsCommandNotUnderstood"]
        rows = self._rows(
            self._suite.sql, "SELECT type FROM event WHERE stream_id = $1 AND type = ANY($2)", UUID(account_id), kinds
        )
        return Counter(row["type"] for row in rows)

    def verify(self, request: otp_pb.VerifyRequest) -> otp_pb.VerifyResponse:
        """Past auth, as only auth may."""

        async def verify() -> Any:
            return await self._otp.Verify(request, timeout=10)

        return self._runner.run(verify())

    # --- time and the stream

    def play_stream(self) -> None:
        self._runner.run(self._suite.play_stream())

    def advance(self, ticks: int) -> None:
        """Moves every database's clock, and sweeps what was lost meanwhile."""
        self._set_clock(self._ahead + timedelta(seconds=ticks * TICK_S))
        self._runner.run(self._suite.lockout.sweep(timedelta(seconds=60)))

    def restore_clock(self) -> None:
        self._set_clock(timedelta(0))

    def staff_assertion(self, who: str = "ivanova") -> str:
        """Good by the clock as it stands."""
        return self._staff.assertion(who, exp=int(time.time() + self._ahead.total_seconds()) + 120)

    def _set_clock(self, ahead: timedelta) -> None:
        self._ahead = ahead
        for connection in (self._suite.sql, self._suite.lockout_sql, self._suite.otp_sql):
            self._runner.run(connection.execute("UPDATE clock.ahead SET by = $1", ahead))

    # --- what is in the databases

    def guard_in_store(self, e164: str, account_id: str | None) -> tuple[int, bool, int]:
        """Strikes, whether blocked, open attempts."""
        row = self._row(
            self._suite.lockout_sql,
            "SELECT coalesce(max(strikes), 0), count(blocked_at),"
            " (SELECT count(*) FROM attempt JOIN subject USING (subject_id) WHERE owner_id = $1)"
            " FROM subject WHERE owner_id = $1",
            self._owner(e164, account_id),
        )
        return row[0], bool(row[1]), row[2]

    def live_sessions_in_store(self, account_id: str) -> set[str]:
        sql = (
            "SELECT session_id::text FROM session WHERE account_id = $1 AND ended_at IS NULL AND expires_at > clock_timestamp()"
        )
        return {row[0] for row in self._rows(self._suite.sql, sql, UUID(account_id))}

    def tries_in_store(self, challenge_id: str) -> tuple[int, str]:
        row = self._row(self._suite.otp_sql, "SELECT tries, state FROM challenge WHERE id = $1", UUID(challenge_id))
        return row["tries"], row["state"]

    def assert_history_makes_the_state(self) -> None:
        self._runner.run(assert_rows_are_their_events(self._suite.sql, "auth", self._suite.keys_dir))

    def run_sql(self, service: str, sql: str) -> None:
        connections = {"auth": self._suite.sql, "lockout": self._suite.lockout_sql, "otp": self._suite.otp_sql}
        self._runner.run(connections[service].execute(sql))

    def _owner(self, e164: str, account_id: str | None) -> UUID:
        identifier = Phone(e164) if e164.startswith("+") else AccountNumber(e164)
        return UUID(account_id) if account_id else self._lookup.guard_of(identifier)

    def _row(self, connection: asyncpg.Connection, sql: str, *arguments: object) -> asyncpg.Record:
        (row,) = self._rows(connection, sql, *arguments)
        return row

    def _rows(self, connection: asyncpg.Connection, sql: str, *arguments: object) -> list[asyncpg.Record]:
        return self._runner.run(connection.fetch(sql, *arguments))


def _challenge(flow: asyncpg.Record) -> Challenge:
    return Challenge(str(flow["challenge_id"]), str(flow["subject_id"]), str(flow["flow_id"]), flow["purpose"])


def flow_id_of(grant: str) -> str:
    decoded = decode_token(grant, 1)
    assert decoded is not None
    return str(decoded[0][0])


@contextmanager
def world(urls: dict[str, str], keys_dir: Path) -> Iterator[World]:
    """urls: of the services' databases, migrated, with a clock that can be moved."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(_start(stack, runner, urls, keys_dir))
        finally:
            runner.run(stack.aclose())


async def _start(stack: AsyncExitStack, runner: asyncio.Runner, urls: dict[str, str], keys_dir: Path) -> World:
    at = {name: f"127.0.0.1:{free_port()}" for name in (*urls, "pictured", "notifier")}
    make_staff_keys(keys_dir)
    lockout = LockoutSettings(
        postgres_url=urls["lockout"], listen=at["lockout"], keys_dir=keys_dir, admission_wait_s=0, sweep_every_s=_NEVER_S
    )
    otp = OtpSettings(
        postgres_url=urls["otp"], listen=at["otp"], keys_dir=keys_dir, sweep_interval_s=_NEVER_S,
        code_lifetime_s=oracle.CODE_LIFETIME_S, password_lifetime_s=oracle.PASSWORD_LIFETIME_S,
        code_tries=oracle.TRIES, cool_down_s=oracle.COOL_DOWN_S,
        longer_after_wrong=oracle.SIX_DIGITS_AFTER, longest_after_wrong=oracle.EIGHT_DIGITS_AFTER,
        refuse_after_wrong=oracle.NO_CODE_AFTER, issues_per_day=oracle.CODES_A_DAY,
        # The brake for the whole system has tests of its own (test_otp_spray.py); here each subject is to stand alone.
        spray_longer_after_wrong=10**9, spray_longest_after_wrong=10**9,
        spray_longer_after_issued=10**9, spray_longest_after_issued=10**9,
    )  # fmt: skip
    auth = AuthSettings(
        postgres_url=urls["auth"], listen=at["auth"], keys_dir=keys_dir, lockout_address=at["lockout"], otp_address=at["otp"],
        argon2_memory_kib=8, argon2_iterations=1, hash_threads=1, captcha_provider="none",
        session_days=oracle.SESSION_LIFETIME_S // 86_400, flow_lifetime_s=oracle.FLOW_LIFETIME_S,
        # Whoever nobody is has both contacts.
        decoy_email_share=1, decoy_phone_share=1,
        notifier_address=at["notifier"], delivery_quiet_s=QUIET_S, decoys_delivered_sms=1, decoys_delivered_email=0,
        office_recovery=True, staff_daily_limit=10**6, office_look_s=_NEVER_S,
        office_approval_s=APPROVAL_S, office_delay_s=DELAY_S,
    )  # fmt: skip
    # A replica of its own, for a picture takes longer than the call that it pays for.
    pictured = AuthSettings(**{**auth.model_dump(), **PICTURES, "captcha_lifetime_s": LIFETIME_S, "listen": at["pictured"]})
    await stack.enter_async_context(running(services.lockout.roles.server, lockout))
    await stack.enter_async_context(running(services.otp.roles.server, otp))
    notifier, server = FakeNotifier(), grpc.aio.server()
    add_NotifierServiceServicer_to_server(notifier, server)
    server.add_insecure_port(at["notifier"])
    await server.start()
    stack.push_async_callback(server.stop, None)
    for replica in (auth, pictured):
        await stack.enter_async_context(running(services.auth.roles.server, replica))
    channels = {name: await stack.enter_async_context(grpc.aio.insecure_channel(address)) for name, address in at.items()}

    async def no_other(**_: Any) -> Any:
        raise NotImplementedError

    database = await stack.enter_async_context(open_database(lockout))
    suite = Suite(
        no_other,
        Auth(channels["auth"]),
        *[await asyncpg.connect(urls[name]) for name in ("auth", "lockout", "otp")],
        LockoutStore(database, OutboxWaker(database)),
        DeliveryServiceStub(channels["otp"]),
        keys_dir,
        no_other,
    )  # fmt: skip
    stack.push_async_callback(suite.close)
    # The stream is there, whatever the time: without it codes have six digits (test_auth_sprays.py).
    await suite.lockout_sql.execute("INSERT INTO stream_beat (at) VALUES ('infinity')")
    auth_database = await stack.enter_async_context(open_database(auth))
    accounts = services.auth.assembly.accounts_of(auth, auth_database)
    commands = await services.auth.assembly.commands_of(auth, stack, auth_database, accounts)
    return World(runner, suite, Auth(channels["pictured"]), OtpServiceStub(channels["otp"]), notifier, commands)


def _answer(error: grpc.aio.AioRpcError) -> Answer:
    refused = refusal_of(error)
    data = {key: value for key, value in refused.metadata.items() if key != "retry_in_s"}
    return Answer(refused.code, refused.reason, tuple(sorted(data.items())), refused.retry_s)
