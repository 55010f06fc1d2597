"""Settings of the limits on SMS. Each comes from an environment variable ZASOV_NOTIFIER_SMS_…"""

from collections.abc import Mapping
from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings

from services.notifier.limits.domain import LimitId, Rule

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


class LimitSettings(BaseSettings):
    """How many SMS may go out. Emails are not counted."""

    sms_per_number: int = Field(default=30, ge=1, description="SMS of all kinds to one number within 24 hours.")
    sms_per_range: int = Field(default=500, ge=1, description="SMS to one range of numbers within an hour.")
    sms_range_digits: int = Field(
        default=4, ge=1, le=10, description="Numbers that differ in so many last digits alone are one range."
    )
    sms_per_country: int = Field(default=2000, ge=1, description="SMS to one country within an hour.")
    sms_home_countries: str = Field(
        default="7",
        pattern="^([1-9][0-9]*(,[1-9][0-9]*)*)?$",
        description="Calling codes of countries that have no limit of their own; their ranges have.",
    )
    sms_reserve: float = Field(
        default=0.5, ge=0, lt=1, description="Share of ranges' and countries' limits that is kept for who has an account."
    )

    def limits(self) -> Mapping[LimitId, Rule]:
        return {
            LimitId.NUMBER: Rule(self.sms_per_number, self.sms_per_number, _DAY),
            LimitId.RANGE: self._with_reserve(self.sms_per_range),
            LimitId.COUNTRY: self._with_reserve(self.sms_per_country),
        }

    def home_countries(self) -> frozenset[int]:
        return frozenset(int(code) for code in self.sms_home_countries.split(",") if code)

    def _with_reserve(self, most: int) -> Rule:
        return Rule(most, int(most * (1 - self.sms_reserve)), _HOUR)
