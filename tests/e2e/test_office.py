"""Recovery at an office through the whole system (M18): a signed call, an SMS, a new password."""

import re
from collections.abc import AsyncIterator

import grpc
import pytest
from zasov.auth.v1.staff_service_pb2 import OnSlip, StartRecoveryAtOfficeRequest, ToContactOnFile
from zasov.auth.v1.staff_service_pb2_grpc import StaffServiceStub
from zasov.events.v1.auth_event_pb2 import RecoveryStartedAtOffice

from devstack.stack import Stack
from devstack.staff import StaffSystem
from devstack.subscriber import Subscriber
from tests.e2e.system import NEW_PASSWORD, System

pytestmark = pytest.mark.row("M18")


@pytest.fixture
async def office(stack: Stack) -> AsyncIterator[StaffServiceStub]:
    async with grpc.aio.insecure_channel(stack.at.grpc["auth"]) as channel:
        yield StaffServiceStub(channel)


def request_of(stack: Stack, person: Subscriber, **how: ToContactOnFile | OnSlip) -> StartRecoveryAtOfficeRequest:
    return StartRecoveryAtOfficeRequest(
        staff_assertion=StaffSystem(stack.at.keys).assertion(),
        phone=person.phone,
        document_checked=True,
        reason=RecoveryStartedAtOffice.REASON_BLOCKED,
        **how,
    )


async def sign_in_with(person: Subscriber, password: str) -> None:
    grant = await person.back_end.sign_in_with_temporary_password(person.phone, password, person.client)
    await person.back_end.choose_permanent_password(grant, NEW_PASSWORD, person.client)
    await person.sign_in(NEW_PASSWORD)


async def test_a_blocked_subscriber_gets_in_again_by_an_sms_that_an_office_has_sent(
    stack: Stack, system: System, office: StaffServiceStub
) -> None:
    person, account_id = await system.registered()
    answer = await office.StartRecoveryAtOffice(request_of(stack, person, on_file=ToContactOnFile()), timeout=10)
    password, text = await person.read_temporary_password()
    assert len(password) == 12
    assert answer.sent.tag in text
    await sign_in_with(person, password)
    assert "RecoveryStartedAtOffice" in await system.history(account_id)


async def test_a_slip_and_an_sms_make_one_password(stack: Stack, system: System, office: StaffServiceStub) -> None:
    person, _ = await system.registered()
    slip = (await office.StartRecoveryAtOffice(request_of(stack, person, slip=OnSlip()), timeout=10)).slip
    text = (await person.next_message()).text
    (second_half,) = re.findall(r"\b[2-9A-HJ-NP-Z]{6}\b", text)
    assert slip.tag in text
    await sign_in_with(person, slip.first_half + second_half)
