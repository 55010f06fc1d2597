"""Recovery at an office through the whole system (M18): a signed call, an SMS, a new password."""

import pytest

from tests.e2e.system import NEW_PASSWORD, System

pytestmark = pytest.mark.row("M18")

IVANOVA = "ivanova"


async def test_a_blocked_subscriber_gets_in_again_by_an_sms_that_an_office_has_sent(system: System) -> None:
    person, account_id = await system.registered()
    sent = await system.office().send_to_contact(person.phone, IVANOVA)
    password, text = await person.read_temporary_password()
    assert len(password) == 12
    assert sent.tag in text
    await person.get_in_with(password, NEW_PASSWORD)
    await person.sign_in(NEW_PASSWORD)
    assert "RecoveryStartedAtOffice" in await system.history(account_id)


async def test_a_slip_and_an_sms_make_one_password(system: System) -> None:
    person, _ = await system.registered()
    slip = await system.office().print_slip(person.phone, IVANOVA)
    second_half, text = await person.read_second_half()
    assert slip.tag in text
    await person.get_in_with(slip.first_half + second_half, NEW_PASSWORD)
    await person.sign_in(NEW_PASSWORD)
