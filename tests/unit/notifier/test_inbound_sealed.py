"""An SMS as it is stored: auth alone can read it, the notifier can recognise it."""

from dataclasses import replace

import pytest
from zasov.notifier.v1.inbound_service_pb2 import InboundPart

from services.auth.texts import inbound as auth_inbound
from services.chassis.sealing import PrivateSeal, PublicSeal, new_key, public_key_of
from services.notifier.inbound import sealed
from services.notifier.inbound.domain import Reference
from services.notifier.inbound.sealed import Sealer
from services.notifier.smpp import InboundSms
from services.notifier.smpp.text import Concatenation, ReferenceKind

pytestmark = [pytest.mark.row("M6"), pytest.mark.row("B2")]

PRIVATE = new_key()
SEALER = Sealer(PublicSeal(public_key_of(PRIVATE)), new_key())
SMS = InboundSms("+79161234567", "111", b"25 secret-word", 0, Concatenation(ReferenceKind.UDH_8_BIT, 7, 2, 1))


def test_auth_reads_all_of_it() -> None:
    stored = SEALER.seal(SMS)
    part = InboundPart.FromString(PrivateSeal(PRIVATE).open(stored.body, auth_inbound.CONTEXT))
    assert part == InboundPart(
        sender="+79161234567", destination="111", body=b"25 secret-word", reference=7, reference_kind=1, total=2, number=1
    )
    assert (stored.arrived.reference, stored.arrived.total, stored.arrived.number) == (Reference(1, 7), 2, 1)


def test_both_sides_seal_in_the_same_context() -> None:
    assert sealed.CONTEXT == auth_inbound.CONTEXT


def test_nothing_that_is_stored_or_shown_holds_the_sender_or_the_text() -> None:
    stored = SEALER.seal(SMS)
    written = stored.body + stored.sender + stored.arrived.digest
    assert not [one for one in (b"9161234567", b"secret-word") if one in written]
    assert not [one for one in ("9161234567", "secret-word") if one in repr(stored) + repr(SMS)]


def test_a_sender_is_recognised_with_and_without_the_plus_sign_and_told_from_others() -> None:
    sender = SEALER.seal(SMS).sender
    assert SEALER.seal(replace(SMS, source="79161234567", body=b"other")).sender == sender
    assert SEALER.seal(replace(SMS, source="+79161234568")).sender != sender


@pytest.mark.parametrize(
    "change",
    [
        {"source": "+79161234568"},
        {"destination": "3339"},
        {"body": b"25 secret-wort"},
        {"data_coding": 3},
        {"message_reference": 0},
        {"message_reference": 5},
        {"part": None},
        {"part": Concatenation(ReferenceKind.UDH_8_BIT, 7, 2, 2)},
        {"part": Concatenation(ReferenceKind.UDH_8_BIT, 8, 2, 1)},
        {"part": Concatenation(ReferenceKind.SAR, 7, 2, 1)},
    ],
)
def test_a_digest_tells_any_two_sms_apart(change: dict[str, object]) -> None:
    assert SEALER.seal(replace(SMS, **change)).arrived.digest != SEALER.seal(SMS).arrived.digest  # type: ignore[arg-type]
    assert SEALER.seal(replace(SMS)).arrived.digest == SEALER.seal(SMS).arrived.digest


def test_without_the_notifiers_key_a_password_cannot_be_guessed_from_a_digest() -> None:
    other = Sealer(PublicSeal(public_key_of(PRIVATE)), new_key())
    assert other.seal(SMS).arrived.digest != SEALER.seal(SMS).arrived.digest
    assert other.seal(SMS).sender != SEALER.seal(SMS).sender


def test_the_length_of_what_is_stored_does_not_tell_that_of_a_password() -> None:
    lengths = {len(SEALER.seal(replace(SMS, body=b"25 " + b"x" * length)).body) for length in range(4, 130)}
    assert len(lengths) == 1
