"""Who stands behind a call, checked once at the edge and carried as pseudonyms from there on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from zasov.auth.v1.common_pb2 import ClientContext
from zasov.events.v1.meta_pb2 import Origin

from services.auth.identifiers import Identifier
from services.chassis.errors import invalid
from services.chassis.interceptors import remaining_s
from services.chassis.pseudonyms import ClientAddress, Pseudonyms

_LONGEST_DEVICE_ID = 128
_LONGEST_PROOF = 2048
# A hash that is started with less than this left would end after its caller has gone.
_LEAST_FOR_A_HASH_S = 0.03


@dataclass(frozen=True)
class Client:
    """A checked ClientContext. language: "ru", "en" or empty. captcha_proof: not checked yet; may be empty."""

    address: ClientAddress
    device_id: str
    language: str
    captcha_proof: str = ""

    def __repr__(self) -> str:
        return "Client(…)"

    def origin(self, pseudonyms: Pseudonyms, now: datetime, identifier: Identifier | None = None) -> Origin:
        """identifier: what was typed, if anything was."""
        return pseudonyms.origin(self.address, self.device_id, now, identifier.range if identifier else "")


def check_client(context: ClientContext) -> Client:
    """Raises ServiceError INVALID_ARGUMENT."""
    try:
        address = ClientAddress.parse(context.ip)
    except ValueError:
        raise invalid({"client.ip": "not an IP address" if context.ip else "required"}) from None
    if len(context.device_id) > _LONGEST_DEVICE_ID:
        raise invalid({"client.device_id": f"longer than {_LONGEST_DEVICE_ID} characters"})
    if context.language not in ("", "ru", "en"):
        raise invalid({"client.language": "must be ru or en"})
    if len(context.captcha_proof) > _LONGEST_PROOF:
        raise invalid({"client.captcha_proof": f"longer than {_LONGEST_PROOF} characters"})
    return Client(address, context.device_id, context.language, context.captcha_proof)


def time_for_a_hash() -> Callable[[], bool]:
    """Whether the caller who is being answered now will still be there when a hash started then has ended."""
    return lambda: remaining_s(at_most=1.0) >= _LEAST_FOR_A_HASH_S
