"""That the owner of a session is there: the permanent password, given again as a guess like any other (M22).

What a session's token alone must not do takes a proof that is minutes old. It is sealed and names its session, and is kept
nowhere: with the session, it ends.
"""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta

from zasov.events.v1.meta_pb2 import Origin

from services.auth import errors
from services.auth.accounts import Accounts, LiveSession, Loaded
from services.auth.captcha.provider import Captcha
from services.auth.clients import Client, time_for_a_hash
from services.auth.domain import decide_proof
from services.auth.passwords.guesses import Guess, Guesses, Settled
from services.auth.passwords.hashing import HashingLine
from services.auth.sessions import encode_token
from services.chassis.pseudonyms import Pseudonyms
from services.chassis.sealing import Seal, UnsealError

_CONTEXT = b"proof of the password:"
_LONGEST = 256


@dataclass(frozen=True)
class Proofs:
    """seal: of the flows."""

    accounts: Accounts
    guesses: Guesses
    line: HashingLine
    pseudonyms: Pseudonyms
    captcha: Captcha
    seal: Seal
    lifetime: timedelta

    async def prove(self, live: LiveSession, password: str, client: Client) -> tuple[Loaded, Origin]:
        """The account as it is once the password has proven right, and where the proof came from. Raises ServiceError as
        SignIn.
        """
        loaded = await self.accounts.load(live.account_id)
        if loaded is None:
            raise errors.session_invalid()
        origin = client.origin(self.pseudonyms, loaded.time.now())
        with self.line.reserve() as place:
            guess = Guess(
                account_id=live.account_id,
                guard_id=live.account_id,
                pseudonym=live.account_id,
                password=password,
                origin=origin,
                time=loaded.time,
                may_start=time_for_a_hash(),
                captcha_settled=await self.captcha.settles(client.captcha_proof),
            )

            async def on_right(current: Loaded, settled: Settled) -> Loaded:
                admission = settled.admission
                facts = decide_proof(current.account, admission.epoch, admission.attempt_id, settled.forgiven, live.session_id)
                await self.accounts.append(current.account, facts, current.time.now(), origin)
                return current

            return await self.guesses.make(guess, place, on_right), origin

    async def make(self, live: LiveSession, password: str, client: Client) -> tuple[str, datetime]:
        """A proof to be shown later, and until when. Raises ServiceError as SignIn."""
        loaded, _ = await self.prove(live, password, client)
        expires_at = loaded.time.now() + self.lifetime
        return close_proof(self.seal, live, expires_at), expires_at

    def check(self, proof: str, live: LiveSession, now: datetime) -> None:
        """Raises ServiceError PROOF_NEEDED: it is none of this session, or has expired."""
        if not proves(self.seal, proof, live, now):
            raise errors.proof_needed()


def close_proof(seal: Seal, live: LiveSession, expires_at: datetime) -> str:
    return encode_token(seal.close(expires_at.isoformat().encode(), _context(live)))


def proves(seal: Seal, proof: str, live: LiveSession, now: datetime) -> bool:
    """Whether it is of this session, and still good."""
    if len(proof) > _LONGEST:
        return False
    try:
        opened = seal.open(base64.urlsafe_b64decode(proof + "=" * (-len(proof) % 4)), _context(live))
    except (UnsealError, ValueError):  # ValueError: no base64
        return False
    return now < datetime.fromisoformat(opened.decode())


def _context(live: LiveSession) -> bytes:
    return _CONTEXT + live.account_id.bytes + live.session_id.bytes
