"""What is made up of messages that were never sent (M11)."""

import hashlib

import pytest
from zasov.auth.v1.common_pb2 import DELIVERY_STATE_DELIVERED, DELIVERY_STATE_UNDERWAY

from services.auth.contacts.destinations import Channel
from services.auth.flows.delivery import Fate, decoy_state, share_of

DECOYS = [hashlib.sha256(str(n).encode()).digest() for n in range(4000)]


@pytest.mark.row("M11")
@pytest.mark.parametrize("channel", [None, Channel.PHONE, Channel.EMAIL])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_as_many_are_said_to_be_delivered_as_arrive(channel: Channel | None, share: float) -> None:
    delivered = sum(decoy_state(decoy, channel, share) == DELIVERY_STATE_DELIVERED for decoy in DECOYS)
    assert abs(delivered / len(DECOYS) - share) < 0.04


@pytest.mark.row("M11")
def test_who_asks_again_is_told_the_same() -> None:
    once, again = [[decoy_state(one, Channel.PHONE, 0.5) for one in DECOYS] for _ in range(2)]
    assert once == again


def test_one_channel_says_nothing_of_the_other() -> None:
    alike = sum(decoy_state(one, Channel.PHONE, 0.5) == decoy_state(one, Channel.EMAIL, 0.5) for one in DECOYS)
    assert 0.45 < alike / len(DECOYS) < 0.55


@pytest.mark.row("M11")
@pytest.mark.parametrize(
    ("recent", "arrived", "share"), [(0, 0, 0.95), (9, 0, 0.95), (10, 0, 0.0), (10, 10, 1.0), (100, 50, 0.5)]
)
def test_recent_messages_say_how_many_arrive_if_there_are_enough(recent: int, arrived: int, share: float) -> None:
    assert share_of(Fate(DELIVERY_STATE_UNDERWAY, recent, arrived), 0.95) == share
