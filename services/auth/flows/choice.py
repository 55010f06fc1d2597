"""Where the code goes, as the subscriber chooses (M12, M11): contacts are shown masked, then a code is sent to one of them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from zasov.auth.v1.common_pb2 import CodeSent

from services.auth.clients import Client
from services.auth.contacts.destinations import Channel
from services.auth.contacts.masks import Masked, Shares, made_up, masked
from services.auth.flows.recovery import Recovery
from services.auth.flows.store import Flow, Step
from services.auth.identifiers import Identifier
from services.chassis.errors import invalid

_NO_CHALLENGE = UUID(int=0)


@dataclass(frozen=True)
class ChoiceOfContact:
    """recovery: of OTP_PURPOSE_RECOVERY; it goes on once the code is sent."""

    recovery: Recovery
    shares: Shares

    async def show(self, identifier: Identifier, client: Client) -> tuple[str, datetime, list[Masked]]:
        """The grant for one code, its expiry, and the contacts; made up for whoever nobody is, or has none. Raises
        ServiceError CAPTCHA_REQUIRED, CAPTCHA_REJECTED, ORIGIN_LIMITED.
        """
        recovery = self.recovery
        await recovery.require_captcha(client)
        account_id, time = await recovery.accounts.resolve(identifier)
        await recovery.check_origin(client.origin(recovery.pseudonyms, time.now(), identifier))
        subject_id = account_id or recovery.lookup.guard_of(identifier)
        on_file = await recovery.on_file(account_id, subject_id)
        # Both, whoever it is: for the time that it takes.
        decoys = made_up(recovery.lookup.decoy_of(identifier), identifier, self.shares)
        known = masked(on_file.contact)
        shown = (known if on_file.is_somebodys else []) or decoys
        flow = Flow(
            flow_id=uuid4(),
            purpose=recovery.purpose,
            step=Step.CONTACTS_SHOWN,
            challenge_id=_NO_CHALLENGE,
            subject_id=subject_id,
            account_id=account_id,
            identifier=identifier,
            language=client.language,
            credential_version=0,
            expires_at=time.now(),
            offered=tuple(one.channel for one in shown),
        )
        return *await recovery.flows.open(flow), shown

    async def send(self, grant: str, channel: Channel, client: Client) -> CodeSent:
        """Has a code sent there, or seems to. Raises ServiceError INVALID_ARGUMENT (not among what was shown; the grant stays
        good), GRANT_INVALID, ORIGIN_LIMITED, COOL_DOWN, CODE_BUDGET_SPENT.
        """
        recovery = self.recovery
        shown = await recovery.flows.find(grant, recovery.purpose, Step.CONTACTS_SHOWN)
        if channel not in shown.offered:
            raise invalid({"channel": "not among the contacts that were shown"})
        # Before anything is sent: one captcha pays for one message.
        await recovery.flows.advance(shown, grant, Step.DONE)
        _, time = await recovery.accounts.resolve(shown.identifier)
        return await recovery.send(shown.identifier, shown.account_id, client, time.now(), channel)
