"""Requests that are not in order: a typed error that names the field and quotes nothing."""

from typing import Any
from uuid import uuid4

import grpc
import pytest
from zasov.auth.v1 import (
    account_service_pb2,
    captcha_service_pb2,
    delivery_service_pb2,
    registration_service_pb2,
    sign_in_service_pb2,
    token_service_pb2,
)
from zasov.auth.v1.common_pb2 import ClientContext

from tests.integration.auth.suite import IP, PASSWORD, PHONE, Suite, client, refusal

SignIn = sign_in_service_pb2.SignInRequest
Start = registration_service_pb2.StartRegistrationRequest
Confirm = registration_service_pb2.ConfirmRegistrationRequest
Choose = registration_service_pb2.ChooseRegistrationPasswordRequest
Change = account_service_pb2.ChangePasswordRequest
Prove, Link = account_service_pb2.ProveAgainRequest, account_service_pb2.LinkNumberRequest
Unlink, Linked = account_service_pb2.UnlinkNumberRequest, account_service_pb2.ListLinkedNumbersRequest
Claim = delivery_service_pb2.ClaimRequest
Report = delivery_service_pb2.ReportRequest
Picture = captcha_service_pb2.CreateCaptchaRequest
UNKNOWN_FIELD = b"\xf8\x07\x01"  # number 127, a varint
HUGE = "Хх1" * 2_000_000  # 10 MB


def sign_in(**changed: Any) -> SignIn:
    return SignIn(**{"phone": PHONE, "password": PASSWORD, "client": client(), **changed})


def link(**changed: Any) -> Link:
    fields = {"session_token": "CANARY", "proof": "CANARY", "phone": PHONE, "password": PASSWORD, "client": client()}
    return Link(**{**fields, **changed})


CASES: dict[str, tuple[Any, str]] = {
    "no phone": (sign_in(phone=""), "phone"),
    "no identifier": (SignIn(password=PASSWORD, client=client()), "phone"),
    "malformed phone": (sign_in(phone="8 916 CANARY"), "phone"),
    "phone of another kind": (sign_in(phone="CANARY@example.org"), "phone"),
    "10 MB phone": (sign_in(phone="9" * 10_000_000), "phone"),
    "no password": (sign_in(password=""), "password"),
    "257 characters": (sign_in(password="CANARY" + "x" * 251), "password"),
    "10 MB password": (sign_in(password=HUGE), "password"),
    "no client": (SignIn(phone=PHONE, password=PASSWORD), "client.ip"),
    "bad ip": (sign_in(client=client(ip="CANARY")), "client.ip"),
    "bad language": (sign_in(client=client(language="CANARY")), "client.language"),
    "long device": (sign_in(client=client(device_id="CANARY" * 30)), "client.device_id"),
    "unknown field": (SignIn.FromString(sign_in().SerializeToString() + UNKNOWN_FIELD), "#127"),
    "unknown field within": (
        sign_in(client=ClientContext.FromString(client().SerializeToString() + UNKNOWN_FIELD)), "client.#127",
    ),
    "long proof": (Start(phone=PHONE, client=client(captcha_proof="CANARY" * 400)), "client.captcha_proof"),
    "picture for nobody": (Picture(), "client.ip"),
    "start without a phone": (Start(client=client()), "phone"),
    "start without a client": (Start(phone=PHONE), "client.ip"),
    "three digits": (Confirm(grant="CANARY", code="123", client=client()), "code"),
    "five digits": (Confirm(grant="CANARY", code="12345", client=client()), "code"),
    "nine digits": (Confirm(grant="CANARY", code="123456789", client=client()), "code"),
    "no code": (Confirm(grant="CANARY", client=client()), "code"),
    "letters": (Confirm(grant="CANARY", code="CANA", client=client()), "code"),
    "other digits": (Confirm(grant="CANARY", code="١٢٣٤", client=client()), "code"),
    "no grant": (Confirm(code="1234", client=client()), "grant"),
    "choose without a grant": (Choose(password=PASSWORD, client=client()), "grant"),
    "choose nothing": (Choose(grant="CANARY", client=client()), "password"),
    "choose 10 MB": (Choose(grant="CANARY", password=HUGE, client=client()), "password"),
    "change without a session": (Change(old_password=PASSWORD, new_password=PASSWORD, client=client()), "session_token"),
    "change without the old": (Change(session_token="CANARY", new_password=PASSWORD, client=client()), "old_password"),
    "change without the new": (Change(session_token="CANARY", old_password=PASSWORD, client=client()), "new_password"),
    "change to 10 MB": (
        Change(session_token="CANARY", old_password=PASSWORD, new_password=HUGE, client=client()), "new_password",
    ),
    "prove without a session": (Prove(password=PASSWORD, client=client()), "session_token"),
    "prove by nothing": (Prove(session_token="CANARY", client=client()), "password"),
    "link without a session": (link(session_token=""), "session_token"),
    "link without a proof": (link(proof=""), "proof"),
    "link nobody": (Link(session_token="CANARY", proof="CANARY", password=PASSWORD, client=client()), "phone"),
    "link a malformed phone": (link(phone="8 916 CANARY"), "phone"),
    "link by nothing": (link(password=""), "password"),
    "link by 10 MB": (link(password=HUGE), "password"),
    "unlink what is no link": (Unlink(session_token="CANARY", link_id="CANARY", client=client()), "link_id"),
    "links of no session": (Linked(client=client()), "session_token"),
    "introspect nothing": (token_service_pb2.IntrospectRequest(), "token"),
    "claim for nobody": (Claim(account_id="CANARY", event_id=str(uuid4()), claimant="w"), "account_id"),
    "claim of nothing": (Claim(account_id=str(uuid4()), event_id="CANARY", claimant="w"), "event_id"),
    "claim by nobody": (Claim(account_id=str(uuid4()), event_id=str(uuid4())), "claimant"),
    "long claimant": (Claim(account_id=str(uuid4()), event_id=str(uuid4()), claimant="CANARY" * 30), "claimant"),
    "report nothing": (Report(account_id=str(uuid4()), event_id=str(uuid4())), "outcome"),
    "report the unheard of": (Report(account_id=str(uuid4()), event_id=str(uuid4()), outcome=99), "outcome"),  # type: ignore[arg-type]
}  # fmt: skip


def method(suite: Suite, request: Any) -> Any:
    auth = suite.auth
    return {
        SignIn: auth.signing_in.SignIn,
        Start: auth.registration.StartRegistration,
        Confirm: auth.registration.ConfirmRegistration,
        Choose: auth.registration.ChooseRegistrationPassword,
        Change: auth.account.ChangePassword,
        Prove: auth.account.ProveAgain,
        Link: auth.account.LinkNumber,
        Unlink: auth.account.UnlinkNumber,
        Linked: auth.account.ListLinkedNumbers,
        token_service_pb2.IntrospectRequest: auth.tokens.Introspect,
        Claim: auth.delivery.Claim,
        Report: auth.delivery.Report,
        Picture: auth.captchas.CreateCaptcha,
    }[type(request)]


async def test_what_is_wrong_with_a_request_is_named_by_field_and_nothing_of_it_quoted(
    suite: Suite, evaluated: list[bool]
) -> None:
    suite.said |= {"CANARY"}
    for name, (request, field) in CASES.items():
        refused = await refusal(method(suite, request)(request, timeout=20))
        assert (refused.code, refused.reason, list(refused.violations)) == ("INVALID_ARGUMENT", "INVALID_REQUEST", [field]), (
            name
        )
        assert not any(said in refused.raw for said in (b"CANARY", b"916123", PASSWORD.encode(), IP.encode())), name
        assert len(refused.raw) < 300, name
    assert not evaluated
    assert await suite.lockout_sql.fetchval("SELECT count(*) FROM subject") == 0, "no admission was asked for"
    assert await suite.sql.fetchval("SELECT count(*) FROM event") == 0


@pytest.mark.parametrize("sent", [b"\x0a\x01\xff", b"\x0a\x7fCANARY", b"\xff" * 20], ids=["no UTF-8", "cut off", "noise"])
async def test_bytes_that_are_no_message_are_refused_by_type_and_nothing_of_them_quoted(suite: Suite, sent: bytes) -> None:
    for method in ("SignInService/SignIn", "RecoveryService/StartRecovery", "TokenService/Introspect"):
        refused = await refusal(suite.auth.channel.unary_unary(f"/zasov.auth.v1.{method}")(sent, timeout=20))
        assert (refused.code, refused.reason, list(refused.violations)) == ("INVALID_ARGUMENT", "INVALID_REQUEST", ["request"])
        assert b"CANARY" not in refused.raw


async def test_a_call_without_a_deadline_or_with_hardly_any_is_refused(suite: Suite) -> None:
    refused = await refusal(suite.auth.signing_in.SignIn(sign_in()))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "DEADLINE_REQUIRED")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await suite.auth.signing_in.SignIn(sign_in(), timeout=0.05)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert await suite.lockout_sql.fetchval("SELECT count(*) FROM subject") == 0
