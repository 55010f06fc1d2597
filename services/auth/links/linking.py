"""Linking another subscriber's number (M16): a fresh proof of one's own password, and that subscriber's as a guess (M22)."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from services.auth import errors
from services.auth.accounts import Accounts, LiveSession, Loaded
from services.auth.captcha.provider import Captcha
from services.auth.clients import Client, time_for_a_hash
from services.auth.domain import decide_proof
from services.auth.identifiers import Identifier, LookupKey, named
from services.auth.links.domain import Link, decide_link, decide_unlink
from services.auth.links.store import Linked, Links, ended, kept
from services.auth.passwords.guesses import Guess, Guesses, Settled
from services.auth.passwords.hashing import HashingLine
from services.auth.passwords.proofs import Proofs
from services.chassis.errors import invalid
from services.chassis.eventstore import Conflict
from services.chassis.pseudonyms import Pseudonyms


@dataclass(frozen=True)
class Linking:
    accounts: Accounts
    links: Links
    proofs: Proofs
    guesses: Guesses
    line: HashingLine
    lookup: LookupKey
    pseudonyms: Pseudonyms
    captcha: Captcha

    async def link(self, live: LiveSession, proof: str, identifier: Identifier, password: str, client: Client) -> Linked:
        """Raises ServiceError as AccountService documents."""
        with self.line.reserve() as place:
            account_id, time = await self.accounts.resolve(identifier)
            now = time.now()
            self.proofs.check(proof, live, now)
            if account_id == live.account_id:
                raise invalid({identifier.kind: "is of this account"})
            guess = Guess(
                account_id=account_id,
                guard_id=self.lookup.guard_of(identifier),
                pseudonym=self.pseudonyms.identifier(named(identifier), now),
                password=password,
                origin=client.origin(self.pseudonyms, now, identifier),
                time=time,
                may_start=time_for_a_hash(),
                captcha_settled=await self.captcha.settles(client.captcha_proof),
            )

            async def on_right(current: Loaded, settled: Settled) -> Linked:
                account, now, admission = current.account, current.time.now(), settled.admission
                proven = decide_proof(account, admission.epoch, admission.attempt_id, settled.forgiven, live.session_id)
                link = await self.links.between(account.account_id, live.account_id, account.credential_version)
                if link is not None:
                    await self.accounts.append(account, proven, now, guess.origin)
                else:
                    link = Link(uuid4(), account.credential_version, now)
                    facts = [*proven, *decide_link(link, live.account_id)]
                    await self.accounts.append(account, facts, now, guess.origin, beside=kept(link, live.account_id))
                return Linked(link.link_id, current.vault.open_contact(account.contact), link.linked_at)

            return await self.guesses.make(guess, place, on_right)

    async def unlink(self, live: LiveSession, link_id: UUID, client: Client) -> None:
        """Raises ServiceError LINK_UNKNOWN."""
        account_id = await self.links.account_of(link_id, live.account_id)
        while True:
            loaded = None if account_id is None else await self.accounts.load(account_id)
            # Looked up after the account too: whoever ended it in between has made another version of the account.
            if loaded is None or await self.links.account_of(link_id, live.account_id) is None:
                raise errors.link_unknown()
            now = loaded.time.now()
            origin = client.origin(self.pseudonyms, now)
            try:
                await self.accounts.append(loaded.account, decide_unlink(link_id), now, origin, beside=ended(link_id))
            except Conflict:
                continue
            return
