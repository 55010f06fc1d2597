"""Connections to the mail server: a few, used again, and made only as safely as the settings say."""

import asyncio
from contextlib import suppress

from aiosmtplib import SMTP, SMTPException

from services.notifier.mail.settings import MailServer


class Away(Exception):
    """No connection, or none that is safe: nothing was sent. kind: what went wrong, quoting nothing."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


async def connect(server: MailServer) -> SMTP:
    """A connection that is greeted, secured and signed in. Raises Away."""
    client = SMTP(
        hostname=server.host,
        port=server.port,
        username=server.username or None,
        password=server.password or None,
        local_hostname=server.domain,
        timeout=server.timeout_s,
        use_tls=server.security == "tls",
        # True: a server that does not offer it is as good as away. None would go on in the clear.
        start_tls=server.security == "starttls",
        tls_context=server.tls,
    )
    try:
        await client.connect()
    except (SMTPException, OSError) as error:
        raise Away(type(error).__name__) from None
    return client


class Connections:
    """`take` one, then `give_back` it, in use or closed. The caller sees to it that no more than so many are out."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._idle: list[tuple[SMTP, float]] = []  # the one used last is at the end

    async def take(self, *, fresh: bool) -> tuple[SMTP, bool]:
        """And whether it is a new one. fresh: it must be. Raises Away."""
        while self._idle and not fresh:
            client, used_at = self._idle.pop()
            if self._is_good(client, used_at):
                return client, False
            client.close()
        return await connect(self._server), True

    def give_back(self, client: SMTP) -> None:
        if client.is_connected:
            self._idle.append((client, _now()))
        while self._idle and not self._is_good(*self._idle[0]):
            self._idle.pop(0)[0].close()

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for client, _ in idle:
            with suppress(SMTPException, OSError):
                await client.quit(timeout=1.0)
            client.close()

    def _is_good(self, client: SMTP, used_at: float) -> bool:
        return client.is_connected and _now() - used_at < self._server.idle_s


def _now() -> float:
    return asyncio.get_running_loop().time()
