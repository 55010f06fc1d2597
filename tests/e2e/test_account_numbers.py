"""A customer whom the billing system puts, and who gets in by contract number and email."""

from uuid import UUID, uuid4

import pytest
from zasov.auth.v1.common_pb2 import CONTACT_CHANNEL_EMAIL, CONTACT_CHANNEL_PHONE

from devstack import customers
from tests.e2e.system import PASSWORD, WRONG, System, code_in


@pytest.mark.row("M12")
@pytest.mark.row("M11")
@pytest.mark.row("M3")
async def test_a_customer_chooses_email_gets_a_password_and_signs_in_by_contract_number(system: System) -> None:
    person, back_end = system.subscriber(), system.back_end
    contract, email = f"AB{uuid4().int % 10**8:08d}", f"v{uuid4().hex}@example.com"
    fields = {"phone": person.phone, "email": email, "language": "en"}
    made = await customers.put(back_end, contract_numbers=[contract], **fields)
    assert made.created
    assert not (await customers.put(back_end, contract_numbers=[contract], **fields)).created

    # As it stands on paper.
    on_paper = f"{contract[:2].lower()}-{contract[2:]}"
    listed = await customers.list_contacts(back_end, person.client, contract_number=on_paper)
    assert [(one.channel, one.mask) for one in listed.contacts] == [
        (CONTACT_CHANNEL_PHONE, f"***{person.phone[-2:]}"),
        (CONTACT_CHANNEL_EMAIL, "v***@***"),
    ]
    sent = await customers.send_recovery_code(back_end, listed.grant, CONTACT_CHANNEL_EMAIL, person.client)
    mail = await system.mailboxes.wait(email, timeout=20.0)
    assert f"No. {sent.tag}" in mail.text
    grant = await back_end.confirm_recovery(sent.grant, code_in(mail), person.client)
    await back_end.choose_recovery_password(grant, PASSWORD, person.client)
    session = await customers.sign_in(back_end, PASSWORD, person.client, contract_number=on_paper)
    assert session.account_id == made.account_id
    assert (await person.sign_in(PASSWORD)).account_id == made.account_id, "and by the phone on file"

    # Three strikes are the account's, whichever way they come.
    for guess in (person.sign_in(WRONG), customers.sign_in(back_end, WRONG, person.client, contract_number=contract)):
        with pytest.raises(Exception, match="CREDENTIALS_REJECTED"):
            await guess
    await person.refused(WRONG)
    assert (await system.until_settled(UUID(made.account_id))).strikes == 3
    with pytest.raises(Exception, match="SIGN_IN_BLOCKED"):
        await customers.sign_in(back_end, PASSWORD, person.client, contract_number=contract)


@pytest.mark.row("M12")
async def test_a_contract_that_nobody_has_is_shown_contacts_that_lead_nowhere(system: System) -> None:
    person, back_end = system.subscriber(), system.back_end
    contract = f"ZX{uuid4().int % 10**8:08d}"
    shown = []
    for _ in range(2):
        listed = await customers.list_contacts(back_end, person.client, contract_number=contract)
        assert listed.contacts
        shown.append([(one.channel, one.mask) for one in listed.contacts])
    assert shown[0] == shown[1]
    sent = await customers.send_recovery_code(back_end, listed.grant, listed.contacts[0].channel, person.client)
    with pytest.raises(Exception, match="CODE_REJECTED"):
        await back_end.confirm_recovery(sent.grant, "00000000", person.client)
