"""Signing in (M1, M3), changing the password (M8), and whose a session token is."""

from datetime import timedelta
from uuid import UUID

from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD

from services.auth import errors
from services.auth.accounts import Accounts, LiveSession, Loaded
from services.auth.captcha.provider import Captcha
from services.auth.clients import Client, time_for_a_hash
from services.auth.domain import NewSession, decide_change, decide_success
from services.auth.identifiers import Identifier, LookupKey, named
from services.auth.passwords.admission import Guarded, Lockout
from services.auth.passwords.guesses import Guess, Guesses, Settled
from services.auth.passwords.hashing import HashingLine
from services.auth.passwords.policy import failed_rules
from services.auth.sessions import decode_token, hash_of, new_session, same
from services.chassis.errors import ServiceError
from services.chassis.pseudonyms import Pseudonyms
from services.chassis.telemetry import logger


class SignIn:
    """The use cases of a permanent password."""

    def __init__(
        self,
        accounts: Accounts,
        guesses: Guesses,
        lockout: Lockout,
        line: HashingLine,
        lookup: LookupKey,
        pseudonyms: Pseudonyms,
        session_lifetime: timedelta,
        captcha: Captcha,
    ) -> None:
        self._accounts = accounts
        self._guesses = guesses
        self._lockout = lockout
        self._line = line
        self._lookup = lookup
        self._pseudonyms = pseudonyms
        self._session_lifetime = session_lifetime
        self._captcha = captcha

    async def sign_in(self, identifier: Identifier, password: str, client: Client) -> tuple[UUID, NewSession, str]:
        """The account, its new session and the session's token. Raises ServiceError as SignInService documents."""
        with self._line.reserve() as place:
            account_id, time = await self._accounts.resolve(identifier)
            now = time.now()
            guess = Guess(
                account_id=account_id,
                guard_id=self._lookup.guard_of(identifier),
                pseudonym=self._pseudonyms.identifier(named(identifier), now),
                password=password,
                origin=client.origin(self._pseudonyms, now, identifier),
                time=time,
                may_start=time_for_a_hash(),
                captcha_settled=await self._captcha.settles(client.captcha_proof),
            )
            rehashed: list[bytes] = []

            async def on_right(current: Loaded, settled: Settled) -> tuple[UUID, NewSession, str]:
                account, now = current.account, current.time.now()
                # A one-time password may have taken it away since; then the decision falls.
                sealed = account.password
                if sealed and not rehashed and self._line.needs_rehash(current.vault.open_password(sealed)):
                    rehashed.append(current.vault.close_password(await self._line.hash(place, password)))
                device = current.vault.mark_of_device(client.device_id)
                session, token = new_session(account.account_id, now, self._session_lifetime, device)
                verified, attempt_id = settled.admission.epoch, settled.admission.attempt_id
                facts = decide_success(
                    account, verified, attempt_id, settled.forgiven, session, rehashed[0] if rehashed else None
                )
                await self._accounts.append(account, facts, now, guess.origin, session)
                return account.account_id, session, token

            return await self._guesses.make(guess, place, on_right)

    async def change_password(self, token: str, old: str, new: str, client: Client) -> None:
        """Raises ServiceError as AccountService documents."""
        live = await self.live(token)
        failed = failed_rules(new)
        if failed:
            raise errors.password_policy("new_password", failed)
        loaded = await self._accounts.load(live.account_id)
        if loaded is None:
            raise errors.session_invalid()
        now = loaded.time.now()
        with self._line.reserve() as place:
            guess = Guess(
                account_id=live.account_id,
                guard_id=live.account_id,
                pseudonym=live.account_id,
                password=old,
                origin=client.origin(self._pseudonyms, now),
                time=loaded.time,
                may_start=time_for_a_hash(),
                captcha_settled=await self._captcha.settles(client.captcha_proof),
            )
            hashed: list[str] = []

            async def on_right(current: Loaded, settled: Settled) -> int:
                # Only now: a wrong old password must not cost a second hash.
                hashed[:] = hashed or [await self._line.hash(place, new)]
                sealed = current.vault.close_password(hashed[0])
                admission = settled.admission
                facts = decide_change(
                    current.account, admission.epoch, admission.attempt_id, settled.forgiven, sealed, live.session_id
                )
                await self._accounts.append(current.account, facts, current.time.now(), guess.origin)
                return settled.admission.epoch + 1

            version = await self._guesses.make(guess, place, on_right)
        await tell_new_version(self._lockout, live.account_id, version)

    async def live(self, token: str) -> LiveSession:
        """Raises ServiceError SESSION_INVALID."""
        live = await self.introspect(token)
        if live is None:
            raise errors.session_invalid()
        return live

    async def introspect(self, token: str) -> LiveSession | None:
        """None: unknown, ended or expired."""
        decoded = decode_token(token, ids=2)
        if decoded is None:
            return None
        (account_id, session_id), secret = decoded
        live = await self._accounts.find_session(account_id, session_id)
        return live if live is not None and same(live.token_hash, hash_of(secret)) else None


async def tell_new_version(lockout: Lockout, account_id: UUID, version: int) -> None:
    """Rule 9, at once. If lockout can't be told now the stream will tell it, and the next sign-in would."""
    try:
        await lockout.raise_epoch(Guarded(account_id, CREDENTIAL_PASSWORD, stranger=False), version)
    except ServiceError as error:
        logger().warning("lockout not told of a new password yet", reason=error.reason, version=version)
