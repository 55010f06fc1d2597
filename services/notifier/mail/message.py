"""An email as it travels: RFC 5322, with its text and its HTML as alternatives."""

from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from uuid import UUID

from services.notifier.letters import Letter


def message_id(notification_id: UUID, domain: str) -> str:
    """The same however often the message is tried: a mailbox that got it twice can tell."""
    return f"<{notification_id}@{domain}>"


def compose(notification_id: UUID, letter: Letter, *, sender: Address, to: str, at: datetime) -> bytes:
    """Lines end with CRLF and are ASCII. `to` is what `email_address` gave. Raises ValueError for a line break in a header."""
    # The library refuses a line break within a header, and lets one at its end through: what follows would then be the body.
    if not (letter.subject.isprintable() and sender.display_name.isprintable()):
        raise ValueError("a header is one line of printable characters")
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = message_id(notification_id, sender.domain)
    message["Date"] = at.astimezone(UTC)
    message["From"] = sender
    message["To"] = Address(addr_spec=to)
    message["Subject"] = letter.subject
    # RFC 3834: nobody's holiday notice shall answer.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text, cte="quoted-printable")
    message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    return message.as_bytes()
