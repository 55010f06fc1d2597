"""An office, as tests have it: members of staff, and what they can call."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from zasov.auth.v1 import account_service_pb2, staff_service_pb2
from zasov.auth.v1.staff_service_pb2_grpc import StaffServiceStub
from zasov.events.v1.auth_event_pb2 import AuthEvent, RecoveryStartedAtOffice

from devstack.staff import StaffSystem, make_staff_keys
from services.auth.identifiers import LookupKey, Phone
from services.chassis.sealing import read_key
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import PHONE, Auth, Suite, client
from tests.integration.waiting import until

NEW_PHONE = "+79161234599"
FIRST, SECOND, OFFICE = "staff-ivanova-17", "staff-petrov-23", "office-tver-5"
OF_OFFICE: dict[str, Any] = {"office_recovery": True, "office_look_s": 0.05}
REASON = RecoveryStartedAtOffice.REASON_PASSWORD_FORGOTTEN


async def office_of(start: StartSuite, keys_dir: Path, otp: dict[str, Any] | None = None, **settings: Any) -> "OfficeCalls":
    """An office of an installation with these settings: of otp, and of auth."""
    make_staff_keys(keys_dir)
    suite = await start(auth={**OF_OFFICE, **settings}, otp=otp or {})
    suite.said |= {FIRST, SECOND, OFFICE, NEW_PHONE.lstrip("+7")}
    return OfficeCalls(suite, suite.auth, StaffSystem(keys_dir))


@dataclass
class OfficeCalls:
    """What an office's system calls, of one replica."""

    suite: Suite
    auth: Auth
    staff: StaffSystem

    async def start(self, who: str = FIRST, phone: str = PHONE, assertion: str | None = None, **request: Any) -> Any:
        """on_file unless the request says otherwise."""
        how = request.keys() & {"on_file", "slip", "new_phone"} or {"on_file"}
        filled = {name: request.get(name, {}) for name in how}
        given = self.staff.assertion(who, OFFICE) if assertion is None else assertion
        made = staff_service_pb2.StartRecoveryAtOfficeRequest(
            **{"staff_assertion": given, "phone": phone, "document_checked": True, "reason": REASON, **request, **filled}
        )
        return await StaffServiceStub(self.auth.channel).StartRecoveryAtOffice(made, timeout=20)

    async def ask_for_phone(self, who: str = FIRST, new: str = NEW_PHONE, phone: str = PHONE) -> str:
        """The id of the change."""
        return str((await self.start(who, phone, new_phone={"phone": new})).pending.change_id)

    async def approve(self, change_id: str, who: str = SECOND, **request: Any) -> Any:
        made = staff_service_pb2.ApproveContactChangeRequest(
            **{"staff_assertion": self.staff.assertion(who, OFFICE), "document_checked": True, **request}, change_id=change_id
        )
        return await StaffServiceStub(self.auth.channel).ApproveContactChange(made, timeout=20)

    async def cancel(self, token: str) -> None:
        request = account_service_pb2.CancelContactChangeRequest(session_token=token, client=client())
        await self.auth.account.CancelContactChange(request, timeout=20)

    async def time_passes(self, change_id: str) -> None:
        """Two days, for the change that waits. Its row then isn't what its events say, until it is ended."""
        await self.suite.sql.execute(
            "UPDATE contact_change SET approve_by = approve_by - interval '2 days', due_at = due_at - interval '2 days'"
            " WHERE change_id = $1",
            UUID(change_id),
        )

    async def until_over(self, change_id: str) -> None:
        """And all that follows is done."""
        waits = "SELECT count(*) FROM contact_change WHERE change_id = $1"

        async def is_over() -> bool:
            waiting = await self.suite.sql.fetchval(waits, UUID(change_id))
            return not waiting and not await self.suite.sql.fetchval("SELECT count(*) FROM identifier_move")

        await until("the change is over", is_over)

    async def payloads(self, kind: str) -> list[Any]:
        rows = await self.suite.sql.fetch("SELECT data FROM event WHERE type = $1 ORDER BY occurred_at, version", kind)
        events = [AuthEvent.FromString(row["data"]) for row in rows]
        return [getattr(event, event.WhichOneof("event") or "") for event in events]

    async def told(self, kind: str) -> int:
        """How many notices of events of that kind are open."""
        return int(
            await self.suite.sql.fetchval("SELECT count(*) FROM notice JOIN event USING (event_id) WHERE type = $1", kind)
        )

    async def owner_of(self, phone: str) -> UUID | None:
        """Whose account it leads to."""
        lookup = LookupKey(read_key(self.suite.keys_dir / "auth-lookup.key")).of(Phone(phone))
        account_id: UUID | None = await self.suite.sql.fetchval(
            "SELECT account_id FROM identifier WHERE lookup = $1 AND reserved_until IS NULL", lookup
        )
        return account_id
