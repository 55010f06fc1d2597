"""An office, and what its system calls for the staff at the desk (M18).

What fails raises ServiceError, as `BackEnd` does. who: a member of staff; role: as what the staff identity system has them.
"""

from dataclasses import dataclass
from typing import Any

from zasov.auth.v1 import staff_service_pb2 as pb
from zasov.events.v1.auth_event_pb2 import RecoveryStartedAtOffice

from devstack.staff import StaffSystem
from devstack.subscriber import BackEnd


@dataclass(frozen=True)
class Office:
    """name: the office's id, as assertions have it."""

    back_end: BackEnd
    staff: StaffSystem
    name: str = "tver-1"

    async def send_to_contact(self, phone: str, who: str) -> pb.PasswordSent:
        return (await self._start(phone, who, on_file=pb.ToContactOnFile())).sent

    async def print_slip(self, phone: str, who: str) -> pb.Slip:
        return (await self._start(phone, who, slip=pb.OnSlip())).slip

    async def name_phone(self, phone: str, new: str, who: str, role: str = "office") -> pb.ContactChangePending:
        """A number that isn't on file."""
        return (await self._start(phone, who, role, new_phone=pb.ToNewPhone(phone=new))).pending

    async def approve(self, change_id: str, who: str, role: str = "office") -> pb.ApproveContactChangeResponse:
        request = pb.ApproveContactChangeRequest(
            staff_assertion=self.staff.assertion(who, self.name, role), change_id=change_id, document_checked=True
        )
        answer: Any = await self.back_end.call(self.back_end.staff.ApproveContactChange, request)
        assert isinstance(answer, pb.ApproveContactChangeResponse)
        return answer

    async def _start(self, phone: str, who: str, role: str = "office", **how: Any) -> pb.StartRecoveryAtOfficeResponse:
        request = pb.StartRecoveryAtOfficeRequest(
            staff_assertion=self.staff.assertion(who, self.name, role),
            phone=phone,
            document_checked=True,
            reason=RecoveryStartedAtOffice.REASON_BLOCKED,
            **how,
        )
        answer: Any = await self.back_end.call(self.back_end.staff.StartRecoveryAtOffice, request)
        assert isinstance(answer, pb.StartRecoveryAtOfficeResponse)
        return answer
