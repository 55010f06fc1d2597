"""What is secret or personal, as people and auth say it to each other: all of a call, but for a few names."""

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterator

import grpc
from google.protobuf.message import Message

from devstack.subscriber import BackEnd

# Names of things, which events and tables have by design; and what a message is known again by.
_MAY_BE_KNOWN = frozenset({"account_id", "session_id", "link_id", "change_id", "tag", "language"})
_SECRET_BYTES = 32


class OverheardBackEnd(BackEnd):
    """said: every text and picture that went to auth or came back, by the name of its field."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self.said: dict[str, set[bytes]] = defaultdict(set)

    async def call(self, method: object, request: object, timeout_s: float | None = None) -> object:
        self._hear(request)
        answer = await super().call(method, request, timeout_s)
        self._hear(answer)
        return answer

    def _hear(self, message: object) -> None:
        assert isinstance(message, Message)
        for name, value in _texts_in(message):
            if name not in _MAY_BE_KNOWN:
                self.said[name].add(value)


def _texts_in(message: Message) -> Iterator[tuple[str, bytes]]:
    for field, held in message.ListFields():
        for value in held if field.is_repeated else [held]:
            if isinstance(value, Message):
                yield from _texts_in(value)
            elif isinstance(value, str | bytes):
                yield field.name, value.encode() if isinstance(value, str) else value


def as_they_may_lie(said: bytes) -> Iterator[bytes]:
    """What to look for: the text, of a number without its plus; and the secret of a token as a column would have it, in bytes.

    A few digits stand anywhere by chance; they are not looked for.
    """
    if len(said) >= 8 or not said.isdigit():
        yield said.removeprefix(b"+")
    try:
        raw = base64.b64decode(said + b"=" * (-len(said) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return
    # Before it stand ids.
    if len(raw) >= _SECRET_BYTES:
        yield raw[-_SECRET_BYTES:]
