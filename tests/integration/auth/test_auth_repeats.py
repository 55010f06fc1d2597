"""A call that is repeated because its answer was lost: done once, and answered as the first time."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from zasov.auth.v1.recovery_service_pb2 import ChooseRecoveryPasswordRequest
from zasov.auth.v1.sign_in_service_pb2 import SignInRequest

import services.auth.roles
from tests.integration.auth.conftest import Gate, StartSuite
from tests.integration.auth.suite import NEW_PASSWORD, PASSWORD, PHONE, Suite, client, refusal, refusal_of
from tests.integration.waiting import until

WRONG = "Ne-tot-parol-0"
pytestmark = pytest.mark.row("M21")


def new_id() -> str:
    return str(uuid4())


@pytest.mark.row("B1")
async def test_a_wrong_password_that_is_repeated_with_its_id_is_one_guess(suite: Suite, evaluated: list[bool]) -> None:
    await suite.register()
    request_id = new_id()
    answers = [await refusal(suite.auth.sign_in(password=WRONG, request_id=request_id)) for _ in range(5)]
    assert {answer.raw for answer in answers} == {answers[0].raw}
    assert answers[0].metadata["attempts_left"] == "2"
    assert evaluated == [False]
    another = await refusal(suite.auth.sign_in(password=WRONG, request_id=new_id()))
    assert another.metadata["attempts_left"] == "1"


async def test_a_session_whose_token_was_lost_is_given_again_and_not_begun_again(suite: Suite) -> None:
    await suite.register()
    request_id = new_id()
    first, second = [await suite.auth.sign_in(request_id=request_id) for _ in range(2)]
    assert first == second
    assert await suite.auth.is_active(first.token)
    assert await suite.sql.fetchval("SELECT count(*) FROM event WHERE type = 'LoginSucceeded'") == 1


@pytest.mark.row("M4")
async def test_a_used_grant_is_good_again_for_the_same_request_alone(suite: Suite) -> None:
    await suite.register()
    grant = await suite.confirmed("Recovery")

    async def choose(password: str, request_id: str) -> Any:
        request = ChooseRecoveryPasswordRequest(grant=grant, password=password, client=client(request_id=request_id))
        return (await suite.auth.recovery.ChooseRecoveryPassword(request, timeout=20)).session

    request_id = new_id()
    session = await choose(NEW_PASSWORD, request_id)
    assert await choose(NEW_PASSWORD, request_id) == session
    reused = await refusal(choose("Vesna-na-Volge-7", request_id))
    assert (reused.code, reused.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert set(reused.violations) == {"client.request_id"}
    assert (await refusal(choose(NEW_PASSWORD, new_id()))).reason == "GRANT_INVALID"
    assert await suite.sql.fetchval("SELECT count(*) FROM event WHERE type = 'PasswordReset'") == 1


async def test_an_id_names_a_request_of_one_method(suite: Suite) -> None:
    await suite.register()
    request_id = new_id()
    await suite.auth.sign_in(request_id=request_id)
    assert (await suite.auth.flow("Recovery").start(request_id=request_id)).grant


async def test_who_hangs_up_asks_again_and_is_told_what_it_came_to(suite: Suite, gate: Gate, evaluated: list[bool]) -> None:
    await suite.register()
    request = SignInRequest(phone=PHONE, password=PASSWORD, client=client(request_id=new_id()))
    gate.clear()
    gate.reached.clear()
    call = suite.auth.signing_in.SignIn(request, timeout=20)
    waiting = asyncio.ensure_future(call)
    assert await asyncio.to_thread(gate.reached.wait, 10)
    under_way = await refusal(suite.auth.signing_in.SignIn(request, timeout=20))
    assert (under_way.code, under_way.retry_s) == ("UNAVAILABLE", 1)
    call.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    gate.set()

    async def is_kept() -> bool:
        return bool(await suite.sql.fetchval("SELECT count(answer) FROM kept_answer"))

    await until("the answer is kept", is_kept)
    session = (await suite.auth.signing_in.SignIn(request, timeout=20)).session
    assert await suite.auth.is_active(session.token)
    assert evaluated == [True]


async def test_of_twenty_at_once_with_one_id_one_is_made(suite: Suite, evaluated: list[bool]) -> None:
    await suite.register()
    request_id = new_id()
    calls = [refusal(suite.auth.sign_in(password=WRONG, request_id=request_id)) for _ in range(20)]
    answers = await asyncio.gather(*calls)
    assert {answer.reason for answer in answers} <= {"CREDENTIALS_REJECTED", "TEMPORARILY_UNAVAILABLE"}
    assert evaluated == [False]


async def test_what_was_refused_for_want_of_room_is_made_when_there_is_some(start: StartSuite, gate: Gate) -> None:
    suite = await start(auth={"hash_places": 1, "hash_threads": 1})
    await suite.register()
    gate.clear()
    gate.reached.clear()
    first = asyncio.create_task(suite.auth.sign_in())
    assert await asyncio.to_thread(gate.reached.wait, 10)
    request_id = new_id()
    await suite.sql.execute("ALTER TABLE kept_answer ADD CONSTRAINT no_more CHECK (false) NOT VALID")
    assert (await refusal(suite.auth.sign_in(request_id=request_id))).reason == "OVERLOADED", "before anything is stored"
    await suite.sql.execute("ALTER TABLE kept_answer DROP CONSTRAINT no_more")
    gate.set()
    await first
    assert (await suite.auth.sign_in(request_id=request_id)).token


async def test_an_answer_is_kept_sealed_and_for_five_minutes(suite: Suite, evaluated: list[bool]) -> None:
    await suite.register()
    request_id = new_id()
    session = await suite.auth.sign_in(request_id=request_id)
    row = await suite.sql.fetchrow("SELECT * FROM kept_answer")
    stored = b"".join((row["key"], row["body"], row["answer"]))
    for said in (session.token, PASSWORD, PHONE):
        assert said.encode() not in stored
    await suite.sql.execute("UPDATE kept_answer SET begun_at = begun_at - interval '5 minutes 1 second'")
    another = await suite.auth.sign_in(request_id=request_id)
    assert another.token != session.token
    assert evaluated == [True, True]


async def test_kept_answers_go_when_their_time_is_over_and_not_before(
    start: StartSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.auth.roles, "_HOUSEKEEPING_S", 0.01)
    suite = await start()
    await suite.sql.execute(
        "INSERT INTO kept_answer (key, body, begun_at)"
        " VALUES ('new', '', now() - interval '4 min'), ('old', '', now() - interval '6 min')"
    )

    async def is_removed() -> bool:
        return not await suite.sql.fetchval("SELECT count(*) FROM kept_answer WHERE key = 'old'")

    await until("removed", is_removed)
    assert await suite.sql.fetchval("SELECT count(*) FROM kept_answer") == 1


async def test_a_call_that_was_lost_with_its_process_is_made_anew(suite: Suite) -> None:
    await suite.register()
    request_id = new_id()
    session = await suite.auth.sign_in(request_id=request_id)
    await suite.sql.execute("UPDATE kept_answer SET answer = NULL")
    lost = await refusal(suite.auth.sign_in(request_id=request_id))
    assert lost.code == "UNAVAILABLE"
    await suite.sql.execute("UPDATE kept_answer SET begun_at = begun_at - interval '61 seconds'")
    assert (await suite.auth.sign_in(request_id=request_id)).token != session.token


@pytest.mark.parametrize("request_id", ["1", "not-a-uuid", "{00000000-0000-0000-0000-000000000001}"])
async def test_an_id_that_is_no_uuid_is_refused_by_field(suite: Suite, request_id: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        await suite.auth.sign_in(request_id=request_id)
    refused = refusal_of(caught.value)
    assert (refused.code, set(refused.violations)) == ("INVALID_ARGUMENT", {"client.request_id"})
