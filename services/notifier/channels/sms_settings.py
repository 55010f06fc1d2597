"""Settings of the SMSCs, variables ZASOV_NOTIFIER_… as the notifier's others: SMPP_… of the first, SMPP2_… of the second."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from services.chassis.errors import CannotStart
from services.chassis.lifecycle import split_address
from services.notifier.channels.smsc import ReceiptIds, SmscAccount
from services.notifier.smpp import SmppSettings, is_source


class SmsSettings(BaseSettings):
    """What SMS need, beside what the notifier needs anyway."""

    smpp_address: str = Field(default="127.0.0.1:2775", description="host:port of the SMSC.")
    smpp_system_id: str = Field(default="zasov", description="Account at the SMSC, at most 15 characters.")
    smpp_password: SecretStr = Field(default=SecretStr(""), description="Its password, at most 8 characters.")
    smpp_system_type: str = Field(default="", description="The system_type of the bind, if the SMSC wants one.")
    smpp_source: str = Field(default="Zasov", description="Sender: a number, a short code or a name of up to 11 characters.")
    smpp_window: int = Field(default=50, ge=1, description="Submits without an answer; also how many messages are in hand.")
    smpp_rate: float = Field(default=100.0, gt=0, description="Submits a second.")
    smpp_smsc_id: str = Field(default="smsc", min_length=1, description="Names the SMSC, within which message ids are unique.")
    smpp_receipt_ids: ReceiptIds = Field(
        default="as_answered", description="How receipts write an id that the response wrote in the other base."
    )

    smpp2_address: str = Field(
        default="", description="host:port of a second SMSC, for what the first does not take; empty: there is none."
    )
    smpp2_system_id: str = Field(default="zasov", description="Account there.")
    smpp2_password: SecretStr = Field(default=SecretStr(""), description="Its password.")
    smpp2_system_type: str = Field(default="", description="The system_type of the bind there.")
    smpp2_source: str = Field(default="", description="Sender of what leaves there; empty: as at the first.")
    smpp2_window: int = Field(default=50, ge=1, description="Submits without an answer there.")
    smpp2_rate: float = Field(default=100.0, gt=0, description="Submits a second there.")
    smpp2_smsc_id: str = Field(
        default="smsc2",
        min_length=1,
        description="Names it; as the first only if both are doors of one SMSC and a receipt may come by either.",
    )
    smpp2_receipt_ids: ReceiptIds = Field(default="as_answered", description="How receipts write ids there.")

    smpp_response_timeout_s: float = Field(default=10.0, gt=0, description="A submit unanswered for longer is ambiguous.")
    smpp_silence_s: float = Field(
        default=2.0, gt=0, description="An SMSC that owes answers and gives none for so long is asked after the other."
    )
    smpp_enquire_idle_s: float = Field(default=15.0, gt=0, description="Quiet time after which the link is tested.")
    smpp_reconnect_max_s: float = Field(default=10.0, gt=0, description="Longest pause between attempts to bind.")

    def smscs(self) -> tuple[SmscAccount, ...]:
        """In order of preference. Raises ValueError or CannotStart for what SMPP can't carry."""
        first = SmscAccount(
            name="smpp",
            session=self._session(
                self.smpp_address,
                self.smpp_system_id,
                self.smpp_password,
                self.smpp_system_type,
                window=self.smpp_window,
                rate=self.smpp_rate,
            ),
            smsc_id=self.smpp_smsc_id,
            source=_source("SMPP_SOURCE", self.smpp_source),
            receipt_ids=self.smpp_receipt_ids,
        )
        if not self.smpp2_address:
            return (first,)
        second = SmscAccount(
            name="smpp2",
            session=self._session(
                self.smpp2_address,
                self.smpp2_system_id,
                self.smpp2_password,
                self.smpp2_system_type,
                window=self.smpp2_window,
                rate=self.smpp2_rate,
            ),
            smsc_id=self.smpp2_smsc_id,
            source=_source("SMPP2_SOURCE", self.smpp2_source or self.smpp_source),
            receipt_ids=self.smpp2_receipt_ids,
        )
        return (first, second)

    @property
    def sms_in_hand(self) -> int:
        """Messages at once. Both windows: those that a hung SMSC holds must not keep others from the other one."""
        return self.smpp_window + (self.smpp2_window if self.smpp2_address else 0)

    def _session(
        self, address: str, system_id: str, password: SecretStr, system_type: str, *, window: int, rate: float
    ) -> SmppSettings:
        host, port = split_address(address)
        return SmppSettings(
            host=host,
            port=port,
            system_id=system_id,
            password=password.get_secret_value(),
            system_type=system_type,
            window=window,
            rate=rate,
            response_timeout_s=self.smpp_response_timeout_s,
            silence_s=self.smpp_silence_s,
            enquire_idle_s=self.smpp_enquire_idle_s,
            reconnect_max_s=self.smpp_reconnect_max_s,
        )


def _source(name: str, source: str) -> str:
    if not is_source(source):
        raise CannotStart(f"ZASOV_NOTIFIER_{name} is neither a number nor a name of up to 11 characters")
    return source
