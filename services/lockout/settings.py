"""Settings of the lockout service."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict
from zasov.events.v1.lockout_event_pb2 import (
    LIMIT_DIMENSION_CODES_BY_IP,
    LIMIT_DIMENSION_CODES_BY_SUBNET,
    LIMIT_DIMENSION_FAILURES_BY_IP,
    LIMIT_DIMENSION_FAILURES_BY_SUBNET,
    LimitDimension,
)

from services.chassis.settings import ChassisSettings
from services.lockout.limits import Limit


class LockoutSettings(ChassisSettings):
    """What the roles of lockout read."""

    model_config = SettingsConfigDict(env_prefix="ZASOV_LOCKOUT_")

    admission_wait_s: float = Field(default=2.0, ge=0, description="How long an attempt waits for one of the three places.")
    admission_poll_s: float = Field(default=0.02, gt=0, description="How often a waiter looks for places freed elsewhere.")
    sweep_age_s: float = Field(default=60.0, ge=2, description="An open attempt of this age is lost and counts as wrong.")
    sweep_every_s: float = Field(default=5.0, gt=0, description="How often lost attempts are looked for.")
    stream_partitions: int = Field(default=4, ge=1, description="Partitions of the topics; the same for all of them.")
    stream_session_timeout_s: float = Field(default=10.0, gt=0, description="After this a dead stream's partitions move.")
    stream_batch: int = Field(default=200, ge=1, description="Events that the stream handles together.")

    protocol_trace: str = Field(
        default="", description="Folder for a trace of each process's steps in the three-strike protocol; empty: off."
    )

    failures_by_ip_burst: int = Field(default=30, ge=1, description="Failed sign-ins from one address at once.")
    failures_by_ip_interval_s: float = Field(default=6.0, gt=0, description="Then one in so many seconds.")
    failures_by_subnet_burst: int = Field(default=200, ge=1, description="Failed sign-ins from one /24 or /64 at once.")
    failures_by_subnet_interval_s: float = Field(default=1.0, gt=0, description="Then one in so many seconds.")
    codes_by_ip_burst: int = Field(default=10, ge=1, description="Codes sent on behalf of one address at once.")
    codes_by_ip_interval_s: float = Field(default=60.0, gt=0, description="Then one in so many seconds.")
    codes_by_subnet_burst: int = Field(default=50, ge=1, description="Codes sent on behalf of one /24 or /64 at once.")
    codes_by_subnet_interval_s: float = Field(default=10.0, gt=0, description="Then one in so many seconds.")
    penalty_s: float = Field(default=600.0, gt=0, description="How long a key that exceeded its limit is refused.")

    def limits(self) -> dict[LimitDimension.ValueType, Limit]:
        """The soft limit of each dimension."""
        return {
            LIMIT_DIMENSION_FAILURES_BY_IP: self._limit(self.failures_by_ip_burst, self.failures_by_ip_interval_s),
            LIMIT_DIMENSION_FAILURES_BY_SUBNET: self._limit(self.failures_by_subnet_burst, self.failures_by_subnet_interval_s),
            LIMIT_DIMENSION_CODES_BY_IP: self._limit(self.codes_by_ip_burst, self.codes_by_ip_interval_s),
            LIMIT_DIMENSION_CODES_BY_SUBNET: self._limit(self.codes_by_subnet_burst, self.codes_by_subnet_interval_s),
        }

    def _limit(self, burst: int, interval_s: float) -> Limit:
        return Limit(burst, interval_s, self.penalty_s)
