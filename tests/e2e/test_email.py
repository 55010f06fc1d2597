"""A code by email through the whole system: otp, Kafka, the notifier, a mail server."""

from uuid import uuid4

import grpc
import pytest
from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_RECOVERY
from zasov.otp.v1 import otp_service_pb2 as otp_pb
from zasov.otp.v1.otp_service_pb2_grpc import OtpServiceStub

from tests.e2e.system import System, code_in


@pytest.mark.row("M11")
@pytest.mark.row("M20")
async def test_a_code_that_goes_by_email_arrives_with_its_text_and_its_html_and_is_right(system: System) -> None:
    address, subject, flow = f"{uuid4().hex}@example.com", str(uuid4()), str(uuid4())
    async with grpc.aio.insecure_channel(system.stack.at.grpc["otp"]) as channel:
        codes = OtpServiceStub(channel)
        issued = await codes.Issue(
            otp_pb.IssueRequest(
                subject_id=subject,
                flow_id=flow,
                purpose=OTP_PURPOSE_RECOVERY,
                destination=otp_pb.Destination(email=address, language="en"),
            ),
            timeout=10,
        )
        mail = await system.mailboxes.wait(address, timeout=20.0)
        assert mail.secured
        assert mail.headers["Auto-Submitted"] == "auto-generated"
        assert f"No. {issued.tag}" in mail.text
        code = code_in(mail)
        assert len(code) == issued.digits
        assert code in mail.html
        checked = await codes.Verify(
            otp_pb.VerifyRequest(
                challenge_id=issued.challenge_id,
                subject_id=subject,
                flow_id=flow,
                purpose=OTP_PURPOSE_RECOVERY,
                code=code,
            ),
            timeout=10,
        )
        assert checked.outcome == otp_pb.VERIFY_OUTCOME_RIGHT
