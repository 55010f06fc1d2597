"""One message over one connection, and what came of it.

A mail server may deliver only what ended with the line of one dot (RFC 5321, 4.2.5): what breaks before that line was sent has
no effect and may be tried again, and only what breaks after it is in doubt. So commands are given one by one: `sendmail` does
not tell.
"""

import re
from enum import Enum, auto

from aiosmtplib import SMTP, SMTPException, SMTPResponseException, SMTPServerDisconnected

_START_INPUT = 354
# The server wants something of us, not of this message (RFC 3207, RFC 4954): the operator must mend it.
_OURS = frozenset({530, 534, 535, 538})


class Verdict(Enum):
    TAKEN = auto()
    LATER = auto()
    NEVER = auto()
    IN_DOUBT = auto()


class Lost(Exception):
    """The connection broke before the message's end was sent: nothing went out. It is closed."""


def judged(code: int) -> Verdict | None:
    """What an SMTP reply code says of a message. None: nothing, it is no answer that could be expected here."""
    if 200 <= code <= 299:
        return Verdict.TAKEN
    if 400 <= code <= 499 or code in _OURS:
        return Verdict.LATER
    if 500 <= code <= 599:
        return Verdict.NEVER
    return None


async def send(
    client: SMTP, *, sender: str, to: str, content: bytes, timeout_s: float, answer_timeout_s: float
) -> tuple[Verdict, int]:
    """The verdict, and the server's code (0: none). content: lines that end with CRLF. Raises Lost. The client stays open if it
    can be used again."""
    try:
        return await _send(client, sender, to, content, timeout_s, answer_timeout_s)
    except BaseException:
        # Half a transaction: whatever the next one asked would be answered with this one's rest.
        client.close()
        raise


async def _send(
    client: SMTP, sender: str, to: str, content: bytes, timeout_s: float, answer_timeout_s: float
) -> tuple[Verdict, int]:
    try:
        await client.mail(sender, timeout=timeout_s)
        await client.rcpt(to, timeout=timeout_s)
        started = await client.execute_command(b"DATA", timeout=timeout_s)
        if started.code != _START_INPUT:
            return await _refused(client, started.code, timeout_s)
        assert client.protocol is not None  # it has just answered
        client.protocol.write(ended(content))
    except SMTPResponseException as error:
        return await _refused(client, error.code, timeout_s)
    except (SMTPException, OSError):
        raise Lost from None
    try:
        answer = await client.protocol.read_response(timeout=answer_timeout_s)
        verdict = judged(answer.code)
    except (SMTPException, OSError):
        verdict = None
    if verdict is None:
        client.close()
        return Verdict.IN_DOUBT, 0
    return verdict, answer.code


async def _refused(client: SMTP, code: int, timeout_s: float) -> tuple[Verdict, int]:
    verdict = judged(code)
    if verdict is None or verdict is Verdict.TAKEN:
        raise Lost  # not SMTP
    try:
        await client.rset(timeout=timeout_s)
    except (SMTPException, SMTPServerDisconnected, OSError):
        client.close()
    return verdict, code


def ended(content: bytes) -> bytes:
    """With dots doubled at the start of lines, and the line that ends it (RFC 5321, 4.5.2)."""
    stuffed = re.sub(rb"(?m)^\.", b"..", content)
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")
