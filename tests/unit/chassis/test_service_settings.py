"""Every setting of every service comes from the environment, as text."""

import importlib
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.auth.settings import AuthSettings
from services.chassis.settings import ChassisSettings
from services.lockout.settings import LockoutSettings
from services.notifier.settings import NotifierSettings
from services.otp.settings import OtpSettings

_ALL: list[type[ChassisSettings]] = [AuthSettings, OtpSettings, LockoutSettings, NotifierSettings]


@pytest.mark.parametrize("settings", _ALL, ids=lambda settings: settings.__name__)
def test_every_setting_can_be_set_by_its_environment_variable(
    settings: type[ChassisSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = str(settings.model_config["env_prefix"])
    for name, field in settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        if default is not None:
            text = "postgresql://here/it" if field.is_required() else str(default)
            monkeypatch.setenv(f"{prefix}{name}".upper(), text)
    read = settings()  # type: ignore[call-arg]
    for name, field in settings.model_fields.items():
        if not field.is_required():
            assert getattr(read, name) == field.default, name


@pytest.mark.parametrize("settings", _ALL, ids=lambda settings: settings.__name__)
def test_every_setting_says_what_it_is(settings: type[ChassisSettings]) -> None:
    assert [name for name, field in settings.model_fields.items() if not field.description] == []


def test_every_service_is_listed_here() -> None:
    packages = {path.parent.name for path in Path("services").glob("*/settings.py")} - {"chassis"}
    assert packages == {importlib.import_module(one.__module__).__name__.split(".")[1] for one in _ALL}


def test_a_code_of_five_digits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZASOV_OTP_POSTGRES_URL", "postgresql://here/it")
    monkeypatch.setenv("ZASOV_OTP_CODE_DIGITS", "5")
    with pytest.raises(ValueError, match="4, 6 or 8"):
        OtpSettings()  # type: ignore[call-arg]
