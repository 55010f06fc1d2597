"""The whole system, as separate processes on real PostgreSQL, Kafka and an SMSC."""

from collections.abc import AsyncIterator, Iterator

import pytest

from devstack.stack import Stack
from tests.e2e.system import System

# A person waits half a minute before asking again; a test need not.
_OVERRIDES = {
    "otp": {"ZASOV_OTP_COOL_DOWN_S": "1"},
    # What became of a message is told after 2 s instead of 15.
    "auth": {
        "ZASOV_AUTH_DELIVERY_QUIET_S": "2",
        # A number named at an office is put on file 2 s after its approval instead of a day.
        "ZASOV_AUTH_OFFICE_DELAY_S": "2",
        "ZASOV_AUTH_OFFICE_LOOK_S": "0.2",
    },
    # Lost attempts are swept up after 20 s instead of 60, and an outcome is good for half of it.
    "lockout": {
        "ZASOV_LOCKOUT_SWEEP_AGE_S": "20",
        "ZASOV_LOCKOUT_SWEEP_EVERY_S": "1",
        # All these people are of one range, and fail and ask more often than one does: nobody is to be asked for a captcha,
        # and codes are to be longer for nobody.
        "ZASOV_LOCKOUT_FAILURES_BY_RANGE_BURST": "1000000",
        "ZASOV_LOCKOUT_FAILURES_BY_SYSTEM_BURST": "1000000",
        "ZASOV_LOCKOUT_CODES_BY_RANGE_BURST": "1000000",
        "ZASOV_LOCKOUT_CODES_BY_SYSTEM_BURST": "1000000",
    },
}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), settings_overrides=_OVERRIDES) as running:
        yield running


@pytest.fixture(scope="session")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """For tests that kill its parts, or look for what it must not say: codes of eight digits don't occur by chance."""
    overrides = {**_OVERRIDES, "otp": {**_OVERRIDES["otp"], "ZASOV_OTP_CODE_DIGITS": "8"}}
    with Stack(tmp_path_factory.mktemp("own-stack"), settings_overrides=overrides) as running:
        yield running


@pytest.fixture
async def system(stack: Stack) -> AsyncIterator[System]:
    async with System(stack) as system:
        yield system


@pytest.fixture
async def own_system(own_stack: Stack) -> AsyncIterator[System]:
    async with System(own_stack) as system:
        yield system
