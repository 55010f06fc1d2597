"""zasov.auth.v1.ProvisioningService: translates between the wire and the use case."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from zasov.auth.v1.provisioning_service_pb2 import PutSubscriberRequest, PutSubscriberResponse
from zasov.auth.v1.provisioning_service_pb2_grpc import ProvisioningServiceServicer

from services.auth.identifiers import (
    AccountNumber,
    ContractNumber,
    Phone,
    parse_account_number,
    parse_contract_number,
    parse_phone,
    require_own_mobile,
)
from services.auth.provisioning import Provisioning, Subscriber
from services.chassis.email_addresses import NotAnAddress, email_address
from services.chassis.errors import invalid
from services.chassis.interceptors import Context

_MOST_NUMBERS = 32

N = TypeVar("N", AccountNumber, ContractNumber)


class ProvisioningServicer(ProvisioningServiceServicer):
    def __init__(self, provisioning: Provisioning, region: str) -> None:
        self._provisioning = provisioning
        self._region = region

    async def PutSubscriber(self, request: PutSubscriberRequest, context: Context) -> PutSubscriberResponse:
        account_id, created = await self._provisioning.put(subscriber_in(request, self._region))
        return PutSubscriberResponse(account_id=str(account_id), created=created)


def subscriber_in(request: PutSubscriberRequest, region: str) -> Subscriber:
    """Raises ServiceError INVALID_ARGUMENT."""
    if len(request.account_numbers) + len(request.contract_numbers) > _MOST_NUMBERS:
        raise invalid({"account_numbers": f"more than {_MOST_NUMBERS} together with contract_numbers"})
    if not (request.phone or request.account_numbers or request.contract_numbers):
        raise invalid({"phone": "one of phone, account_numbers and contract_numbers is required"})
    if request.language not in ("", "ru", "en"):
        raise invalid({"language": "must be ru or en"})
    account_numbers = _each("account_numbers", request.account_numbers, parse_account_number)
    contract_numbers = _each("contract_numbers", request.contract_numbers, parse_contract_number)
    return Subscriber(
        _phone_in(request.phone, region), _email_in(request.email), (*account_numbers, *contract_numbers), request.language
    )


def _each(field: str, texts: Sequence[str], parse: Callable[[str, str], N]) -> list[N]:
    """Without those that are there twice, in an order of their own: two calls at once don't wait for each other's."""
    found = {parse(text, f"{field}[{index}]"): None for index, text in enumerate(texts)}
    return sorted(found, key=lambda one: one.text)


def _phone_in(text: str, region: str) -> Phone | None:
    if not text:
        return None
    phone = parse_phone(text, region)
    # Codes go there by SMS, whoever asks for them.
    require_own_mobile(phone, region)
    return phone


def _email_in(text: str) -> str:
    try:
        return email_address(text) if text else ""
    except NotAnAddress:
        raise invalid({"email": "must be an email address"}) from None
