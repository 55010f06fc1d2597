"""gRPC to calls and back: what a request must look like, and nothing else."""

import re
from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from zasov.events.v1.meta_pb2 import Origin
from zasov.events.v1.otp_event_pb2 import OtpPurpose
from zasov.otp.v1 import delivery_service_pb2 as delivery_pb
from zasov.otp.v1 import otp_service_pb2 as otp_pb
from zasov.otp.v1.delivery_service_pb2_grpc import DeliveryServiceServicer
from zasov.otp.v1.otp_service_pb2_grpc import OtpServiceServicer

from services.chassis.email_addresses import NotAnAddress, email_address
from services.chassis.errors import invalid
from services.chassis.interceptors import Context
from services.otp import codes
from services.otp.challenges import Binding, Challenges, Outcome
from services.otp.deliveries import Deliveries, Destination
from services.otp.domain import State

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_LANGUAGES = ("ru", "en")
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
_CLAIMANT_LENGTH = 200

_OUTCOMES = {
    Outcome.RIGHT: otp_pb.VERIFY_OUTCOME_RIGHT,
    Outcome.WRONG: otp_pb.VERIFY_OUTCOME_WRONG,
    Outcome.DEAD: otp_pb.VERIFY_OUTCOME_DEAD,
    Outcome.VOIDED: otp_pb.VERIFY_OUTCOME_VOIDED,
}
_STATES = {
    State.OPEN: otp_pb.CHALLENGE_STATE_OPEN,
    State.VERIFIED: otp_pb.CHALLENGE_STATE_VERIFIED,
    State.SUPERSEDED: otp_pb.CHALLENGE_STATE_SUPERSEDED,
    State.EXPIRED: otp_pb.CHALLENGE_STATE_EXPIRED,
    State.EXHAUSTED: otp_pb.CHALLENGE_STATE_EXHAUSTED,
}


class OtpServicer(OtpServiceServicer):
    def __init__(self, challenges: Challenges) -> None:
        self._challenges = challenges

    async def Issue(self, request: otp_pb.IssueRequest, context: Context) -> otp_pb.IssueResponse:
        fields = _Fields()
        binding = fields.binding(request)
        destination = fields.destination(request)
        origin = fields.origin(request)
        fields.require("first_half", codes.is_first_half(request.first_half, request.purpose), "must be a slip's, of 6")
        fields.require("least_digits", request.least_digits in (0, *codes.LENGTHS), "must be 4, 6, 8 or unset")
        fields.check()
        issued = await self._challenges.issue(
            binding, destination, origin, request.least_digits, request.first_half, is_decoy=request.is_decoy
        )
        return otp_pb.IssueResponse(
            challenge_id=str(issued.challenge_id),
            expires_at=_timestamp(issued.expires_at),
            ask_again_at=_timestamp(issued.ask_again_at),
            digits=issued.digits,
            tag=issued.tag,
        )

    async def Verify(self, request: otp_pb.VerifyRequest, context: Context) -> otp_pb.VerifyResponse:
        fields = _Fields()
        challenge_id = fields.uuid("challenge_id", request.challenge_id)
        binding = fields.binding(request)
        fields.require("code", codes.is_well_formed(request.code, request.purpose), "has not the form of its purpose")
        origin = fields.origin(request)
        fields.check()
        checked = await self._challenges.verify(
            challenge_id, binding, request.code, origin, without_grant=request.without_grant
        )
        return otp_pb.VerifyResponse(outcome=_OUTCOMES[checked.outcome], tries_left=checked.tries_left)

    async def Cancel(self, request: otp_pb.CancelRequest, context: Context) -> otp_pb.CancelResponse:
        fields = _Fields()
        challenge_id = fields.uuid("challenge_id", request.challenge_id)
        subject_id = fields.uuid("subject_id", request.subject_id)
        fields.check()
        await self._challenges.cancel(challenge_id, subject_id)
        return otp_pb.CancelResponse()

    async def GetState(self, request: otp_pb.GetStateRequest, context: Context) -> otp_pb.GetStateResponse:
        fields = _Fields()
        challenge_id = fields.uuid("challenge_id", request.challenge_id)
        fields.check()
        shown = await self._challenges.show(challenge_id)
        return otp_pb.GetStateResponse(
            state=_STATES[shown.state],
            tries_left=shown.tries_left,
            expires_at=_timestamp(shown.expires_at),
            sent=shown.sent,
        )


class DeliveryServicer(DeliveryServiceServicer):
    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    async def Claim(self, request: delivery_pb.ClaimRequest, context: Context) -> delivery_pb.ClaimResponse:
        fields = _Fields()
        challenge_id = fields.uuid("challenge_id", request.challenge_id)
        event_id = fields.uuid("event_id", request.event_id)
        fields.require("claimant", 0 < len(request.claimant) <= _CLAIMANT_LENGTH, "must have 1 to 200 characters")
        fields.check()
        claimed = await self._deliveries.claim(challenge_id, event_id, request.claimant)
        parcel = claimed.parcel
        return delivery_pb.ClaimResponse(
            phone=parcel.destination.phone,
            email=parcel.destination.email,
            language=parcel.destination.language,
            code=parcel.code,
            tag=parcel.tag,
            has_account=parcel.destination.has_account,
            expires_at=_timestamp(claimed.expires_at),
            remaining_ms=int(claimed.remaining.total_seconds() * 1000),
        )

    async def Report(self, request: delivery_pb.ReportRequest, context: Context) -> delivery_pb.ReportResponse:
        fields = _Fields()
        challenge_id = fields.uuid("challenge_id", request.challenge_id)
        event_id = fields.uuid("event_id", request.event_id)
        known = (delivery_pb.DELIVERY_OUTCOME_SENT, delivery_pb.DELIVERY_OUTCOME_FAILED)
        fields.require("outcome", request.outcome in known, "must be given")
        fields.check()
        await self._deliveries.report(challenge_id, event_id, request.outcome == delivery_pb.DELIVERY_OUTCOME_SENT)
        return delivery_pb.ReportResponse()


class _Fields:
    """Reads a request's fields and collects everything that is wrong with them; `check` then raises it, all at once."""

    def __init__(self) -> None:
        self._violations: dict[str, str] = {}

    def require(self, name: str, is_valid: bool, otherwise: str) -> None:
        if not is_valid:
            self._violations[name] = otherwise

    def check(self) -> None:
        """Raises ServiceError INVALID_ARGUMENT."""
        if self._violations:
            raise invalid(self._violations)

    def uuid(self, name: str, text: str) -> UUID:
        if _UUID.fullmatch(text):
            return UUID(text)
        self._violations[name] = "must be a UUID"
        return UUID(int=0)

    def binding(self, request: otp_pb.IssueRequest | otp_pb.VerifyRequest) -> Binding:
        known = request.purpose in OtpPurpose.values() and request.purpose != OtpPurpose.OTP_PURPOSE_UNSPECIFIED
        self.require("purpose", known, "must be given")
        return Binding(self.uuid("subject_id", request.subject_id), self.uuid("flow_id", request.flow_id), request.purpose)

    def destination(self, request: otp_pb.IssueRequest) -> Destination:
        destination = request.destination
        self.require("destination.language", destination.language in _LANGUAGES, "must be ru or en")
        if destination.WhichOneof("channel") == "email":
            email = self.email("destination.email", destination.email)
            return Destination(email=email, language=destination.language, has_account=request.has_account)
        is_phone = _E164.fullmatch(destination.phone) is not None
        self.require("destination.phone", is_phone, "must be E.164 with the plus sign")
        return Destination(phone=destination.phone, language=destination.language, has_account=request.has_account)

    def email(self, name: str, text: str) -> str:
        try:
            return email_address(text)
        except NotAnAddress:
            self._violations[name] = "must be an email address"
            return ""

    def origin(self, request: otp_pb.IssueRequest | otp_pb.VerifyRequest) -> Origin | None:
        """It goes into events as it is: anything but a pseudonym, an address say, must not get that far (B2)."""
        if not request.HasField("origin"):
            return None
        origin = request.origin
        self.require("origin.key_id", _is_empty_or(_MONTH, origin.key_id), "must be YYYY-MM")
        for name in ("ip_pseudonym", "subnet_pseudonym", "device_pseudonym", "range_pseudonym"):
            self.require(f"origin.{name}", _is_empty_or(_PSEUDONYM, getattr(origin, name)), "must be 32 hexadecimal digits")
        return origin


def _is_empty_or(form: re.Pattern[str], text: str) -> bool:
    return not text or form.fullmatch(text) is not None


def _timestamp(at: datetime) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(at)
    return result
