"""SMPP 3.4 for asyncio: our session over the codec of `smpplib`. See docs of SmppClient."""

from services.notifier.smpp.bind import BindFailed, BindRefused
from services.notifier.smpp.client import SmppClient
from services.notifier.smpp.inbound import InboundSms, Refused
from services.notifier.smpp.link import LinkCounters
from services.notifier.smpp.outbound import is_source
from services.notifier.smpp.outcomes import NotSent, Outcome, Sent, Unknown
from services.notifier.smpp.receipts import MessageState, Receipt, id_spellings
from services.notifier.smpp.settings import SmppSettings
from services.notifier.smpp.text import parts_count

__all__ = [
    "BindFailed",
    "BindRefused",
    "InboundSms",
    "LinkCounters",
    "MessageState",
    "NotSent",
    "Outcome",
    "Receipt",
    "Refused",
    "Sent",
    "SmppClient",
    "SmppSettings",
    "Unknown",
    "id_spellings",
    "is_source",
    "parts_count",
]
