"""otp, as auth sees it."""

from typing import TYPE_CHECKING
from uuid import UUID

from zasov.events.v1.meta_pb2 import Origin
from zasov.events.v1.otp_event_pb2 import OtpPurpose
from zasov.otp.v1 import otp_service_pb2 as pb

from services.auth import errors
from services.auth.contacts.destinations import Destination
from services.auth.flows.store import Flow
from services.chassis.rpc_clients import call

if TYPE_CHECKING:
    from zasov.otp.v1.otp_service_pb2_grpc import OtpServiceAsyncStub


class Codes:
    """One-time codes over gRPC. Errors of the call pass as ServiceError: COOL_DOWN, CODE_BUDGET_SPENT, unavailable."""

    def __init__(self, stub: "OtpServiceAsyncStub", timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s

    async def issue(
        self,
        flow_id: UUID,
        subject_id: UUID,
        purpose: OtpPurpose.ValueType,
        send_to: Destination,
        origin: Origin,
        least_digits: int,
        *,
        has_account: bool,
        is_decoy: bool = False,
        first_half: str = "",
    ) -> pb.IssueResponse:
        """is_decoy: never delivered and never right. least_digits: 0 for any. has_account: whether there is one that send_to
        belongs to. first_half: of a slip's password: what isn't sent.
        """
        request = pb.IssueRequest(
            subject_id=str(subject_id),
            flow_id=str(flow_id),
            purpose=purpose,
            origin=origin,
            least_digits=least_digits,
            has_account=has_account,
            is_decoy=is_decoy,
            first_half=first_half,
        )
        request.destination.language = send_to.language
        if send_to.phone:
            request.destination.phone = send_to.phone.e164
        else:
            request.destination.email = send_to.email
        answer: pb.IssueResponse = await call(self._stub.Issue, request, at_most_s=self._timeout_s)
        return answer

    async def verify(self, flow: Flow, code: str, origin: Origin, *, without_grant: bool = False) -> None:
        """Returns if the code is right; it is used up then. without_grant: for somebody who has none of this flow, and takes
        none of the tries of whoever has. Raises ServiceError CODE_REJECTED, CODE_DEAD, CODE_VOIDED.
        """
        request = pb.VerifyRequest(
            challenge_id=str(flow.challenge_id),
            subject_id=str(flow.subject_id),
            flow_id=str(flow.flow_id),
            purpose=flow.purpose,
            code=code,
            origin=origin,
            without_grant=without_grant,
        )
        answer: pb.VerifyResponse = await call(self._stub.Verify, request, at_most_s=self._timeout_s)
        if answer.outcome == pb.VERIFY_OUTCOME_WRONG:
            raise errors.code_rejected(answer.tries_left)
        if answer.outcome == pb.VERIFY_OUTCOME_VOIDED:
            raise errors.code_voided()
        if answer.outcome != pb.VERIFY_OUTCOME_RIGHT:
            raise errors.code_dead()
