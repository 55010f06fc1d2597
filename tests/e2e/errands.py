"""What people do beside the demo's story: each errand says something that the story doesn't (tests/e2e/test_secrets.py)."""

from uuid import uuid4

from zasov.auth.v1.common_pb2 import CONTACT_CHANNEL_EMAIL, Session

from devstack import customers, links
from devstack.subscriber import Subscriber, new_client
from tests.e2e.system import NEW_PASSWORD, PASSWORD, System, code_in

OFFICE, STAFF = "office-at-lenin-square", ("staff-ivanova-17", "staff-petrov-23")
# Neither a digit nor a capital.
REFUSED_PROPOSAL = "chanterelles-in-pskov"


async def run_all(system: System) -> None:
    customer, session = await is_put_on_file_and_gets_in_by_email(system)
    await system.put_email_on_file(customer, session, f"v{uuid4().hex}@example.org", PASSWORD)
    await links_another_number(system, customer, session)
    await system.back_end.change_password(session.token, PASSWORD, NEW_PASSWORD, customer.client)
    await proposes_what_is_refused(system)
    await brings_a_slip(system)
    await brings_a_new_number(system)


async def is_put_on_file_and_gets_in_by_email(system: System) -> tuple[Subscriber, Session]:
    """By the contract's number as it stands on paper; then by the account's, from another device."""
    person, back_end = system.subscriber(), system.back_end
    digits, email = f"{uuid4().int % 10**12:012d}", f"v{uuid4().hex}@example.com"
    contract, account_number = f"AB{digits[:8]}", f"4{digits}"
    numbers = {"contract_numbers": [contract], "account_numbers": [account_number]}
    await customers.put(back_end, phone=person.phone, email=email, **numbers)
    listed = await customers.list_contacts(back_end, person.client, contract_number=f"{contract[:2].lower()}-{contract[2:]}")
    sent = await customers.send_recovery_code(back_end, listed.grant, CONTACT_CHANNEL_EMAIL, person.client)
    code = code_in(await system.mailboxes.wait(email, timeout=20.0))
    grant = await back_end.confirm_recovery(sent.grant, code, person.client)
    await back_end.choose_recovery_password(grant, PASSWORD, person.client)
    person.client = new_client()
    return person, await customers.sign_in(back_end, PASSWORD, person.client, account_number=account_number)


async def links_another_number(system: System, owner: Subscriber, session: Session) -> None:
    theirs, _ = await system.registered()
    proof = await links.prove_again(system.back_end, session.token, PASSWORD, owner.client)
    await links.link_number(system.back_end, session.token, proof, theirs.phone, PASSWORD, owner.client)
    await links.linked_numbers(system.back_end, session.token, owner.client)


async def proposes_what_is_refused(system: System) -> None:
    person, _ = await system.registered()
    await person.texts("111", f"25 {REFUSED_PROPOSAL}")
    assert "Ошибка смены пароля" in (await person.next_message()).text


async def brings_a_slip(system: System) -> None:
    person, _ = await system.registered()
    slip = await system.office(OFFICE).print_slip(person.phone, STAFF[0])
    second_half, _ = await person.read_second_half()
    await person.get_in_with(slip.first_half + second_half, NEW_PASSWORD)


async def brings_a_new_number(system: System) -> None:
    """Which is on file, and has been sent a one-time password, in the end."""
    person, _ = await system.registered()
    office, renewed = system.office(OFFICE), system.subscriber()
    pending = await office.name_phone(person.phone, renewed.phone, STAFF[0])
    await office.approve(pending.change_id, STAFF[1])
    await renewed.read_temporary_password()
