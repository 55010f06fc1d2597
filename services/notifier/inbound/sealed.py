"""An SMS as it is stored: sealed to auth's key; sender and contents recognisable by MACs under the notifier's own."""

import hashlib
import hmac
from dataclasses import dataclass, field

from zasov.notifier.v1.inbound_service_pb2 import InboundPart

from services.chassis.sealing import PublicSeal
from services.notifier.inbound.domain import Arrived, Reference
from services.notifier.smpp import InboundSms

# A PrivateSeal opens it in no other.
CONTEXT = b"zasov.notifier.v1.InboundPart"
_MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Sealed:
    """sender: its MAC, 16 bytes. body: an InboundPart, which auth alone can open."""

    arrived: Arrived
    sender: bytes = field(repr=False)
    body: bytes = field(repr=False)


class Sealer:
    """seal: auth's public key. key: the notifier's own, 32 bytes."""

    def __init__(self, seal: PublicSeal, key: bytes) -> None:
        self._seal = seal
        self._key = key

    def seal(self, sms: InboundSms) -> Sealed:
        part = InboundPart(
            sender=sms.source, destination=sms.destination, data_coding=sms.data_coding, body=sms.body, total=1, number=1
        )
        if sms.part is not None:
            part.reference, part.reference_kind = sms.part.reference, sms.part.kind
            part.total, part.number = sms.part.total, sms.part.number
        plain = part.SerializeToString(deterministic=True)
        counted = b"" if sms.message_reference is None else str(sms.message_reference).encode()
        arrived = Arrived(
            destination=sms.destination,
            reference=Reference(part.reference_kind, part.reference),
            total=part.total,
            number=part.number,
            data_coding=sms.data_coding,
            digest=self._mac(b"part:" + counted + b":" + plain),
        )
        # One sender with the plus sign and without.
        sender = self._mac(b"sender:" + sms.source.removeprefix("+").encode())
        return Sealed(arrived, sender, self._seal.close(plain, CONTEXT))

    def _mac(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, hashlib.sha256)[:_MAC_BYTES]
