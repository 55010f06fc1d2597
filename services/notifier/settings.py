"""Settings of the notifier. Each comes from an environment variable ZASOV_NOTIFIER_…"""

from datetime import timedelta
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from services.chassis.lifecycle import split_address
from services.chassis.settings import ChassisSettings
from services.notifier.domain import Policy
from services.notifier.inbound.domain import Rules
from services.notifier.mail.settings import MailSettings
from services.notifier.moments import Moments
from services.notifier.smpp import SmppSettings


class NotifierSettings(MailSettings, ChassisSettings):
    """What the notifier's roles read."""

    model_config = SettingsConfigDict(env_prefix="ZASOV_NOTIFIER_", extra="ignore")

    auth_address: str = Field(default="127.0.0.1:50051", description="gRPC address of auth: notices are claimed there.")
    otp_address: str = Field(default="127.0.0.1:50052", description="gRPC address of otp: codes are claimed there.")
    claim_timeout_s: float = Field(default=1.0, gt=0, description="A claim or report that takes longer is given up.")

    smpp_address: str = Field(default="127.0.0.1:2775", description="host:port of the SMSC.")
    smpp_system_id: str = Field(default="zasov", description="Account at the SMSC, at most 15 characters.")
    smpp_password: SecretStr = Field(default=SecretStr(""), description="Its password, at most 8 characters.")
    smpp_system_type: str = Field(default="", description="The system_type of the bind, if the SMSC wants one.")
    smpp_source: str = Field(default="Zasov", description="Sender: a number, a short code or a name of up to 11 characters.")
    smpp_window: int = Field(default=50, ge=1, description="Submits without an answer; also how many messages are in hand.")
    smpp_rate: float = Field(default=100.0, gt=0, description="Submits a second.")
    smpp_response_timeout_s: float = Field(default=10.0, gt=0, description="A submit unanswered for longer is ambiguous.")
    smpp_enquire_idle_s: float = Field(default=15.0, gt=0, description="Quiet time after which the link is tested.")
    smpp_reconnect_max_s: float = Field(default=10.0, gt=0, description="Longest pause between attempts to bind.")
    smpp_smsc_id: str = Field(default="smsc", description="Names the SMSC, within which message ids are unique.")
    smpp_receipt_ids: Literal["as_answered", "decimal", "hexadecimal"] = Field(
        default="as_answered", description="How receipts write an id that the response wrote in the other base."
    )

    event_max_age_s: float = Field(default=3600.0, gt=0, description="Messages for older events are void.")
    notice_lifetime_s: float = Field(default=6 * 3600.0, gt=0, description="A notice not sent by then is given up.")
    least_validity_s: float = Field(default=2.0, ge=1, description="With less than this to live a message isn't sent.")
    code_resends: int = Field(default=1, ge=0, description="Times a code of unknown outcome is sent again.")
    retry_first_s: float = Field(default=0.5, gt=0, description="First pause after a try that came to nothing; it doubles.")
    retry_most_s: float = Field(default=15.0, gt=0, description="Longest such pause.")
    report_give_up_s: float = Field(default=24 * 3600.0, gt=0, description="A report not taken by then is left.")
    lease_s: float = Field(default=30.0, gt=0, description="After this a message of a dead worker is taken over.")
    poll_interval_s: float = Field(default=0.5, gt=0, description="How often due messages are looked for, woken or not.")
    early_receipt_lifetime_s: float = Field(default=600.0, gt=0, description="A receipt of an unknown id is kept so long.")
    default_language: Literal["ru", "en"] = Field(default="ru", description="For a language that has no templates.")

    time_zone: str = Field(default="Europe/Moscow", description="The times in messages are of this zone (IANA's name).")

    inbound_numbers: str = Field(
        default="3339,111", pattern="^[0-9]+(,[0-9]+)*$", description="Short numbers for commands; texts to others are dropped."
    )
    inbound_per_hour: int = Field(default=10, ge=1, description="Texts of one sender in an hour; more are dropped.")
    inbound_per_day: int = Field(default=30, ge=1, description="The same in a day.")
    inbound_repeat_s: float = Field(default=60.0, gt=0, description="An equal SMS within this is the SMSC's repetition.")
    inbound_assembly_s: float = Field(
        default=300.0, gt=0, description="A text whose parts aren't all here by then is given up."
    )
    inbound_lifetime_s: float = Field(default=600.0, gt=0, description="A text not acted on by then never is.")
    inbound_lease_s: float = Field(default=15.0, gt=0, description="How long a claimed text is one worker's.")

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        Moments(name)
        return name

    def inbound_rules(self) -> Rules:
        """Raises ValueError for times that contradict each other."""
        return Rules(
            per_hour=self.inbound_per_hour,
            per_day=self.inbound_per_day,
            repeat=timedelta(seconds=self.inbound_repeat_s),
            assembly=timedelta(seconds=self.inbound_assembly_s),
            lifetime=timedelta(seconds=self.inbound_lifetime_s),
        )

    def policy(self) -> Policy:
        return Policy(
            event_max_age=timedelta(seconds=self.event_max_age_s),
            notice_lifetime=timedelta(seconds=self.notice_lifetime_s),
            code_resends=self.code_resends,
            retry_first=timedelta(seconds=self.retry_first_s),
            retry_most=timedelta(seconds=self.retry_most_s),
        )

    def smpp(self) -> SmppSettings:
        """Raises ValueError on what SMPP can't carry."""
        host, port = split_address(self.smpp_address)
        return SmppSettings(
            host=host,
            port=port,
            system_id=self.smpp_system_id,
            password=self.smpp_password.get_secret_value(),
            system_type=self.smpp_system_type,
            window=self.smpp_window,
            rate=self.smpp_rate,
            response_timeout_s=self.smpp_response_timeout_s,
            enquire_idle_s=self.smpp_enquire_idle_s,
            reconnect_max_s=self.smpp_reconnect_max_s,
        )
