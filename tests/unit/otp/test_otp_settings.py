"""Settings of otp that would undo a guard are refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.otp.settings import OtpSettings

pytestmark = pytest.mark.row("B4")


@pytest.mark.parametrize(
    "wrong",
    [
        {"longer_after_wrong": 10},
        {"longest_after_wrong": 16},
        {"spray_longer_after_wrong": 100_001},
        {"spray_longer_after_issued": 50_001},
        # A code that was made void would come back to life.
        {"spray_hold_s": 299},
        {"spray_hold_s": 3000, "code_lifetime_s": 3600},
        {"code_digits": 5},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OtpSettings(postgres_url="none", **wrong)


def test_the_defaults_are_the_profile_of_the_mission() -> None:
    rules, brake = OtpSettings(postgres_url="none").rules(), OtpSettings(postgres_url="none").brake()
    assert (rules.digits, rules.lifetime.total_seconds(), rules.tries) == (4, 300, 3)
    assert brake.hold >= rules.lifetime
    assert [brake.digits_after(wrong, 0) for wrong in (999, 1_000, 99_999, 100_000)] == [0, 6, 6, 8]
    assert [brake.digits_after(0, issued) for issued in (4_999, 5_000, 49_999, 50_000)] == [0, 6, 6, 8]
