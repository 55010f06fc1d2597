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
    Session,
)

from devstack.mailboxes import Mail, Mailboxes
from devstack.stack import Stack
from devstack.subscriber import Subscriber
from tests.e2e.system import NEW_PASSWORD, PASSWORD, System, until

# As tests/e2e/conftest.py sets it.
_QUIET_S = 2.0


def code_in(mail: Mail) -> str:
    (code,) = [line for line in mail.text.splitlines() if line.isdigit()]
    return code


async def delivery(system: System, person: Subscriber, sent: CodeSent) -> Delivery:
    return await system.back_end.get_delivery(sent.grant, person.client)


async def told(system: System, person: Subscriber, sent: CodeSent, state: int) -> Delivery:
    return await until(lambda: delivery(system, person, sent), lambda answer: answer.state == state)


async def put_on_file(system: System, person: Subscriber, session: Session, email: str, mailboxes: Mailboxes) -> None:
    sent = await system.back_end.start_email_change(session.token, PASSWORD, email, person.client)
    code = code_in(await mailboxes.wait(email, timeout=20.0))
    await system.back_end.confirm_email_change(session.token, sent.grant, code, person.client)
    assert "контакты у нас изменены" in (await person.next_message()).text, "the phone on file is told"


@pytest.mark.row("M10")
@pytest.mark.row("M11")
async def test_the_sms_does_not_arrive_and_the_subscriber_gets_back_in_by_email(system: System, stack: Stack) -> None:
    mailboxes, email = Mailboxes(stack.describe()["mail"]["mailboxes"]), f"{uuid4().hex}@example.com"
    person, _ = await system.registered()
    await put_on_file(system, person, await person.sign_in(PASSWORD), email, mailboxes)

    await system.handsets.switch(person.phone, on=False)
    by_sms = await system.back_end.start_recovery(person.phone, person.client)
    waiting = await delivery(system, person, by_sms)
    assert waiting.state == DELIVERY_STATE_UNDERWAY
    # Another code may be asked for, and the first seconds are over: the SMSC holds it, and that is what is told.
    for _ in range(2):
        await asyncio.sleep(_QUIET_S)
        assert (await delivery(system, person, by_sms)).state == DELIVERY_STATE_UNDERWAY

    by_email = await system.back_end.send_recovery_code_again(by_sms.grant, person.client, CONTACT_CHANNEL_EMAIL)
    mail = await mailboxes.wait(email, after=1, timeout=20.0)
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
