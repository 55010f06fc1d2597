"""M9: no SMS leaves without a captcha, and one is good once."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import services.auth.roles
from devstack import wiring
from devstack.subscriber import BackEnd
from services.auth.captcha.pictures import Challenge
from services.auth.captcha.provider import LONGEST_LIFE
from services.auth.flows.codes import Codes
from services.chassis.sealing import Seal, read_key
from tests.fakes.auth_captchas import claims, token
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import (
    CAPTCHA_TEXT,
    NEW_PASSWORD,
    PASSWORD,
    PHONE,
    PICTURES,
    UNKNOWN_PHONE,
    Suite,
    client,
    refusal,
    refusal_of,
)
from tests.integration.waiting import until

pytestmark = pytest.mark.row("M9")


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each code that otp was asked for."""
    asked: list[str] = []
    issue = Codes.issue

    async def counted(self: Codes, *arguments: Any, **named: Any) -> Any:
        asked.append("issue")
        return await issue(self, *arguments, **named)

    monkeypatch.setattr(Codes, "issue", counted)
    return asked


@pytest.fixture
async def pictured(start: StartSuite, issued: list[str]) -> Suite:
    return await start(auth=PICTURES)


def number(index: int) -> str:
    return f"+7916{index:03d}4567"


async def reason(call: Any) -> str:
    return (await refusal(call)).reason


def proof_until(suite: Suite, expires_at: datetime, captcha_id: bytes | None = None) -> str:
    """Right but for its time, perhaps."""
    made = Challenge(captcha_id or uuid4().bytes, CAPTCHA_TEXT, expires_at)
    return f"{made.close(Seal(read_key(suite.keys_dir / 'auth-flows.key')))}:{CAPTCHA_TEXT}"


@pytest.mark.row("M2")
async def test_a_subscriber_registers_and_recovers_with_a_captcha_before_each_sms(pictured: Suite, issued: list[str]) -> None:
    registration, recovery = pictured.auth.flow("Registration"), pictured.auth.flow("Recovery")
    sent = await registration.start(captcha_proof=await pictured.auth.solved())
    again = await registration.send_again(sent.grant, captcha_proof=await pictured.auth.solved())
    await registration.choose(await registration.confirm(again.grant, await pictured.code_of(again.grant)))
    sent = await recovery.start(captcha_proof=await pictured.auth.solved())
    again = await recovery.send_again(sent.grant, captcha_proof=await pictured.auth.solved())
    await recovery.choose(await recovery.confirm(again.grant, await pictured.code_of(again.grant)), NEW_PASSWORD)
    await pictured.auth.request_temporary(captcha_proof=await pictured.auth.solved())
    assert len(issued) == 5


@pytest.mark.row("M2")
async def test_no_sms_leaves_without_a_captcha(pictured: Suite, issued: list[str]) -> None:
    await pictured.register(captcha_proof=await pictured.auth.solved())
    grants = {
        kind: (await pictured.auth.flow(kind).start(captcha_proof=await pictured.auth.solved())).grant
        for kind in ("Registration", "Recovery")
    }
    before = len(issued)
    for kind, grant in grants.items():
        flow = pictured.auth.flow(kind)
        calls = [flow.start(), flow.start(UNKNOWN_PHONE), flow.send_again(grant)]
        calls.append(pictured.auth.request_temporary())
        assert [await reason(call) for call in calls] == ["CAPTCHA_REQUIRED"] * 4
        for proof in ("invented", "a:b", f":{CAPTCHA_TEXT}", "a.b.c", await pictured.auth.solved("")):
            calls = [flow.start(captcha_proof=proof), flow.send_again(grant, captcha_proof=proof)]
            calls.append(pictured.auth.request_temporary(captcha_proof=proof))
            assert [await reason(call) for call in calls] == ["CAPTCHA_REJECTED"] * 3, proof
    assert len(issued) == before


async def test_of_fifty_calls_with_one_proof_at_once_one_passes(pictured: Suite, issued: list[str]) -> None:
    proof = await pictured.auth.solved()
    async with pictured.sql.transaction():
        await pictured.sql.execute("LOCK TABLE used_captcha IN ACCESS EXCLUSIVE MODE")
        recovery = pictured.auth.flow("Recovery")
        calls = [asyncio.ensure_future(recovery.start(number(index), captcha_proof=proof)) for index in range(50)]
        await pictured.until_waiting_for_locks(10)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    reasons = Counter(refusal_of(one).reason if isinstance(one, BaseException) else "OK" for one in answers)
    assert reasons == {"OK": 1, "CAPTCHA_REJECTED": 49}
    assert len(issued) == 1


async def test_a_captcha_is_one_for_all_calls_and_replicas(pictured: Suite) -> None:
    proof, other = await pictured.auth.solved(), await pictured.start_auth()
    await other.flow("Registration").start(captcha_proof=proof)
    for auth in (pictured.auth, other):
        for call in (auth.flow("Registration").start(captcha_proof=proof), auth.sign_in(captcha_proof=proof)):
            assert await reason(call) == "CAPTCHA_REJECTED"


async def test_a_wrong_answer_uses_the_captcha_up(pictured: Suite, issued: list[str]) -> None:
    captcha_id = (await pictured.auth.picture()).captcha_id
    recovery = pictured.auth.flow("Recovery")
    for answer in ("HAPPY-REPTXY", CAPTCHA_TEXT):
        assert await reason(recovery.start(captcha_proof=f"{captcha_id}:{answer}")) == "CAPTCHA_REJECTED"
    assert not issued


async def test_the_characters_of_one_picture_do_not_answer_another(start: StartSuite) -> None:
    suite = await start(auth={**PICTURES, "captcha_fixed_text": ""})
    seal = Seal(read_key(suite.keys_dir / "auth-flows.key"))
    one, other = [(await suite.auth.picture()).captcha_id for _ in range(2)]
    opened, others = Challenge.open(seal, one), Challenge.open(seal, other)
    assert opened is not None
    assert others is not None
    assert opened.characters != others.characters
    recovery = suite.auth.flow("Recovery")
    assert await reason(recovery.start(captcha_proof=f"{one}:{others.characters}")) == "CAPTCHA_REJECTED"
    await recovery.start(captcha_proof=f"{other}:{others.characters.lower()}")


async def test_an_expired_captcha_is_no_good_and_neither_is_one_that_outlives_its_mark(
    pictured: Suite, issued: list[str]
) -> None:
    recovery, now = pictured.auth.flow("Recovery"), datetime.now(UTC)
    for expires_at in (now - timedelta(seconds=1), now - timedelta(days=2), now + LONGEST_LIFE + timedelta(minutes=1)):
        assert await reason(recovery.start(captcha_proof=proof_until(pictured, expires_at))) == "CAPTCHA_REJECTED"
    assert not issued
    assert await pictured.sql.fetchval("SELECT count(*) FROM used_captcha") == 0
    await recovery.start(captcha_proof=proof_until(pictured, now + timedelta(minutes=1)))


async def test_marks_go_when_their_captchas_have_long_expired_and_not_before(
    start: StartSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.auth.roles, "_HOUSEKEEPING_S", 0.01)
    suite = await start(auth=PICTURES)
    await suite.sql.execute(
        "INSERT INTO used_captcha (captcha_id, expires_at)"
        " VALUES ('new', now() - interval '59 min'), ('old', now() - interval '61 min')"
    )

    async def is_removed() -> bool:
        return not await suite.sql.fetchval("SELECT count(*) FROM used_captcha WHERE captcha_id = 'old'")

    await until("removed", is_removed)
    assert await suite.sql.fetchval("SELECT count(*) FROM used_captcha") == 1


async def test_what_is_not_in_order_costs_no_captcha(pictured: Suite) -> None:
    proof = await pictured.auth.solved()
    recovery, registration = pictured.auth.flow("Recovery"), pictured.auth.flow("Registration")
    grant = (await recovery.start(captcha_proof=await pictured.auth.solved())).grant
    for call, due in (
        (recovery.start("8 916", captcha_proof=proof), "INVALID_REQUEST"),
        (recovery.start(captcha_proof=proof, language="de"), "INVALID_REQUEST"),
        (registration.start("+442079460000", captcha_proof=proof), "INVALID_REQUEST"),
        (recovery.send_again("no grant", captcha_proof=proof), "GRANT_INVALID"),
        (registration.send_again(grant, captcha_proof=proof), "GRANT_INVALID"),
    ):
        assert await reason(call) == due
    await recovery.send_again(grant, captcha_proof=proof)


@pytest.mark.row("M10")
async def test_who_is_too_early_has_used_the_captcha_up(start: StartSuite) -> None:
    suite = await start(auth=PICTURES, otp={"cool_down_s": 300})
    recovery, proof = suite.auth.flow("Recovery"), await suite.auth.solved()
    await recovery.start(captcha_proof=await suite.auth.solved())
    assert await reason(recovery.start(captcha_proof=proof)) == "COOL_DOWN"
    assert await reason(recovery.start(captcha_proof=proof)) == "CAPTCHA_REJECTED"


@pytest.mark.row("B2")
async def test_whose_number_it_is_makes_no_difference_to_what_is_said_about_a_captcha(pictured: Suite) -> None:
    await pictured.register(captcha_proof=await pictured.auth.solved())
    recovery = pictured.auth.flow("Recovery")
    for proof in ("", "invented"):
        answers = [await refusal(recovery.start(phone, captcha_proof=proof)) for phone in (PHONE, UNKNOWN_PHONE)]
        assert answers[0].raw == answers[1].raw


async def test_a_picture_costs_no_row_and_shows_its_characters_to_nobody_else(pictured: Suite) -> None:
    one, other = await pictured.auth.picture(), await pictured.auth.picture()
    assert one.picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert one.picture != other.picture
    assert one.captcha_id != other.captcha_id
    left = one.expires_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(seconds=290) < left <= timedelta(seconds=300)
    assert await pictured.sql.fetchval("SELECT count(*) FROM used_captcha") == 0
    pictured.said.add(CAPTCHA_TEXT)


async def test_where_there_is_no_captcha_nobody_is_asked_and_none_is_made(suite: Suite) -> None:
    await suite.auth.flow("Recovery").start()
    await suite.auth.flow("Recovery").start(captcha_proof="left over")
    assert await reason(suite.auth.picture()) == "CAPTCHA_NOT_OFFERED"


async def test_the_local_stacks_back_end_solves_a_captcha_before_each_call_that_needs_one(start: StartSuite) -> None:
    suite = await start(auth={**PICTURES, "captcha_fixed_text": wiring.CAPTCHA_TEXT})
    back_end, context = BackEnd(suite.auth.channel), client()
    sent = await back_end.start_registration(PHONE, context)
    grant = await back_end.confirm_registration(sent.grant, await suite.code_of(sent.grant), context)
    await back_end.choose_registration_password(grant, PASSWORD, context)
    sent = await back_end.start_recovery(PHONE, context)
    await back_end.send_recovery_code_again(sent.grant, context)
    solved = await back_end.solved(context)
    await back_end.start_recovery(PHONE, solved)
    await back_end.request_temporary_password(PHONE, context)
    assert not context.captcha_proof
    assert (solved.ip, solved.device_id) == (context.ip, context.device_id)


@pytest.fixture
async def outside(start: StartSuite, keys_dir: Path, issued: list[str]) -> tuple[Suite, Ed25519PrivateKey]:
    """An installation whose captchas are an outside service's, and that service's key."""
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (keys_dir / "captcha-token.pem").write_bytes(pem)
    return await start(auth={"captcha_provider": "token"}), key


Outside = tuple[Suite, Ed25519PrivateKey]


async def test_an_outside_services_token_is_good_for_one_sms(outside: Outside, issued: list[str]) -> None:
    suite, key = outside
    recovery, one = suite.auth.flow("Recovery"), claims()
    assert await reason(recovery.start()) == "CAPTCHA_REQUIRED"
    sent = await recovery.start(captcha_proof=token(key, said=one))
    for replayed in (token(key, said=one), token(key, said={**one, "iat": 1}), token(key, said={**one, "exp": one["exp"] + 9})):
        assert await reason(recovery.start(captcha_proof=replayed)) == "CAPTCHA_REJECTED"
    await recovery.send_again(sent.grant, captcha_proof=token(key))
    assert len(issued) == 2
    assert await reason(suite.auth.picture()) == "CAPTCHA_NOT_OFFERED"


async def test_of_fifty_calls_with_one_token_at_once_one_passes(outside: Outside, issued: list[str]) -> None:
    suite, key = outside
    proof = token(key)
    calls = [suite.auth.flow("Recovery").start(number(index), captcha_proof=proof) for index in range(50)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in answers) == len(issued) == 1


async def test_a_token_of_another_key_or_for_another_audience_or_expired_is_rejected(
    outside: Outside, issued: list[str]
) -> None:
    suite, key = outside
    now = int(datetime.now(UTC).timestamp())
    for proof in (
        token(Ed25519PrivateKey.generate()),
        token(key, said=claims(aud="somebody else")),
        token(key, said=claims(exp=now - 1)),
        token(key, said=claims(exp=now + 7200)),
        token(key)[:-8] + "AAAAAAAA",
    ):
        assert await reason(suite.auth.flow("Recovery").start(captcha_proof=proof)) == "CAPTCHA_REJECTED"
    assert not issued
