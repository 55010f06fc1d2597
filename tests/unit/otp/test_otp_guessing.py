"""What guessing at codes gains in a day: the arithmetic of docs/security.md, and that the rules keep to it."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.codes import OVERSHOOT
from bench.guessing import MORNING, Number, Otp, all_day, beforehand, bound, chance, draw, expected
from devstack.paths import REPO
from services.otp.brake import BrakeRules
from services.otp.settings import OtpSettings

DEFAULTS = OtpSettings(postgres_url="none")
RULES, BRAKE = DEFAULTS.rules(), DEFAULTS.brake()
SMALL = BrakeRules((30, 90), timedelta(minutes=10), (50, 200), timedelta(hours=1))

pytestmark = pytest.mark.row("B4")

brakes = st.builds(
    lambda wrong, more_wrong, issued, more_issued: replace(
        SMALL, wrong_from=(wrong, wrong + more_wrong), issued_from=(issued, issued + more_issued)
    ),
    st.integers(1, 60),
    st.integers(0, 60),
    st.integers(1, 60),
    st.integers(0, 60),
)


@settings(deadline=None, max_examples=40)
@given(brakes, st.sampled_from([all_day, beforehand]), st.integers(1, 60))
def test_no_attack_makes_more_checks_than_the_bound_says(
    brake: BrakeRules, attack: Callable[[Otp, int], None], numbers: int
) -> None:
    otp = Otp(RULES, brake)
    attack(otp, numbers)
    most = bound(RULES, brake, numbers, overshoot=0)
    assert all(otp.checked[digits] <= most[digits] for digits in (4, 6, 8))


def test_without_the_brake_the_bound_is_passed() -> None:
    otp = Otp(RULES, None)
    all_day(otp, 60)
    assert otp.checked[4] == 9 * 60
    assert otp.checked[4] > bound(RULES, SMALL, 60, overshoot=0)[4]


def test_codes_opened_beforehand_gain_nothing() -> None:
    otp = Otp(RULES, SMALL)
    beforehand(otp, 300)
    assert otp.issued == {4: 50, 6: 150, 8: 100}
    assert otp.checked == {8: 300}


def test_one_number_can_be_guessed_at_nine_times_with_four_digits() -> None:
    otp = Otp(RULES, BRAKE)
    all_day(otp, 1)
    assert (otp.checked[4], otp.checked[6]) == (9, 0)


def test_what_is_computed_is_what_dice_give() -> None:
    dice, days = random.Random(4), 4000
    checked = {4: 3000, 6: 90_000}
    right = [draw(checked, dice) for _ in range(days)]
    spread = (expected(checked) / days) ** 0.5  # rare events: variance equals mean
    assert abs(sum(right) / days - expected(checked)) < 4 * spread
    assert abs(sum(map(bool, right)) / days - chance(checked)) < 4 * spread


def test_dice_that_are_thrown_for_each_check_and_real_codes_agree() -> None:
    """As real as it gets: a random code of four digits, and guesses at it that all differ."""
    dice, days, numbers, right = random.Random(7), 400, 60, 0
    checked = {4: 0}
    for _ in range(days):
        otp = Otp(RULES, BRAKE, MORNING)
        for number in (Number() for _ in range(numbers)):
            code = otp.issue(number)
            assert code is not None
            secret = dice.randrange(10**code.digits)
            for guessed in dice.sample(range(10**code.digits), RULES.tries):
                right += otp.guess(number, code) and guessed == secret
        checked[4] += otp.checked[4]
    assert checked[4] == days * numbers * RULES.tries
    assert abs(right - expected(checked)) < 4 * expected(checked) ** 0.5


def test_the_figures_of_the_security_guide_are_those_of_the_default_settings() -> None:
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (0\.\d{4}) \| (0\.\d{4}) \|$", _guide(), re.M)
    assert len(rows) >= 4
    for numbers, *figures in rows:
        most = bound(RULES, BRAKE, int(numbers.replace(",", "")), OVERSHOOT)
        checks = [f"{most[digits]:,}" for digits in (4, 6, 8)]
        assert figures == [*checks, f"{expected(most):.4f}", f"{chance(most):.4f}"], numbers


def _guide() -> str:
    return (REPO / "docs" / "security.md").read_text()
