"""What requests hold, read once at the edge. Everything here raises ServiceError INVALID_ARGUMENT."""

from uuid import UUID

from zasov.auth.v1 import account_service_pb2, recovery_service_pb2, sign_in_service_pb2, staff_service_pb2
from zasov.auth.v1.common_pb2 import CONTACT_CHANNEL_EMAIL, CONTACT_CHANNEL_PHONE, CONTACT_CHANNEL_UNSPECIFIED, ContactChannel

from services.auth.contacts.destinations import Channel
from services.auth.identifiers import Identifier, parse_account_number, parse_contract_number, parse_phone
from services.chassis.email_addresses import NotAnAddress, email_address
from services.chassis.errors import invalid

_WithIdentifier = (
    sign_in_service_pb2.SignInRequest
    | sign_in_service_pb2.SignInWithTemporaryPasswordRequest
    | recovery_service_pb2.StartRecoveryRequest
    | recovery_service_pb2.RequestTemporaryPasswordRequest
    | recovery_service_pb2.ListContactsRequest
    | staff_service_pb2.StartRecoveryAtOfficeRequest
    | account_service_pb2.LinkNumberRequest
)


def identifier_in(request: _WithIdentifier, region: str) -> Identifier:
    """An unset one is refused as a phone number that is none."""
    match request.WhichOneof("identifier"):
        case "account_number":
            return parse_account_number(request.account_number)
        case "contract_number":
            return parse_contract_number(request.contract_number)
    return parse_phone(request.phone, region)


_CHANNELS: "dict[ContactChannel.ValueType, Channel | None]" = {
    CONTACT_CHANNEL_UNSPECIFIED: None,
    CONTACT_CHANNEL_PHONE: Channel.PHONE,
    CONTACT_CHANNEL_EMAIL: Channel.EMAIL,
}


def channel_in(channel: ContactChannel.ValueType) -> Channel | None:
    """None: the request leaves it open."""
    if channel not in _CHANNELS:
        raise invalid({"channel": "must be a known one"})
    return _CHANNELS[channel]


def chosen_channel_in(channel: ContactChannel.ValueType) -> Channel:
    """One must be named."""
    chosen = channel_in(channel)
    if chosen is None:
        raise invalid({"channel": "required"})
    return chosen


def channel_named(channel: Channel | None) -> ContactChannel.ValueType:
    return next(named for named, meant in _CHANNELS.items() if meant is channel)


def email_in(field: str, text: str) -> str:
    """The address, all ASCII, as SMTP carries it."""
    try:
        return email_address(required(field, text))
    except NotAnAddress:
        raise invalid({field: "not an email address"}) from None


def required(field: str, text: str) -> str:
    if not text:
        raise invalid({field: "required"})
    return text


def uuid_in(field: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise invalid({field: "must be a UUID"}) from None
