"""Settings of the mail server, variables ZASOV_NOTIFIER_… as the notifier's others."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from services.chassis.email_addresses import NotAnAddress, email_address
from services.chassis.errors import CannotStart
from services.chassis.lifecycle import split_address

Security = Literal["starttls", "tls", "plaintext"]
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class MailServer:
    """One account at one mail server. tls: None only for plaintext. sender: the envelope's, which bounces go to."""

    host: str
    port: int
    security: Security
    tls: ssl.SSLContext | None
    username: str
    password: str = field(repr=False)
    sender: str
    operator: str
    connections: int
    timeout_s: float
    answer_timeout_s: float
    idle_s: float
    reconnect_first_s: float = 0.5
    reconnect_most_s: float = 10.0

    @property
    def domain(self) -> str:
        return self.sender.rpartition("@")[2]


class MailSettings(BaseSettings):
    """What email needs, beside what the notifier needs anyway."""

    smtp_address: str = Field(default="", description="host:port of the mail server; empty: nothing is sent by email.")
    smtp_security: Security = Field(
        default="starttls",
        description="starttls: required, with a certificate for the host's name; tls: from the first byte (port 465);"
        " plaintext: only to this very machine.",
    )
    smtp_ca_file: Path | None = Field(default=None, description="Certificates to trust instead of the system's.")
    smtp_username: str = Field(default="", description="Account at the mail server; empty: it asks for none.")
    smtp_password: SecretStr = Field(default=SecretStr(""), description="Its password.")
    smtp_sender: str = Field(default="", description="Address in From and in the envelope; bounces go there.")
    smtp_connections: int = Field(default=4, ge=1, description="Connections at once, each for one message at a time.")
    smtp_timeout_s: float = Field(default=10.0, gt=0, description="A connection or command that takes longer is given up.")
    smtp_answer_timeout_s: float = Field(
        default=60.0, gt=0, description="A message that was handed over and is unanswered for longer is ambiguous."
    )
    smtp_idle_s: float = Field(default=30.0, gt=0, description="A connection unused for longer is closed.")
    operator_name: str = Field(default="Zasov", description="The name that emails bear in sender, subject and text.")

    def mail_server(self) -> MailServer | None:
        """None: no email. Raises CannotStart for what could not be sent, or not safely."""
        if not self.smtp_address:
            return None
        host, port = split_address(self.smtp_address)
        if self.smtp_security == "plaintext" and host not in _LOOPBACK:
            raise CannotStart(
                "SMTP in plaintext is for this machine alone: ZASOV_NOTIFIER_SMTP_SECURITY must be starttls or tls"
            )
        if not (0 < len(self.operator_name) <= _LONGEST_NAME and self.operator_name.isprintable()):
            raise CannotStart(f"ZASOV_NOTIFIER_OPERATOR_NAME is 1 to {_LONGEST_NAME} characters on one line")
        try:
            sender = email_address(self.smtp_sender)
        except NotAnAddress:
            raise CannotStart("ZASOV_NOTIFIER_SMTP_SENDER is no email address") from None
        return MailServer(
            host=host,
            port=port,
            security=self.smtp_security,
            tls=None if self.smtp_security == "plaintext" else self._trust(),
            username=self.smtp_username,
            password=self.smtp_password.get_secret_value(),
            sender=sender,
            operator=self.operator_name,
            connections=self.smtp_connections,
            timeout_s=self.smtp_timeout_s,
            answer_timeout_s=self.smtp_answer_timeout_s,
            idle_s=self.smtp_idle_s,
        )

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.smtp_ca_file)
        except (OSError, ssl.SSLError):
            raise CannotStart("ZASOV_NOTIFIER_SMTP_CA_FILE can't be read as certificates") from None
