"""A slip's password is made of two halves (M18)."""

import pytest
from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_OFFICE_SLIP, OtpPurpose

from services.otp.codes import is_first_half

pytestmark = pytest.mark.row("M18")


def test_a_first_half_goes_with_a_slip_and_with_nothing_else() -> None:
    assert is_first_half("2345AZ", OTP_PURPOSE_OFFICE_SLIP)
    for text in ("", "2345A", "2345AZZ", "2345A1", "2345AO", "2345az", "2345А2"):
        assert not is_first_half(text, OTP_PURPOSE_OFFICE_SLIP)
    for purpose in OtpPurpose.values():
        if purpose != OTP_PURPOSE_OFFICE_SLIP:
            assert is_first_half("", purpose)
            assert not is_first_half("2345AZ", purpose)
