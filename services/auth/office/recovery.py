"""Recovery at an office (M18). Staff begin it; what lets anybody in goes to the subscriber alone (docs/adr/0028)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from zasov.events.v1.auth_event_pb2 import ContactChangeCancelled, ContactChanged, EmailWarned, RecoveryStartedAtOffice
from zasov.otp.v1.otp_service_pb2 import IssueResponse

from services.auth import errors
from services.auth.accounts import Accounts, Loaded
from services.auth.contacts.changes import change_contact, warn_email
from services.auth.flows.temporary import TemporaryPasswords, new_half
from services.auth.identifiers import Identifier, LookupKey, Phone
from services.auth.office.domain import (
    ChangeVoid,
    Due,
    Ending,
    PendingChange,
    Reason,
    SameApprover,
    decide_approval,
    decide_end,
    decide_request,
    decide_start,
    evolve_change,
    sessions_end,
    what_is_due,
)
from services.auth.office.staff import Staff, StaffDesk
from services.auth.office.store import PendingChanges, carried_out, ended, kept
from services.auth.vault import Contact
from services.chassis.errors import ServiceError
from services.chassis.eventstore import Conflict, Fact
from services.chassis.postgres import AWAY
from services.chassis.telemetry import error_name, logger


@dataclass(frozen=True)
class Office:
    """delay: between the approval of a number and its being put on file. approval: how long one may wait for it."""

    accounts: Accounts
    changes: PendingChanges
    desk: StaffDesk
    temporary: TemporaryPasswords
    lookup: LookupKey
    delay: timedelta
    approval: timedelta

    async def send_to_contact(self, staff: Staff, identifier: Identifier, reason: Reason) -> IssueResponse:
        """A one-time password to the contact on file. Raises ServiceError as StaffService documents."""
        account_id = await self._start(staff, identifier, reason, RecoveryStartedAtOffice.HOW_ON_FILE)
        return await self.temporary.at_office(account_id, identifier)

    async def print_slip(self, staff: Staff, identifier: Identifier, reason: Reason) -> tuple[str, IssueResponse]:
        """The half to be printed; the other one goes to the contact on file. Raises ServiceError as StaffService documents."""
        account_id = await self._start(staff, identifier, reason, RecoveryStartedAtOffice.HOW_SLIP)
        first_half = new_half()
        return first_half, await self.temporary.at_office(account_id, identifier, first_half)

    async def request_phone(self, staff: Staff, identifier: Identifier, reason: Reason, phone: Phone) -> tuple[UUID, datetime]:
        """The id of the change, and when it lapses. Raises ServiceError as StaffService documents."""
        account_id = await self._known(identifier)
        owner, _ = await self.accounts.resolve(phone)
        if owner is not None:
            raise errors.number_taken()
        if not await self.changes.take_phone(phone, account_id):
            raise errors.new_phone_used()
        change_id = uuid4()

        def decide(loaded: Loaded, pending: PendingChange | None, now: datetime) -> list[Fact]:
            contact = loaded.vault.open_contact(loaded.account.contact)
            sealed = loaded.vault.close_contact(Contact(phone, contact.language))
            by = self.desk.record(staff, now)
            started = decide_start(by, reason, RecoveryStartedAtOffice.HOW_NEW_PHONE)
            requested = decide_request(pending, change_id, sealed, by, now + self.approval)
            return [*started, *requested, *warn_email(loaded.vault, contact, EmailWarned.ABOUT_REQUEST)]

        pending = await self._change(account_id, decide)
        assert pending is not None
        return change_id, pending.approve_by

    async def approve(self, staff: Staff, change_id: UUID) -> datetime:
        """From when it is carried out. Raises ServiceError CONTACT_CHANGE_VOID, SECOND_APPROVER_REQUIRED."""
        account_id = await self.changes.account_of(change_id)
        if account_id is None:
            raise errors.contact_change_void()

        def decide(loaded: Loaded, pending: PendingChange | None, now: datetime) -> list[Fact]:
            return decide_approval(loaded.account, pending, change_id, self.desk.record(staff, now), now, self.delay)

        try:
            pending = await self._change(account_id, decide)
        except ChangeVoid:
            raise errors.contact_change_void() from None
        except SameApprover:
            raise errors.second_approver_required() from None
        assert pending is not None
        assert pending.due_at is not None
        return pending.due_at

    async def carry_out_due(self) -> None:
        """Does what is due: puts numbers on file, ends what has lapsed or is void. Any number of servers may do so at once."""
        for account_id in await self.changes.due():
            await self._settle(account_id)
        for account_id in await self.changes.left_to_move():
            await self.changes.move_identifiers(account_id)

    async def _start(
        self, staff: Staff, identifier: Identifier, reason: Reason, how: "RecoveryStartedAtOffice.How.ValueType"
    ) -> UUID:
        """Recorded before anything is sent."""
        account_id = await self._known(identifier)

        def decide(loaded: Loaded, _: PendingChange | None, now: datetime) -> list[Fact]:
            contact = loaded.vault.open_contact(loaded.account.contact)
            if not (contact.phone or contact.email):
                raise errors.no_contact_on_file()
            return decide_start(self.desk.record(staff, now), reason, how)

        await self._change(account_id, decide)
        return account_id

    async def _known(self, identifier: Identifier) -> UUID:
        account_id, _ = await self.accounts.resolve(identifier)
        if account_id is None:
            raise errors.subscriber_unknown()
        return account_id

    async def _change(
        self, account_id: UUID, decide: Callable[[Loaded, PendingChange | None, datetime], list[Fact]]
    ) -> PendingChange | None:
        """What waits afterwards. Raises what `decide` raises, and ServiceError SUBSCRIBER_UNKNOWN."""
        while True:
            loaded = await self.accounts.load(account_id)
            if loaded is None:
                raise errors.subscriber_unknown()
            before, now = await self.changes.of(account_id), loaded.time.now()
            facts = decide(loaded, before, now)
            after = before
            for fact in facts:
                after = evolve_change(after, loaded.account, fact.payload, fact.secret)
            beside = None if after == before else kept(after) if after else ended()
            try:
                await self.accounts.append(loaded.account, facts, now, None, beside=beside)
            except Conflict:
                continue
            return after

    async def _settle(self, account_id: UUID) -> None:
        loaded = await self.accounts.load(account_id)
        pending = await self.changes.of(account_id)
        if loaded is None or pending is None:
            return
        now = loaded.time.now()
        due = what_is_due(loaded.account, pending, now)
        if due is None:
            return
        phone = loaded.vault.open_contact(pending.phone).phone
        assert phone is not None
        if due is Due.NOW:
            owner = await self.accounts.reserve_identifier(phone, account_id)
            if owner is None:
                return  # somebody's registration is under way: the next look finds out whose the number is
            if owner != account_id:
                due = ContactChangeCancelled.REASON_NUMBER_TAKEN
        try:
            if due is not Due.NOW:
                await self.accounts.append(loaded.account, decide_end(pending, due), now, None, beside=ended())
                return
            contact = loaded.vault.open_contact(loaded.account.contact)
            moved = replace(contact, phone=phone)
            facts = change_contact(loaded.vault, contact, moved, ContactChanged.VIA_OFFICE)
            facts += warn_email(loaded.vault, moved, EmailWarned.ABOUT_CHANGE)
            beside = carried_out(self.lookup, phone, contact.phone)
            await self.accounts.append(loaded.account, [*facts, sessions_end()], now, None, beside=beside)
        except Conflict:
            return  # the next look decides again
        await self.changes.move_identifiers(account_id)
        await self._invite(account_id, phone)

    async def _invite(self, account_id: UUID, phone: Phone) -> None:
        """If it can't be sent now, the subscriber asks for one: the number is on file."""
        try:
            await self.temporary.at_office(account_id, phone)
        except ServiceError as error:
            logger().warning("no one-time password sent to a new number", reason=error.reason)


class ContactChanges:
    """The owner's side of it."""

    def __init__(self, accounts: Accounts, changes: PendingChanges) -> None:
        self._accounts = accounts
        self._changes = changes

    async def cancel(self, account_id: UUID) -> None:
        """Raises ServiceError CONTACT_CHANGE_VOID."""
        reason: Ending = ContactChangeCancelled.REASON_SUBSCRIBER
        while True:
            loaded = await self._accounts.load(account_id)
            pending = await self._changes.of(account_id)
            if loaded is None or pending is None:
                raise errors.contact_change_void()
            try:
                await self._accounts.append(
                    loaded.account, decide_end(pending, reason), loaded.time.now(), None, beside=ended()
                )
            except Conflict:
                continue
            return


async def carry_out_for_ever(office: Office, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await office.carry_out_due()
        except AWAY as error:
            logger().warning("contact changes put off", error=error_name(error))
