"""What an operator can set of the otp service."""

from datetime import timedelta
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import ChassisSettings
from services.otp.brake import BrakeRules
from services.otp.domain import Rules


class OtpSettings(ChassisSettings):
    """The defaults are the profile of mission row M4: 4 digits, 5 minutes, 3 tries."""

    model_config = SettingsConfigDict(env_prefix="ZASOV_OTP_")

    # Somebody waits for each code.
    relay_pace_s: float = Field(default=0.0, ge=0, description="Under load, from one batch of events to the next.")
    code_digits: int = Field(default=4, description="Digits of a code for a subject without wrong checks: 4, 6 or 8.")
    code_lifetime_s: float = Field(default=300.0, gt=0, le=3600, description="Seconds until a code is refused.")
    password_lifetime_s: float = Field(
        default=1800.0, gt=0, le=86400, description="Seconds until a one-time password is refused (M5)."
    )
    code_tries: int = Field(default=3, ge=1, le=10, description="Checks that one code allows.")
    cool_down_s: float = Field(
        default=30.0, ge=0, le=3600, description="Seconds until a subject may ask for another code of the same purpose."
    )
    longer_after_wrong: int = Field(
        default=3, ge=1, description="Wrong checks of a subject within 24 hours after which its codes have 6 digits."
    )
    longest_after_wrong: int = Field(
        default=9,
        ge=1,
        description="Wrong checks within 24 hours after which codes have 8 digits and no 4-digit code is checked any more.",
    )
    refuse_after_wrong: int = Field(
        default=15,
        ge=1,
        description="Wrong checks within 24 hours after which no code is issued and no 6-digit code is checked any more.",
    )
    issues_per_day: int = Field(
        default=20, ge=1, le=1000, description="Codes that one subject may be sent within 24 hours, whoever asks for them."
    )
    spray_longer_after_wrong: int = Field(
        default=1_000, ge=1, description="Wrong checks of all subjects within 24 hours after which codes have 6 digits."
    )
    spray_longest_after_wrong: int = Field(
        default=100_000, ge=1, description="Wrong checks of all subjects within 24 hours after which codes have 8 digits."
    )
    spray_issued_window_s: float = Field(default=600.0, ge=1, description="Seconds within which codes issued are counted.")
    spray_longer_after_issued: int = Field(
        default=5_000, ge=1, description="Codes issued to all subjects within that window after which they have 6 digits."
    )
    spray_longest_after_issued: int = Field(
        default=50_000, ge=1, description="Codes issued to all subjects within that window after which they have 8 digits."
    )
    spray_hold_s: float = Field(
        default=3600.0, gt=0, description="Seconds that codes stay longer for all once they are; no less than code_lifetime_s."
    )
    lease_s: float = Field(default=15.0, gt=0, le=300, description="Seconds that a claim keeps other workers from a delivery.")
    sweep_interval_s: float = Field(default=1.0, gt=0, description="Seconds between two looks for expired codes.")
    sweep_batch: int = Field(default=200, ge=1, le=5000, description="Expired codes that one transaction of the sweep takes.")
    decoy_sent_after_s: float = Field(
        default=2.0, ge=0, description="Seconds after which a decoy is shown as sent; about what a real message takes."
    )

    # Not a Literal: that would take no digits from an environment variable, which is text.
    @field_validator("code_digits")
    @classmethod
    def _four_six_or_eight(cls, digits: int) -> int:
        if digits not in (4, 6, 8):
            raise ValueError("must be 4, 6 or 8")
        return digits

    @model_validator(mode="after")
    def _longer_before_longest_before_refused(self) -> Self:
        if not self.longer_after_wrong <= self.longest_after_wrong <= self.refuse_after_wrong:
            raise ValueError("longer_after_wrong <= longest_after_wrong <= refuse_after_wrong must hold")
        for counted in ("wrong", "issued"):
            longer, longest = f"spray_longer_after_{counted}", f"spray_longest_after_{counted}"
            if getattr(self, longer) > getattr(self, longest):
                raise ValueError(f"{longer} <= {longest} must hold")
        # Else a code that was made void would come back to life.
        if self.spray_hold_s < self.code_lifetime_s:
            raise ValueError("spray_hold_s must be at least code_lifetime_s")
        return self

    def brake(self) -> BrakeRules:
        return BrakeRules(
            wrong_from=(self.spray_longer_after_wrong, self.spray_longest_after_wrong),
            issued_window=timedelta(seconds=self.spray_issued_window_s),
            issued_from=(self.spray_longer_after_issued, self.spray_longest_after_issued),
            hold=timedelta(seconds=self.spray_hold_s),
        )

    def rules(self) -> Rules:
        return Rules(
            digits=self.code_digits,
            lifetime=timedelta(seconds=self.code_lifetime_s),
            password_lifetime=timedelta(seconds=self.password_lifetime_s),
            tries=self.code_tries,
            cool_down=timedelta(seconds=self.cool_down_s),
            longer_after_wrong=self.longer_after_wrong,
            longest_after_wrong=self.longest_after_wrong,
            refuse_after_wrong=self.refuse_after_wrong,
            issues_per_day=self.issues_per_day,
        )
