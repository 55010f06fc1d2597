"""What became of a message handed to the SMSC: three answers that must never be confused.

Exactly-once SMS does not exist. `Sent` and `NotSent` are certain; `Unknown` was on the wire and got no answer, so that
sending again may deliver twice, and not sending may deliver never.
"""

from dataclasses import dataclass

# SMPP 3.4 section 5.1.3
ESME_ROK = 0x00
ESME_RINVCMDLEN = 0x02
ESME_RINVCMDID = 0x03
ESME_RMSGQFUL = 0x14
ESME_RTHROTTLED = 0x58
ESME_RX_T_APPN = 0x64  # temporary: the SMSC tries again
ESME_RX_P_APPN = 0x65  # permanent: the SMSC gives up

SLOW_DOWN = frozenset({ESME_RMSGQFUL, ESME_RTHROTTLED})


@dataclass(frozen=True, slots=True)
class Sent:
    """The SMSC took every part; one id a part, in order."""

    message_ids: tuple[str, ...]

    @property
    def message_id(self) -> str:
        return self.message_ids[0]


@dataclass(frozen=True, slots=True)
class NotSent:
    """No part reached the SMSC, or the SMSC refused the first. `status` is the SMSC's, None where it never saw it."""

    reason: str
    retryable: bool
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """On the wire without an answer, or taken in part; `message_ids` are the parts known to be taken."""

    reason: str
    message_ids: tuple[str, ...] = ()


Outcome = Sent | NotSent | Unknown


def outcome_of_response(command: str, status: int, message_id: str) -> Outcome:
    """What a response to submit_sm (or the generic_nack in its place) says."""
    if status in SLOW_DOWN:
        return NotSent("the SMSC asks to slow down", retryable=True, status=status)
    if status != ESME_ROK:
        return NotSent("the SMSC refused the message", retryable=False, status=status)
    if command != "submit_sm_resp" or not message_id:
        return Unknown("the SMSC answered without a message id")
    return Sent((message_id,))


def outcome_of_parts(accepted: tuple[str, ...], last: Outcome) -> Outcome:
    """The message's outcome from its parts', which are sent in order and stop at the first that fails."""
    match last:
        case Sent(ids):
            return Sent(accepted + ids)
        case NotSent() if accepted:
            # Retrying would start a second message beside the torso of the first: the caller's policy decides.
            return Unknown("only some parts were accepted", accepted)
        case Unknown(reason, ids):
            return Unknown(reason, accepted + ids)
        case _:
            return last
