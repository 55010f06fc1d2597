"""Calls about customers who are found by account and contract numbers (M12), for the demo, tests and bench.

What fails raises ServiceError, as `BackEnd` does. identifier: one of phone, account_number and contract_number.
"""

from typing import Any

from zasov.auth.v1 import recovery_service_pb2 as recovery_pb
from zasov.auth.v1.common_pb2 import ClientContext, CodeSent, ContactChannel, Session
from zasov.auth.v1.provisioning_service_pb2 import PutSubscriberRequest, PutSubscriberResponse
from zasov.auth.v1.sign_in_service_pb2 import SignInRequest

from devstack.subscriber import BackEnd


async def put(back_end: BackEnd, **fields: Any) -> PutSubscriberResponse:
    """What the operator's own systems call."""
    answer: Any = await back_end.call(back_end.provisioning.PutSubscriber, PutSubscriberRequest(**fields))
    assert isinstance(answer, PutSubscriberResponse)
    return answer


async def sign_in(
    back_end: BackEnd, password: str, client: ClientContext, timeout_s: float | None = None, **identifier: str
) -> Session:
    request = SignInRequest(password=password, client=client, **identifier)
    answer: Any = await back_end.call(back_end.sign_in_service.SignIn, request, timeout_s)
    return answer.session  # type: ignore[no-any-return]


async def list_contacts(back_end: BackEnd, client: ClientContext, **identifier: str) -> recovery_pb.ListContactsResponse:
    """Solves a captcha first."""
    request = recovery_pb.ListContactsRequest(client=await back_end.solved(client), **identifier)
    answer: Any = await back_end.call(back_end.recovery.ListContacts, request)
    assert isinstance(answer, recovery_pb.ListContactsResponse)
    return answer


async def send_recovery_code(
    back_end: BackEnd, grant: str, channel: ContactChannel.ValueType, client: ClientContext
) -> CodeSent:
    request = recovery_pb.SendRecoveryCodeRequest(grant=grant, channel=channel, client=client)
    answer: Any = await back_end.call(back_end.recovery.SendRecoveryCode, request)
    return answer.code  # type: ignore[no-any-return]
