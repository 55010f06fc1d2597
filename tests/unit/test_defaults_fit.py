"""Defaults of different services that only together keep a promise."""

import pytest

from services.auth.accounts import REFUSALS_A_DAY
from services.auth.settings import AuthSettings
from services.lockout.settings import LockoutSettings
from services.notifier.settings import NotifierSettings
from services.otp.settings import OtpSettings


@pytest.mark.row("M10")
def test_what_strangers_ask_for_leaves_the_owner_sms_for_commands_of_his_own() -> None:
    """The site's codes of a day, and the notice of a block, besides which a stranger has nothing sent to a number."""
    by_strangers = OtpSettings.model_fields["issues_per_day"].default + 1
    assert NotifierSettings.model_fields["sms_per_number"].default - by_strangers >= 5


@pytest.mark.row("M6")
def test_whoever_forges_a_handsets_texts_does_not_use_up_its_sms() -> None:
    """An answer to each command of a day, to each proposal that is refused, and one that says what can be said."""
    by_forgers = OtpSettings.model_fields["issues_per_day"].default + REFUSALS_A_DAY + 1
    assert NotifierSettings.model_fields["sms_per_number"].default - by_forgers >= 3


@pytest.mark.row("M1")
def test_auth_waits_for_lockouts_answer_for_as_long_as_lockout_has_one_wait_in_line() -> None:
    longest = LockoutSettings.model_fields["admission_longest_s"].default
    assert AuthSettings.model_fields["admission_timeout_s"].default > longest
