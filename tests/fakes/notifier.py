"""The notifier, as auth asks it where messages are: each is where a test says, since when it says."""

from dataclasses import dataclass, field
from typing import Any

from zasov.notifier.v1 import notifier_service_pb2 as pb
from zasov.notifier.v1.notifier_service_pb2_grpc import NotifierServiceServicer


@dataclass
class FakeNotifier(NotifierServiceServicer):
    """now: the test's time in seconds. Of too few messages it says how many arrive."""

    now: float = 0
    messages: dict[str, list[tuple[float, pb.GetDeliveryResponse]]] = field(default_factory=dict)

    def put(self, challenge_id: str, **said: Any) -> None:
        """From now on this is said of the message with that challenge's code."""
        self.messages.setdefault(challenge_id, []).append((self.now, pb.GetDeliveryResponse(**said)))

    async def GetDelivery(self, request: pb.GetDeliveryRequest, context: object) -> pb.GetDeliveryResponse:
        then = self.now - request.ago_ms / 1000
        known = [said for since, said in self.messages.get(request.cause_stream_id, []) if since <= then]
        return known[-1] if known else pb.GetDeliveryResponse()
