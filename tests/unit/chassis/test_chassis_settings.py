"""What the operator reads about settings."""

import re

import pytest

from services.chassis.settings import ChassisSettings, print_settings
from services.lockout.settings import LockoutSettings


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_listing_names_each_variable_in_full_however_narrow_the_screen(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_settings(LockoutSettings)
    listed = set(re.findall(r"ZASOV_LOCKOUT_[A-Z_]*[A-Z]", capsys.readouterr().out))
    assert listed == {f"ZASOV_LOCKOUT_{name}".upper() for name in LockoutSettings.model_fields}


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in LockoutSettings.model_fields.items() if not field.description] == []


def test_what_is_required_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    print_settings(ChassisSettings)
    line = next(line for line in capsys.readouterr().out.splitlines() if "POSTGRES_URL" in line)
    assert "(required)" in line


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZASOV_LOCKOUT_POSTGRES_URL", "postgresql://here/db")
    monkeypatch.setenv("ZASOV_LOCKOUT_SWEEP_AGE_S", "12.5")
    settings = LockoutSettings()  # type: ignore[call-arg]
    assert (settings.postgres_url, settings.sweep_age_s) == ("postgresql://here/db", 12.5)


def test_each_dimension_has_its_own_limit() -> None:
    settings = LockoutSettings(postgres_url="x", failures_by_ip_burst=3, failures_by_ip_interval_s=2, penalty_s=9)
    limit = settings.limits()[1]
    assert (limit.burst, limit.interval_s, limit.penalty_s) == (3, 2, 9)
    assert set(settings.limits()) == set(range(1, 9))
    assert all(limit.burst >= 1 for limit in settings.limits().values())
