"""The SMS does not arrive (M11): the subscriber asks where it is, and has the next code sent by email."""

import asyncio
from uuid import uuid4

import pytest
from zasov.auth.v1.common_pb2 import (
    CONTACT_CHANNEL_EMAIL,
    DELIVERY_STATE_DELIVERED,
    DELIVERY_STATE_UNDERWAY,
    CodeSent,
    Delivery,
)

from devstack.subscriber import Subscriber
from tests.e2e.system import NEW_PASSWORD, PASSWORD, System, code_in, until

# As tests/e2e/conftest.py sets it.
_QUIET_S = 2.0


async def delivery(system: System, person: Subscriber, sent: CodeSent) -> Delivery:
    return await system.back_end.get_delivery(sent.grant, person.client)


async def told(system: System, person: Subscriber, sent: CodeSent, state: int) -> Delivery:
    return await until(lambda: delivery(system, person, sent), lambda answer: answer.state == state)


@pytest.mark.row("M10")
@pytest.mark.row("M11")
async def test_the_sms_does_not_arrive_and_the_subscriber_gets_back_in_by_email(system: System) -> None:
    email = f"{uuid4().hex}@example.com"
    person, _ = await system.registered()
    await system.put_email_on_file(person, await person.sign_in(PASSWORD), email, PASSWORD)
    assert "контакты у нас изменены" in (await person.next_message()).text, "the phone on file is told"

    await system.handsets.switch(person.phone, on=False)
    by_sms = await system.back_end.start_recovery(person.phone, person.client)
    waiting = await delivery(system, person, by_sms)
    assert waiting.state == DELIVERY_STATE_UNDERWAY
    # Another code may be asked for, and the first seconds are over: the SMSC holds it, and that is what is told.
    for _ in range(2):
        await asyncio.sleep(_QUIET_S)
        assert (await delivery(system, person, by_sms)).state == DELIVERY_STATE_UNDERWAY

    by_email = await system.back_end.send_recovery_code_again(by_sms.grant, person.client, CONTACT_CHANNEL_EMAIL)
    mail = await system.mailboxes.wait(email, after=1, timeout=20.0)
    assert by_email.tag in mail.text, "it says which request it answers"
    assert (await told(system, person, by_email, DELIVERY_STATE_DELIVERED)).channel == CONTACT_CHANNEL_EMAIL
    grant = await system.back_end.confirm_recovery(by_email.grant, code_in(mail), person.client)
    await system.back_end.choose_recovery_password(grant, NEW_PASSWORD, person.client)
    await person.sign_in(NEW_PASSWORD)
    await system.handsets.switch(person.phone, on=True)


@pytest.mark.row("M11")
async def test_a_code_that_has_arrived_is_said_to_be_delivered(system: System) -> None:
    person, _ = await system.registered()
    sent = await system.back_end.start_recovery(person.phone, person.client)
    await person.read_code()
    assert (await told(system, person, sent, DELIVERY_STATE_DELIVERED)).ask_again_at == sent.ask_again_at
