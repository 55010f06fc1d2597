"""The machine's seventh part: they ask where the message with their code is (M11)."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule
from zasov.auth.v1.common_pb2 import CONTACT_CHANNEL_EMAIL
from zasov.events.v1.notifier_event_pb2 import CHANNEL_EMAIL, CHANNEL_SMS
from zasov.notifier.v1 import notifier_service_pb2 as notifier_pb

from tests.integration.stateful import calls, oracle
from tests.integration.stateful.calls import Channel
from tests.integration.stateful.customers import any_channel
from tests.integration.stateful.machine import KINDS, Given, Met, Which, _kind, numbers, swapped, which
from tests.integration.stateful.messages import DELIVERED, NOT_DELIVERED, Messages
from tests.integration.stateful.oracle import Answer
from tests.integration.stateful.solvers import Solvers
from tests.integration.stateful.world import World

ENDS = {"arrives": DELIVERED, "is refused": NOT_DELIVERED}
OVER = oracle.CODE_LIFETIME_S // oracle.TICK_S + 1

whens = st.sampled_from(["at once", "at once", "late", "too late", "too late"])
ends = st.sampled_from(["arrives", "arrives", "is refused"])


class Waiters(Solvers):
    """The same two, who wait for their messages."""

    def __init__(self, world: World, met: Met) -> None:
        super().__init__(world, met)
        self.messages = Messages(self.oracle)

    # --- step by step

    @rule(which=which, swapped=swapped)
    def get_delivery(self, which: Which, swapped: bool) -> None:
        given = self._a_grant("code", which)
        self._get_delivery(_kind(given, swapped), given)

    @rule(which=which, end=ends)
    def the_message_ends(self, which: Which, end: str) -> None:
        self._end(self._a_grant("code", which), end)

    # --- from end to end, so that what comes after is reached often

    @rule(
        kind=st.sampled_from(KINDS),
        number=numbers,
        channel=any_channel,
        end=ends,
        when=whens,
        again=st.sampled_from([True, True, False]),
    )
    def wait_for_a_message(self, kind: str, number: int, channel: Channel, end: str, when: str, again: bool) -> None:
        """late: once it has been asked after; too late: when its first seconds are over, and nobody has asked. again: another
        code is sent before the end.
        """
        self._wait_for_codes(self.e164s[number], 2)
        given = self._start(kind, self.e164s[number], channel if kind == "Recovery" else None)
        if given is None:
            return
        if when == "at once":
            self._end(given, end)
        self._get_delivery(kind, given)
        self._pass(1)
        if when == "too late":
            self._end(given, end)
        self._get_delivery(kind, given)
        if when == "late":
            self._end(given, end)
            self._get_delivery(kind, given)
        newest = (again and self._send_again(kind, given)) or given
        self._get_delivery(kind, newest)
        self._pass(OVER)
        self._get_delivery(kind, newest)

    @rule(channel=any_channel)
    def wait_for_nobodys_message(self, channel: Channel) -> None:
        given = self._start("Recovery", self._nobodys(), channel)
        for ticks in (1, OVER):
            self._pass(ticks)
            if given:
                self._get_delivery("Recovery", given)

    # --- what the rules are made of

    def _end(self, given: Given, end: str) -> None:
        flow = self._flow_of(given)
        if not (flow and flow.codes and flow.codes[-1].text) or self.messages.has_ended(flow.codes[-1]):
            return  # there is no message, or no more to be known of it
        code, notifier = flow.codes[-1], self.world.notifier
        notifier.now = self.oracle.now
        notifier.put(self.challenges[id(code)].challenge_id, **_as_it_is_known(ENDS[end], flow.by_email))
        self.messages.end(code, ENDS[end])

    def _get_delivery(self, kind: str, given: Given) -> None:
        due = self.messages.get(kind, given.grant)
        self.world.notifier.now = self.oracle.now
        answer, delivery = self.world.call(calls.get_delivery(self.world.auth, kind, given.grant))
        if delivery:
            flow = self._flow_of(given)
            assert flow
            assert (delivery.channel == CONTACT_CHANNEL_EMAIL) == flow.by_email, "by another channel"
            answer = Answer(reason=calls.fate_of(delivery))
        self._expect("get_delivery", due, answer)


def _as_it_is_known(fate: Answer, by_email: bool) -> dict[str, Any]:
    """There are no receipts for emails."""
    if fate == NOT_DELIVERED:
        state = notifier_pb.MESSAGE_STATE_FAILED
    else:
        state = notifier_pb.MESSAGE_STATE_SUBMITTED if by_email else notifier_pb.MESSAGE_STATE_DELIVERED
    return {"state": state, "channel": CHANNEL_EMAIL if by_email else CHANNEL_SMS}
