"""Calls by whatever leads to an account: a phone number begins with a plus sign, an account number does not (M12)."""

from typing import Any, Literal

from zasov.auth.v1 import (
    account_service_pb2,
    recovery_service_pb2,
    registration_service_pb2,
    sign_in_service_pb2,
    staff_service_pb2,
)
from zasov.auth.v1.common_pb2 import (
    CONTACT_CHANNEL_EMAIL,
    CONTACT_CHANNEL_PHONE,
    CONTACT_CHANNEL_UNSPECIFIED,
    CodeSent,
    ContactChannel,
    Delivery,
    DeliveryState,
    Session,
)
from zasov.auth.v1.staff_service_pb2_grpc import StaffServiceStub
from zasov.events.v1.auth_event_pb2 import RecoveryStartedAtOffice

from tests.integration.auth import numbers
from tests.integration.auth.suite import Auth, client

# None: the request leaves it open.
Channel = Literal["phone", "email"] | None
CHANNELS: "dict[Channel, ContactChannel.ValueType]" = {
    None: CONTACT_CHANNEL_UNSPECIFIED,
    "phone": CONTACT_CHANNEL_PHONE,
    "email": CONTACT_CHANNEL_EMAIL,
}


async def sign_in(auth: Auth, identifier: str, password: str, proof: str = "") -> Session:
    """proof: of a captcha, here and below."""
    return await numbers.sign_in_by(auth, password, proof, **_by(identifier))


async def start(auth: Auth, kind: str, identifier: str, channel: Channel, proof: str = "") -> CodeSent:
    """A registration is by phone alone."""
    if kind == "Registration":
        return await auth.flow(kind).start(identifier, captcha_proof=proof)
    by = client(captcha_proof=proof)
    request = recovery_service_pb2.StartRecoveryRequest(channel=CHANNELS[channel], client=by, **_by(identifier))
    return (await auth.recovery.StartRecovery(request, timeout=20)).code


async def send_again(auth: Auth, kind: str, grant: str, channel: Channel, proof: str = "") -> CodeSent:
    if kind == "Registration":
        return await auth.flow(kind).send_again(grant, captcha_proof=proof)
    by = client(captcha_proof=proof)
    request = recovery_service_pb2.SendRecoveryCodeAgainRequest(grant=grant, channel=CHANNELS[channel], client=by)
    return (await auth.recovery.SendRecoveryCodeAgain(request, timeout=20)).code


async def get_delivery(auth: Auth, kind: str, grant: str) -> Delivery:
    if kind == "Registration":
        request = registration_service_pb2.RegistrationServiceGetDeliveryRequest(grant=grant, client=client())
        return (await auth.registration.GetDelivery(request, timeout=20)).delivery
    of_recovery = recovery_service_pb2.RecoveryServiceGetDeliveryRequest(grant=grant, client=client())
    return (await auth.recovery.GetDelivery(of_recovery, timeout=20)).delivery


def fate_of(delivery: Delivery) -> str:
    return DeliveryState.Name(delivery.state).removeprefix("DELIVERY_STATE_")


async def request_one_time(auth: Auth, identifier: str, proof: str = "") -> Any:
    return await numbers.temporary_by(auth, proof, **_by(identifier))


async def use_one_time(auth: Auth, identifier: str, password: str, grant: str = "") -> tuple[str, bool]:
    """The grant, and whether a proposed password may be confirmed."""
    request = sign_in_service_pb2.SignInWithTemporaryPasswordRequest(
        temporary_password=password, client=client(), grant=grant, **_by(identifier)
    )
    answer = await auth.signing_in.SignInWithTemporaryPassword(request, timeout=20)
    return answer.must_choose.grant, answer.proposed


async def put(auth: Auth, phone: str, account_number: str, email: str) -> str:
    """Whose account they all lead to."""
    return str((await numbers.put(auth, phone=phone, account_numbers=[account_number], email=email)).account_id)


async def list_contacts(auth: Auth, identifier: str, proof: str = "") -> tuple[str, list[tuple[str, str]]]:
    """The grant; channels and masks."""
    listed = await numbers.contacts_of(auth, proof, **_by(identifier))
    named = {number: channel for channel, number in CHANNELS.items() if channel}
    return listed.grant, [(named[channel], mask) for channel, mask in numbers.masks(listed)]


async def send_code(auth: Auth, grant: str, channel: Channel) -> CodeSent:
    return await numbers.send_to(auth, grant, CHANNELS[channel])


async def start_email_change(auth: Auth, token: str, password: str, email: str) -> CodeSent:
    request = account_service_pb2.StartEmailChangeRequest(session_token=token, password=password, email=email, client=client())
    return (await auth.account.StartEmailChange(request, timeout=20)).code


async def confirm_email_change(auth: Auth, token: str, grant: str, code: str) -> None:
    request = account_service_pb2.ConfirmEmailChangeRequest(session_token=token, grant=grant, code=code, client=client())
    await auth.account.ConfirmEmailChange(request, timeout=20)


async def set_language(auth: Auth, token: str, language: str) -> None:
    request = account_service_pb2.SetLanguageRequest(session_token=token, language=language, client=client())
    await auth.account.SetLanguage(request, timeout=20)


async def prove_again(auth: Auth, token: str, password: str) -> str:
    request = account_service_pb2.ProveAgainRequest(session_token=token, password=password, client=client())
    return str((await auth.account.ProveAgain(request, timeout=20)).proof)


async def link_number(auth: Auth, token: str, proof: str, identifier: str, password: str) -> tuple[str, str]:
    """The link's id, and the mask of whose number it is."""
    request = account_service_pb2.LinkNumberRequest(
        session_token=token, proof=proof, password=password, client=client(), **_by(identifier)
    )
    linked = (await auth.account.LinkNumber(request, timeout=20)).linked
    return linked.link_id, linked.mask


async def linked_numbers(auth: Auth, token: str) -> list[tuple[str, str]]:
    request = account_service_pb2.ListLinkedNumbersRequest(session_token=token, client=client())
    return [(one.link_id, one.mask) for one in (await auth.account.ListLinkedNumbers(request, timeout=20)).numbers]


async def unlink_number(auth: Auth, token: str, link_id: str) -> None:
    request = account_service_pb2.UnlinkNumberRequest(session_token=token, link_id=link_id, client=client())
    await auth.account.UnlinkNumber(request, timeout=20)


async def start_at_office(auth: Auth, assertion: str, identifier: str, how: str) -> str:
    """What is printed; empty if all of it is sent. how: "on_file" or "slip"."""
    return str((await _at_office(auth, assertion, identifier, **{how: {}})).slip.first_half)


async def name_a_phone(auth: Auth, assertion: str, identifier: str, phone: str) -> str:
    """The id of the change that waits."""
    return str((await _at_office(auth, assertion, identifier, new_phone={"phone": phone})).pending.change_id)


async def approve(auth: Auth, assertion: str, change_id: str) -> None:
    request = staff_service_pb2.ApproveContactChangeRequest(
        staff_assertion=assertion, change_id=change_id, document_checked=True
    )
    await StaffServiceStub(auth.channel).ApproveContactChange(request, timeout=20)


async def cancel(auth: Auth, token: str) -> None:
    request = account_service_pb2.CancelContactChangeRequest(session_token=token, client=client())
    await auth.account.CancelContactChange(request, timeout=20)


async def _at_office(auth: Auth, assertion: str, identifier: str, **how: Any) -> Any:
    request = staff_service_pb2.StartRecoveryAtOfficeRequest(
        staff_assertion=assertion,
        document_checked=True,
        reason=RecoveryStartedAtOffice.REASON_PASSWORD_FORGOTTEN,
        **_by(identifier),
        **how,
    )
    return await StaffServiceStub(auth.channel).StartRecoveryAtOffice(request, timeout=20)


def _by(identifier: str) -> dict[str, str]:
    return {"phone": identifier} if identifier.startswith("+") else {"account_number": identifier}
