"""An email on file, as its owner puts it there; and where codes and notices go."""

from typing import Any
from uuid import UUID

from zasov.auth.v1 import account_service_pb2 as pb
from zasov.auth.v1 import delivery_service_pb2 as delivery_pb
from zasov.auth.v1.common_pb2 import CodeSent, ContactChannel, Session
from zasov.auth.v1.recovery_service_pb2 import SendRecoveryCodeAgainRequest, StartRecoveryRequest
from zasov.otp.v1 import delivery_service_pb2 as otp_pb

from services.auth.sessions import decode_token
from tests.integration.auth.suite import PASSWORD, PHONE, Auth, Suite, client

EMAIL, OTHER_EMAIL = "vera.p@example.com", "vera.new@example.org"


async def start_change(
    suite: Suite, token: str, email: str = EMAIL, password: str = PASSWORD, auth: Auth | None = None
) -> CodeSent:
    suite.said.add(email)
    request = pb.StartEmailChangeRequest(session_token=token, password=password, email=email, client=client())
    return (await (auth or suite.auth).account.StartEmailChange(request, timeout=20)).code


async def confirm_change(suite: Suite, token: str, grant: str, code: str, auth: Auth | None = None) -> None:
    request = pb.ConfirmEmailChangeRequest(session_token=token, grant=grant, code=code, client=client())
    await (auth or suite.auth).account.ConfirmEmailChange(request, timeout=20)


async def put_on_file(suite: Suite, session: Session, email: str = EMAIL) -> None:
    grant = (await start_change(suite, session.token, email)).grant
    await confirm_change(suite, session.token, grant, await suite.code_of(grant))


async def set_language(suite: Suite, token: str, language: str) -> None:
    request = pb.SetLanguageRequest(session_token=token, language=language, client=client())
    await suite.auth.account.SetLanguage(request, timeout=20)


async def start_recovery(suite: Suite, channel: ContactChannel.ValueType, phone: str = PHONE) -> CodeSent:
    request = StartRecoveryRequest(phone=phone, channel=channel, client=client())
    return (await suite.auth.recovery.StartRecovery(request, timeout=20)).code


async def send_again(suite: Suite, grant: str, channel: ContactChannel.ValueType) -> CodeSent:
    request = SendRecoveryCodeAgainRequest(grant=grant, channel=channel, client=client())
    return (await suite.auth.recovery.SendRecoveryCodeAgain(request, timeout=20)).code


async def challenge_of(suite: Suite, grant: str) -> UUID:
    decoded = decode_token(grant, 1)
    assert decoded is not None
    found: UUID = await suite.sql.fetchval("SELECT challenge_id FROM flow WHERE flow_id = $1", decoded[0][0])
    return found


async def goes_to(suite: Suite, grant: str) -> str:
    """Where the code of the grant goes, as its message would; "" for nowhere: a decoy is claimed by nobody."""
    challenge = await challenge_of(suite, grant)
    issued = await suite.otp_sql.fetchval(
        "SELECT event_id FROM event WHERE stream_id = $1 AND version = 1 AND type = 'OtpIssued'", challenge
    )
    if issued is None:
        return ""
    request = otp_pb.ClaimRequest(challenge_id=str(challenge), event_id=str(issued), claimant="test")
    claimed = await suite.otp_delivery.Claim(request, timeout=10)
    return str(claimed.phone or claimed.email)


async def event_of(suite: Suite, kind: str) -> UUID:
    """The newest of its kind."""
    found: UUID = await suite.sql.fetchval("SELECT event_id FROM event WHERE type = $1 ORDER BY event_id DESC LIMIT 1", kind)
    return found


async def claimed_notice(suite: Suite, account: str, event: UUID) -> Any:
    request = delivery_pb.ClaimRequest(account_id=account, event_id=str(event), claimant="worker-1")
    return await suite.auth.delivery.Claim(request, timeout=10)
