"""Settings of the lockout service."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict
from zasov.events.v1.lockout_event_pb2 import LimitDimension

from services.chassis.settings import ChassisSettings
from services.lockout.limits import Limit


class LockoutSettings(ChassisSettings):
    """What the roles of lockout read."""

    model_config = SettingsConfigDict(env_prefix="ZASOV_LOCKOUT_")

    admission_wait_s: float = Field(default=2.0, ge=0, description="Longest wait for a place while none comes free.")
    admission_longest_s: float = Field(default=5.0, ge=0, description="Longest wait in a line that moves.")
    admission_poll_s: float = Field(default=0.02, gt=0, description="How often a waiter looks for places freed elsewhere.")
    sweep_age_s: float = Field(default=60.0, ge=2, description="An open attempt of this age is lost and counts as wrong.")
    sweep_every_s: float = Field(default=5.0, gt=0, description="How often lost attempts are looked for.")
    stranger_block_days: int = Field(
        default=396, ge=1, description="How long a number that nobody has stays blocked: thirteen months."
    )
    stream_partitions: int = Field(default=4, ge=1, description="Partitions of the topics; the same for all of them.")
    stream_session_timeout_s: float = Field(default=10.0, gt=0, description="After this a dead stream's partitions move.")
    stream_beat_s: float = Field(default=5.0, gt=0, description="How often the stream shows that soft limits are kept.")
    stream_away_after_s: float = Field(default=30.0, gt=0, description="Without a beat for so long, codes have 6 digits.")
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
    failures_by_range_burst: int = Field(default=100, ge=1, description="Failed sign-ins at a range of 10,000 numbers at once.")
    failures_by_range_interval_s: float = Field(default=10.0, gt=0, description="Then one in so many seconds.")
    failures_by_system_burst: int = Field(default=1000, ge=1, description="Failed sign-ins in all at once.")
    failures_by_system_interval_s: float = Field(default=0.1, gt=0, description="Then one in so many seconds.")
    codes_by_range_burst: int = Field(default=100, ge=1, description="Codes sent to a range of 10,000 numbers at once.")
    codes_by_range_interval_s: float = Field(default=10.0, gt=0, description="Then one in so many seconds.")
    codes_by_system_burst: int = Field(default=1000, ge=1, description="Codes sent in all at once.")
    codes_by_system_interval_s: float = Field(default=0.1, gt=0, description="Then one in so many seconds.")
    penalty_s: float = Field(default=600.0, gt=0, description="How long an exceeded limit refuses, or asks for a captcha.")

    def limits(self) -> dict[LimitDimension.ValueType, Limit]:
        """The soft limit of each dimension: of LIMIT_DIMENSION_CODES_BY_IP, the settings `codes_by_ip_…`."""
        names = {value: name.removeprefix("LIMIT_DIMENSION_").lower() for name, value in LimitDimension.items() if value}
        return {
            dimension: Limit(getattr(self, f"{name}_burst"), getattr(self, f"{name}_interval_s"), self.penalty_s)
            for dimension, name in names.items()
        }
