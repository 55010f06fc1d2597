"""From nothing to a bound connection: connect, bind as a transceiver, or a typed failure."""

import asyncio
from collections.abc import Awaitable, Callable

from services.notifier.smpp.codec import FramingError, Pdu, PduError, decode, encode, read_frame
from services.notifier.smpp.link import Link, LinkCounters
from services.notifier.smpp.outcomes import ESME_ROK
from services.notifier.smpp.pacing import TokenBucket
from services.notifier.smpp.settings import SmppSettings


class BindFailed(Exception):
    """No session: the SMSC could not be reached, said nothing, or (see BindRefused) said no."""


class BindRefused(BindFailed):
    """The SMSC answered the bind with `status` (SMPP 3.4 section 5.1.3)."""

    # Invalid system_id, password, system_type, or "bind failed": trying again alone can't help.
    PERMANENT = frozenset({0x0D, 0x0E, 0x0F, 0x53})

    def __init__(self, status: int) -> None:
        super().__init__(f"the SMSC refused the bind with status 0x{status:08x}")
        self.status = status

    @property
    def is_permanent(self) -> bool:
        return self.status in self.PERMANENT


async def open_link(
    settings: SmppSettings,
    bucket: TokenBucket,
    counters: LinkCounters,
    on_delivery: Callable[[Pdu], Awaitable[int]],
    handlers: set[asyncio.Task[None]],
) -> Link:
    """Connect and bind as a transceiver (SMPP 3.4 section 4.1.5). Raises BindFailed or its BindRefused."""
    try:
        async with asyncio.timeout(settings.bind_timeout_s):
            reader, writer = await asyncio.open_connection(settings.host, settings.port)
            try:
                await _bind(reader, writer, settings)
            except BaseException:
                writer.transport.abort()
                raise
    except TimeoutError:
        raise BindFailed("the SMSC did not answer the bind in time") from None
    except (OSError, asyncio.IncompleteReadError, FramingError, PduError) as error:
        raise BindFailed(f"the SMSC could not be bound to ({type(error).__name__})") from None
    counters.links += 1
    return Link(reader, writer, settings, bucket, counters, on_delivery, handlers)


async def _bind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: SmppSettings) -> None:
    writer.write(
        encode(
            "bind_transceiver",
            1,
            {
                "system_id": settings.system_id,
                "password": settings.password,
                "system_type": settings.system_type,
            },
        )
    )
    while True:
        raw = await read_frame(reader)
        try:
            answer = decode(raw)
            command, status = answer.command, answer.status
        except PduError as error:
            if error.command_id != 0x80000009:
                raise
            # Refusals often come without the body that the book asks for; the status stands in the header.
            command, status = "bind_transceiver_resp", error.status
            if status == ESME_ROK:
                raise
        if command == "enquire_link":
            writer.write(encode("enquire_link_resp", answer.sequence))
        elif command in ("bind_transceiver_resp", "generic_nack"):
            if status != ESME_ROK or command == "generic_nack":
                raise BindRefused(status)
            return
