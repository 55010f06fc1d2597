"""zasov.auth.v1.StaffService: translates between the wire and the use cases. What is not in order costs no assertion."""

from google.protobuf.timestamp_pb2 import Timestamp
from zasov.auth.v1 import staff_service_pb2 as pb
from zasov.auth.v1.staff_service_pb2_grpc import StaffServiceServicer
from zasov.events.v1.auth_event_pb2 import RecoveryStartedAtOffice

from services.auth.identifiers import Identifier, Phone, parse_phone, require_own_mobile
from services.auth.office.domain import Reason
from services.auth.office.recovery import Office
from services.auth.office.staff import Staff, StaffDesk
from services.auth.requests import identifier_in, required, uuid_in
from services.chassis.errors import invalid
from services.chassis.interceptors import Context

_LONGEST_ASSERTION = 4096
_REASONS = frozenset(RecoveryStartedAtOffice.Reason.values()) - {RecoveryStartedAtOffice.REASON_UNSPECIFIED}


class StaffServicer(StaffServiceServicer):
    def __init__(self, office: Office, desk: StaffDesk, region: str) -> None:
        self._office = office
        self._desk = desk
        self._region = region

    async def StartRecoveryAtOffice(
        self, request: pb.StartRecoveryAtOfficeRequest, context: Context
    ) -> pb.StartRecoveryAtOfficeResponse:
        identifier = identifier_in(request, self._region)
        reason = _reason_in(request)
        how = request.WhichOneof("how")
        if how is None:
            raise invalid({"how": "required"})
        phone = self._new_phone_in(request) if how == "new_phone" else None
        staff = await self._admit(request.staff_assertion, request.document_checked)
        if phone is not None:
            return await self._request_phone(staff, identifier, reason, phone)
        if how == "slip":
            half, issued = await self._office.print_slip(staff, identifier, reason)
            slip = pb.Slip(first_half=half, tag=issued.tag, expires_at=issued.expires_at)
            return pb.StartRecoveryAtOfficeResponse(slip=slip)
        issued = await self._office.send_to_contact(staff, identifier, reason)
        sent = pb.PasswordSent(expires_at=issued.expires_at, tag=issued.tag)
        return pb.StartRecoveryAtOfficeResponse(sent=sent)

    async def ApproveContactChange(
        self, request: pb.ApproveContactChangeRequest, context: Context
    ) -> pb.ApproveContactChangeResponse:
        change_id = uuid_in("change_id", request.change_id)
        staff = await self._admit(request.staff_assertion, request.document_checked)
        due_at = Timestamp()
        due_at.FromDatetime(await self._office.approve(staff, change_id))
        return pb.ApproveContactChangeResponse(carried_out_from=due_at)

    async def _request_phone(
        self, staff: Staff, identifier: Identifier, reason: Reason, phone: Phone
    ) -> pb.StartRecoveryAtOfficeResponse:
        change_id, approve_by = await self._office.request_phone(staff, identifier, reason, phone)
        pending = pb.ContactChangePending(change_id=str(change_id))
        pending.approve_by.FromDatetime(approve_by)
        return pb.StartRecoveryAtOfficeResponse(pending=pending)

    async def _admit(self, assertion: str, document_checked: bool) -> Staff:
        """Comes last: it uses the assertion up."""
        if not document_checked:
            raise invalid({"document_checked": "must be true"})
        if len(required("staff_assertion", assertion)) > _LONGEST_ASSERTION:
            raise invalid({"staff_assertion": f"longer than {_LONGEST_ASSERTION} characters"})
        return await self._desk.admit(assertion)

    def _new_phone_in(self, request: pb.StartRecoveryAtOfficeRequest) -> Phone:
        phone = parse_phone(request.new_phone.phone, self._region, "new_phone.phone")
        require_own_mobile(phone, self._region, "new_phone.phone")
        return phone


def _reason_in(request: pb.StartRecoveryAtOfficeRequest) -> Reason:
    if request.reason not in _REASONS:
        raise invalid({"reason": "required"})
    return request.reason
