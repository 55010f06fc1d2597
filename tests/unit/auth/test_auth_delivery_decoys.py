"""What is made up of messages that were never sent (M11)."""

import hashlib

import pytest
from zasov.auth.v1.common_pb2 import DELIVERY_STATE_DELIVERED

from services.auth.delivery import decoy_state
from services.auth.destinations import Channel

SHARES = {None: 0.9, Channel.PHONE: 0.9, Channel.EMAIL: 0.5}
DECOYS = [hashlib.sha256(str(n).encode()).digest() for n in range(4000)]


@pytest.mark.row("M11")
@pytest.mark.parametrize("channel", [None, Channel.PHONE, Channel.EMAIL])
def test_as_many_are_said_to_be_delivered_as_is_set(channel: Channel | None) -> None:
    delivered = sum(decoy_state(decoy, channel, SHARES) == DELIVERY_STATE_DELIVERED for decoy in DECOYS)
    assert abs(delivered / len(DECOYS) - SHARES[channel]) < 0.04


@pytest.mark.row("M11")
def test_who_asks_again_is_told_the_same() -> None:
    once, again = [[decoy_state(one, Channel.PHONE, SHARES) for one in DECOYS] for _ in range(2)]
    assert once == again


def test_one_channel_says_nothing_of_the_other() -> None:
    shares = {None: 0.5, Channel.PHONE: 0.5, Channel.EMAIL: 0.5}
    alike = sum(decoy_state(one, Channel.PHONE, shares) == decoy_state(one, Channel.EMAIL, shares) for one in DECOYS)
    assert 0.45 < alike / len(DECOYS) < 0.55
