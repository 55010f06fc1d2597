"""What requests hold, read once at the edge. Everything here raises ServiceError INVALID_ARGUMENT."""

from uuid import UUID

from zasov.auth.v1 import recovery_service_pb2, sign_in_service_pb2, staff_service_pb2

from services.auth.identifiers import Identifier, parse_account_number, parse_contract_number, parse_phone
from services.chassis.errors import invalid

_WithIdentifier = (
    sign_in_service_pb2.SignInRequest
    | sign_in_service_pb2.SignInWithTemporaryPasswordRequest
    | recovery_service_pb2.StartRecoveryRequest
    | recovery_service_pb2.RequestTemporaryPasswordRequest
    | staff_service_pb2.StartRecoveryAtOfficeRequest
)


def identifier_in(request: _WithIdentifier, region: str) -> Identifier:
    """An unset one is refused as a phone number that is none."""
    match request.WhichOneof("identifier"):
        case "account_number":
            return parse_account_number(request.account_number)
        case "contract_number":
            return parse_contract_number(request.contract_number)
    return parse_phone(request.phone, region)


def required(field: str, text: str) -> str:
    if not text:
        raise invalid({field: "required"})
    return text


def uuid_in(field: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise invalid({field: "must be a UUID"}) from None
