"""Settings of the notifier. Each comes from an environment variable ZASOV_NOTIFIER_…"""

from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import ChassisSettings
from services.notifier.channels.sms_settings import SmsSettings
from services.notifier.domain import Policy
from services.notifier.inbound.domain import Rules
from services.notifier.limits.settings import LimitSettings
from services.notifier.mail.settings import MailSettings
from services.notifier.moments import Moments


class NotifierSettings(LimitSettings, MailSettings, SmsSettings, ChassisSettings):
    """What the notifier's roles read."""

    model_config = SettingsConfigDict(env_prefix="ZASOV_NOTIFIER_", extra="ignore")

    auth_address: str = Field(default="127.0.0.1:50051", description="gRPC address of auth: notices are claimed there.")
    otp_address: str = Field(default="127.0.0.1:50052", description="gRPC address of otp: codes are claimed there.")
    claim_timeout_s: float = Field(default=1.0, ge=0.2, description="A claim or report that takes longer is given up.")

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
