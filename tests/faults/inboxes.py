"""What subscribers read: the codes and one-time passwords on their handsets and in their mailboxes."""

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

from devstack.handsets import Handsets, HandsetsUnavailable
from devstack.mailboxes import Mailboxes, MailboxesUnavailable
from devstack.stack import Stack

ONE_TIME = re.compile(r"(?<![2-9A-Z])([2-9A-HJ-NP-Z]{12}|[2-9A-HJ-NP-Z]{10}|[2-9A-HJ-NP-Z]{8})(?![2-9A-Z])")
# What is sent of a slip's one-time password.
HALF = re.compile(r"(?<![2-9A-Z])([2-9A-HJ-NP-Z]{6})(?![2-9A-Z])")
# A notice may name a short number: as many digits as a code has.
CODE = re.compile(r"(?:(?<=Код )|(?<=Code ))(\d{4}|\d{6}|\d{8})(?!\d)")
# By email it has a line of its own.
_CODE_LINE = re.compile(r"^(\d{4}|\d{6}|\d{8})\s*$", re.MULTILINE)


class Inboxes:
    """Of everybody. What cannot be read now is empty."""

    def __init__(self, handsets: Handsets, mailboxes: Mailboxes) -> None:
        self.handsets = handsets
        self._mailboxes = mailboxes

    async def texts(self, phone: str) -> list[str]:
        with suppress(HandsetsUnavailable):
            return [message.text for message in await self.handsets.messages(phone)]
        return []

    def by_sms(self, phone: str, form: re.Pattern[str], tag: str, before: int) -> Callable[[], Awaitable[str | None]]:
        """Looks for what the request that `tag` names has had sent, after so many texts."""

        async def look() -> str | None:
            return _found((await self.texts(phone))[before:], form, tag)

        return look

    def by_email(self, address: str, tag: str) -> Callable[[], Awaitable[str | None]]:
        async def look() -> str | None:
            with suppress(MailboxesUnavailable):
                return _found([mail.text for mail in await self._mailboxes.messages(address)], _CODE_LINE, tag)
            return None

        return look


def inboxes_of(stack: Stack) -> Inboxes:
    addresses = stack.infra.addresses()
    return Inboxes(Handsets(addresses["smsc"]["handsets"]), Mailboxes(addresses["mail"]["mailboxes"]))


def _found(messages: list[str], form: re.Pattern[str], tag: str) -> str | None:
    named = f"№ {tag}"  # the digits alone may be a code's
    for text in messages:
        if named in text and (found := form.search(text.replace(named, ""))):
            return found.group(1)
    return None
