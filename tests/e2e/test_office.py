"""Recovery at an office through the whole system (M18): a signed call, an SMS, a new password."""

from datetime import UTC, timedelta

import pytest

from services.chassis.errors import ServiceError
from tests.e2e.system import NEW_PASSWORD, PASSWORD, System

pytestmark = pytest.mark.row("M18")

IVANOVA, PETROV = "ivanova", "petrov"
# As tests/e2e/conftest.py sets it.
_DELAY = timedelta(seconds=2)


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


async def test_a_number_that_is_not_on_file_takes_two_members_of_staff_and_time_and_then_recovery_goes_there(
    system: System,
) -> None:
    person, account_id = await system.registered()
    office, renewed = system.office(), system.subscriber()
    with pytest.raises(ServiceError, match="STAFF_NOT_ALLOWED"):
        await office.name_phone(person.phone, renewed.phone, IVANOVA, role="call_centre")
    pending = await office.name_phone(person.phone, renewed.phone, IVANOVA)
    assert "попросили заменить этот номер" in (await person.next_message()).text, "whoever has the old one can stop it"
    with pytest.raises(ServiceError, match="SECOND_APPROVER_REQUIRED"):
        await office.approve(pending.change_id, IVANOVA)
    with pytest.raises(ServiceError, match="STAFF_NOT_ALLOWED"):
        await office.approve(pending.change_id, PETROV, role="call_centre")
    await person.sign_in(PASSWORD)
    assert await system.handsets.messages(renewed.phone) == []

    approved = await office.approve(pending.change_id, PETROV)
    with pytest.raises(ServiceError, match="CONTACT_CHANGE_VOID"):
        await office.approve(pending.change_id, PETROV)
    password, _ = await renewed.read_temporary_password()
    rows = await system.query("auth", "SELECT type, occurred_at FROM event WHERE stream_id = $1", account_id)
    times = {row["type"]: row["occurred_at"] for row in rows}
    due_at = approved.carried_out_from.ToDatetime(UTC)
    assert times["ContactChangeApproved"] + _DELAY <= due_at <= times["ContactChanged"]
    assert "контакты у нас изменены" in (await person.next_message()).text, "for the last time"

    await renewed.get_in_with(password, NEW_PASSWORD)
    session = await renewed.recover(PASSWORD)
    assert session.account_id == str(account_id)
    assert (await person.refused(PASSWORD)).reason == "CREDENTIALS_REJECTED", "the old number is nobody's"
