"""Calls about subscribers who are found by account and contract numbers (M12)."""

from typing import Any

from zasov.auth.v1 import provisioning_service_pb2, recovery_service_pb2, sign_in_service_pb2
from zasov.auth.v1.common_pb2 import CONTACT_CHANNEL_EMAIL, CONTACT_CHANNEL_PHONE, CodeSent, Session
from zasov.auth.v1.provisioning_service_pb2_grpc import ProvisioningServiceStub
from zasov.otp.v1 import delivery_service_pb2

from services.auth.sessions import decode_token
from tests.integration.auth.suite import PASSWORD, Auth, Suite, client

ACCOUNT, CONTRACT, EMAIL = "601 234 567-8", "АВ-123457", "Vera.Orlova@example.com"
UNKNOWN_ACCOUNT, UNKNOWN_CONTRACT = "7012345678", "ZX765432"
PHONE_CHANNEL = CONTACT_CHANNEL_PHONE
EMAIL_CHANNEL = CONTACT_CHANNEL_EMAIL
# As events and logs would have them; none may.
SAID = {"6012345678", "AB123457", EMAIL, EMAIL.lower()}


async def put(auth: Auth, **fields: Any) -> Any:
    """What the operator's own systems call: account_id and created."""
    request = provisioning_service_pb2.PutSubscriberRequest(**fields)
    return await ProvisioningServiceStub(auth.channel).PutSubscriber(request, timeout=20)


async def sign_in_by(auth: Auth, password: str = PASSWORD, captcha_proof: str = "", **identifier: str) -> Session:
    by = client(captcha_proof=captcha_proof)
    request = sign_in_service_pb2.SignInRequest(password=password, client=by, **identifier)
    return (await auth.signing_in.SignIn(request, timeout=20)).session


async def start_by(auth: Auth, **identifier: str) -> CodeSent:
    request = recovery_service_pb2.StartRecoveryRequest(client=client(), **identifier)
    return (await auth.recovery.StartRecovery(request, timeout=20)).code


async def contacts_of(auth: Auth, captcha_proof: str = "", **identifier: str) -> Any:
    request = recovery_service_pb2.ListContactsRequest(client=client(captcha_proof=captcha_proof), **identifier)
    return await auth.recovery.ListContacts(request, timeout=20)


async def send_to(auth: Auth, grant: str, channel: Any) -> CodeSent:
    request = recovery_service_pb2.SendRecoveryCodeRequest(grant=grant, channel=channel, client=client())
    return (await auth.recovery.SendRecoveryCode(request, timeout=20)).code


async def temporary_by(auth: Auth, captcha_proof: str = "", **identifier: str) -> Any:
    by = client(captcha_proof=captcha_proof)
    request = recovery_service_pb2.RequestTemporaryPasswordRequest(client=by, **identifier)
    return await auth.recovery.RequestTemporaryPassword(request, timeout=20)


async def use_temporary_by(auth: Auth, password: str, **identifier: str) -> str:
    """The grant for choosing a permanent one."""
    request = sign_in_service_pb2.SignInWithTemporaryPasswordRequest(temporary_password=password, client=client(), **identifier)
    return str((await auth.signing_in.SignInWithTemporaryPassword(request, timeout=20)).must_choose.grant)


async def claim_of(suite: Suite, grant: str) -> Any:
    """What the notifier gets of the code that the grant goes with: phone or email, and code."""
    decoded = decode_token(grant, 1)
    assert decoded is not None
    challenge_id = await suite.sql.fetchval("SELECT challenge_id FROM flow WHERE flow_id = $1", decoded[0][0])
    event_id = await suite.otp_sql.fetchval("SELECT event_id FROM event WHERE stream_id = $1 AND version = 1", challenge_id)
    request = delivery_service_pb2.ClaimRequest(challenge_id=str(challenge_id), event_id=str(event_id), claimant="test")
    return await suite.otp_delivery.Claim(request, timeout=10)


def masks(listed: Any) -> list[tuple[int, str]]:
    return [(one.channel, one.mask) for one in listed.contacts]
