"""Known and unknown numbers are answered the same, and for the same work. Their times: `make test-enumeration`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from zasov.auth.v1 import account_service_pb2, recovery_service_pb2, registration_service_pb2, sign_in_service_pb2

from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.links import prove
from tests.integration.auth.notifying import QUIET_S, after_the_quiet, notifying, urls_with_a_clock
from tests.integration.auth.numbers import (
    EMAIL,
    EMAIL_CHANNEL,
    PHONE_CHANNEL,
    contacts_of,
    put,
    start_by,
    temporary_by,
)
from tests.integration.auth.sights import Call, Work, counting, seen, spent
from tests.integration.auth.suite import (
    CAPTCHA_TEXT,
    OTHER_PHONE,
    PASSWORD,
    PHONE,
    PICTURES,
    UNKNOWN_PHONE,
    Suite,
    client,
)
from tests.integration.databases import Databases

WRONG = "Wrong-1-password"
# Somebody's, with another language than the default; nobody's.
NUMBERS = {"known": PHONE, "unknown": OTHER_PHONE}
# Who links them.
OWNER = UNKNOWN_PHONE


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return counting(monkeypatch)


Starting = Callable[[], Awaitable[Suite]]
# Does what must come before, and says what to call.
Ask = Callable[[Suite, str], Awaitable[Call]]


def sign_in_call(suite: Suite, phone: str, password: str = WRONG) -> Call:
    request = sign_in_service_pb2.SignInRequest(phone=phone, password=password, client=client())
    return lambda: suite.auth.signing_in.SignIn(request, timeout=20)


def flow_call(suite: Suite, kind: str, method: str, captcha_proof: str = "", **fields: Any) -> Call:
    stub, pb = {
        "Registration": (suite.auth.registration, registration_service_pb2),
        "Recovery": (suite.auth.recovery, recovery_service_pb2),
    }[kind]
    request = getattr(pb, f"{method}Request")(client=client(captcha_proof=captcha_proof), **fields)
    return lambda: getattr(stub, method)(request, timeout=20)


async def _sign_in(suite: Suite, phone: str) -> Call:
    return sign_in_call(suite, phone)


async def _sign_in_blocked(suite: Suite, phone: str) -> Call:
    await suite.wrong(3, phone)
    return sign_in_call(suite, phone, PASSWORD)


def _when_blocked(ask: Ask) -> Ask:
    async def blocked(suite: Suite, phone: str) -> Call:
        await suite.wrong(3, phone)
        return await ask(suite, phone)

    return blocked


async def _sign_in_full(suite: Suite, phone: str) -> Call:
    for _ in range(3):
        await seen(sign_in_call(suite, phone))
    return sign_in_call(suite, phone)


def _start(kind: str, **fields: Any) -> Ask:
    async def ask(suite: Suite, phone: str) -> Call:
        return flow_call(suite, kind, f"Start{kind}", phone=phone, **fields)

    return ask


def _confirm(kind: str, after: int) -> Ask:
    async def ask(suite: Suite, phone: str) -> Call:
        sent = await suite.auth.flow(kind).start(phone)
        wrong = flow_call(suite, kind, f"Confirm{kind}", grant=sent.grant, code="00000000")
        for _ in range(after):
            await seen(wrong)
        return wrong

    return ask


def _another_code(**fields: Any) -> Ask:
    async def ask(suite: Suite, phone: str) -> Call:
        sent = await suite.auth.flow("Recovery").start(phone)
        return flow_call(suite, "Recovery", "SendRecoveryCodeAgain", grant=sent.grant, **fields)

    return ask


async def _choose_without_right(suite: Suite, phone: str) -> Call:
    sent = await suite.auth.flow("Recovery").start(phone)
    return flow_call(suite, "Recovery", "ChooseRecoveryPassword", grant=sent.grant, password=PASSWORD)


async def _recover_too_soon(suite: Suite, phone: str) -> Call:
    await suite.auth.flow("Recovery").start(phone)
    return flow_call(suite, "Recovery", "StartRecovery", phone=phone)


def _captcha(method: str, answer: str | None) -> Ask:
    async def ask(suite: Suite, phone: str) -> Call:
        proof = "" if answer is None else await suite.auth.solved(answer)
        return flow_call(suite, "Recovery", method, proof, phone=phone)

    return ask


async def _another_code_without_captcha(suite: Suite, phone: str) -> Call:
    sent = await suite.auth.flow("Recovery").start(phone, captcha_proof=await suite.auth.solved())
    return flow_call(suite, "Recovery", "SendRecoveryCodeAgain", grant=sent.grant)


async def _request_temporary(suite: Suite, phone: str, **fields: Any) -> Call:
    request = recovery_service_pb2.RequestTemporaryPasswordRequest(phone=phone, client=client(), **fields)
    return lambda: suite.auth.recovery.RequestTemporaryPassword(request, timeout=20)


async def _request_temporary_by_email(suite: Suite, phone: str) -> Call:
    return await _request_temporary(suite, phone, channel=EMAIL_CHANNEL)


async def _request_temporary_too_soon(suite: Suite, phone: str) -> Call:
    await suite.auth.request_temporary(phone)
    return await _request_temporary(suite, phone)


def _use_temporary(characters: int) -> Ask:
    """Of the length that says which is meant."""

    async def ask(suite: Suite, phone: str) -> Call:
        request = sign_in_service_pb2.SignInWithTemporaryPasswordRequest(
            phone=phone, temporary_password="2" * characters, client=client()
        )
        return lambda: suite.auth.signing_in.SignInWithTemporaryPassword(request, timeout=20)

    return ask


async def _use_temporary_asked_for(suite: Suite, phone: str) -> Call:
    await suite.auth.request_temporary(phone)
    return await _use_temporary(characters=8)(suite, phone)


async def _use_temporary_for_the_fourth_time(suite: Suite, phone: str) -> Call:
    wrong = await _use_temporary_asked_for(suite, phone)
    for _ in range(3):
        await seen(wrong)
    return wrong


def _use_temporary_with_grant(after: int, of: str = "") -> Ask:
    """of: the number that the grant is of; empty: of the same."""

    async def ask(suite: Suite, phone: str) -> Call:
        request = sign_in_service_pb2.SignInWithTemporaryPasswordRequest(
            phone=phone,
            temporary_password="2" * 8,
            client=client(),
            grant=(await suite.auth.request_temporary(of or phone)).grant,
        )
        for _ in range(after):
            await seen(lambda: suite.auth.signing_in.SignInWithTemporaryPassword(request, timeout=20))
        return lambda: suite.auth.signing_in.SignInWithTemporaryPassword(request, timeout=20)

    return ask


def _delivery(kind: str, is_quiet: bool = False, after: int = 0, one_time: bool = False) -> Ask:
    """Of a message that has arrived, if there is one; where there is none, as many arrive. is_quiet: in its first seconds."""
    pb: Any = {"Registration": registration_service_pb2, "Recovery": recovery_service_pb2}[kind]

    async def ask(suite: Suite, phone: str) -> Call:
        sent = await (suite.auth.request_temporary(phone) if one_time else suite.auth.flow(kind).start(phone))
        if kind == "Registration" or phone == NUMBERS["known"]:
            assert suite.notifier
            await suite.notifier.deliver(suite, sent.grant)
        if not is_quiet:
            await after_the_quiet(suite)
        request = getattr(pb, f"{kind}ServiceGetDeliveryRequest")(grant=sent.grant, client=client())
        stub = suite.auth.registration if kind == "Registration" else suite.auth.recovery
        for _ in range(after):
            await stub.GetDelivery(request, timeout=20)
        return lambda: stub.GetDelivery(request, timeout=20)

    return ask


def _link(after: int) -> Ask:
    """By somebody else, who has an account."""

    async def ask(suite: Suite, phone: str) -> Call:
        token = (await suite.auth.sign_in(OWNER)).token if await _is_known(suite) else (await suite.register(OWNER)).token
        request = account_service_pb2.LinkNumberRequest(
            session_token=token, proof=await prove(suite, token), phone=phone, password=WRONG, client=client()
        )
        for _ in range(after):
            await seen(lambda: suite.auth.account.LinkNumber(request, timeout=20))
            await suite.play_stream()
        return lambda: suite.auth.account.LinkNumber(request, timeout=20)

    async def _is_known(suite: Suite) -> bool:
        return await suite.accounts() == 2

    return ask


def _number_of(phone: str) -> str:
    return f"60{phone[-8:]}"


def _by_number(ask: Callable[[Suite, dict[str, str]], Awaitable[Call]]) -> Ask:
    """About an account number: linked to the phone if somebody has it, nobody's if nobody has."""

    async def asked(suite: Suite, phone: str) -> Call:
        if phone == NUMBERS["known"]:
            email = {"email": EMAIL} if suite.said & {EMAIL} else {}
            await put(suite.auth, phone=phone, account_numbers=[_number_of(phone)], **email)
        return await ask(suite, {"account_number": _number_of(phone)})

    return asked


async def _sign_in_by_number(suite: Suite, identifier: dict[str, str]) -> Call:
    request = sign_in_service_pb2.SignInRequest(password=WRONG, client=client(), **identifier)
    return lambda: suite.auth.signing_in.SignIn(request, timeout=20)


async def _sign_in_by_number_blocked(suite: Suite, identifier: dict[str, str]) -> Call:
    wrong = await _sign_in_by_number(suite, identifier)
    for _ in range(3):
        await seen(wrong)
        await suite.play_stream()
    return wrong


async def _recover_by_number(suite: Suite, identifier: dict[str, str]) -> Call:
    return flow_call(suite, "Recovery", "StartRecovery", **identifier)


async def _list(suite: Suite, identifier: dict[str, str]) -> Call:
    return flow_call(suite, "Recovery", "ListContacts", **identifier)


async def _list_by_phone(suite: Suite, phone: str) -> Call:
    return await _list(suite, {"phone": phone})


def _list_with(answer: str | None) -> Callable[[Suite, dict[str, str]], Awaitable[Call]]:
    async def ask(suite: Suite, identifier: dict[str, str]) -> Call:
        proof = "" if answer is None else await suite.auth.solved(answer)
        return flow_call(suite, "Recovery", "ListContacts", proof, **identifier)

    return ask


def _choose(channel: Any) -> Callable[[Suite, dict[str, str]], Awaitable[Call]]:
    async def ask(suite: Suite, identifier: dict[str, str]) -> Call:
        grant = (await contacts_of(suite.auth, **identifier)).grant
        request = recovery_service_pb2.SendRecoveryCodeRequest(grant=grant, channel=channel, client=client())
        return lambda: suite.auth.recovery.SendRecoveryCode(request, timeout=20)

    return ask


async def _choose_too_soon(suite: Suite, identifier: dict[str, str]) -> Call:
    await start_by(suite.auth, **identifier)
    return await _choose(PHONE_CHANNEL)(suite, identifier)


async def _use_temporary_by_number(suite: Suite, identifier: dict[str, str]) -> Call:
    await temporary_by(suite.auth, **identifier)
    request = sign_in_service_pb2.SignInWithTemporaryPasswordRequest(
        temporary_password="22222222", client=client(), **identifier
    )
    return lambda: suite.auth.signing_in.SignInWithTemporaryPassword(request, timeout=20)


# A new answer joins with a line.
ASKED: dict[str, Ask] = {
    "sign-in": _sign_in,
    "sign-in, blocked": _sign_in_blocked,
    "sign-in, every place taken": _sign_in_full,
    "link": _link(after=0),
    "link, blocked": _link(after=3),
    "registration": _start("Registration"),
    "registration, wrong code": _confirm("Registration", after=0),
    "recovery": _start("Recovery"),
    "recovery, blocked": _when_blocked(_start("Recovery")),
    "recovery, too soon": _recover_too_soon,
    "recovery by email, of which there is none": _start("Recovery", channel=EMAIL_CHANNEL),
    "recovery, another code": _another_code(),
    "recovery, another code by email, of which there is none": _another_code(channel=EMAIL_CHANNEL),
    "recovery, wrong code": _confirm("Recovery", after=0),
    "recovery, third wrong code": _confirm("Recovery", after=2),
    "recovery, fourth wrong code": _confirm("Recovery", after=3),
    "recovery, password without a right code": _choose_without_right,
    "recovery, no captcha": _captcha("StartRecovery", None),
    "recovery, wrong captcha": _captcha("StartRecovery", "wrong"),
    "recovery, solved captcha": _captcha("StartRecovery", CAPTCHA_TEXT),
    "one-time password, no captcha": _captcha("RequestTemporaryPassword", None),
    "one-time password, solved captcha": _captcha("RequestTemporaryPassword", CAPTCHA_TEXT),
    "recovery, another code, no captcha": _another_code_without_captcha,
    "one-time password": _request_temporary,
    "one-time password by email, of which there is none": _request_temporary_by_email,
    "one-time password, too soon": _request_temporary_too_soon,
    "one-time password, never asked for": _use_temporary(characters=8),
    "handset's one-time password, never asked for": _use_temporary(characters=10),
    "office's one-time password, never asked for": _use_temporary(characters=12),
    "one-time password, wrong": _use_temporary_asked_for,
    "one-time password, fourth wrong": _use_temporary_for_the_fourth_time,
    "one-time password with its grant, wrong": _use_temporary_with_grant(after=0),
    "one-time password with its grant, fourth wrong": _use_temporary_with_grant(after=3),
    "one-time password, the grant of another number": _use_temporary_with_grant(after=0, of="+79161234599"),
    "sign-in by number": _by_number(_sign_in_by_number),
    "sign-in by number, blocked": _by_number(_sign_in_by_number_blocked),
    "recovery by number": _by_number(_recover_by_number),
    "one-time password by number, wrong": _by_number(_use_temporary_by_number),
    "contacts": _list_by_phone,
    "contacts by number": _by_number(_list),
    "contacts by number, with email": _by_number(_list),
    "contacts by number, no captcha": _by_number(_list_with(None)),
    "contacts by number, solved captcha": _by_number(_list_with(CAPTCHA_TEXT)),
    "choice of phone": _by_number(_choose(PHONE_CHANNEL)),
    "choice of email, with email": _by_number(_choose(EMAIL_CHANNEL)),
    "choice of email that was not shown": _by_number(_choose(EMAIL_CHANNEL)),
    "choice, too soon": _by_number(_choose_too_soon),
    "delivery": _delivery("Recovery"),
    "delivery, asked again": _delivery("Recovery", after=1),
    "delivery, in its first seconds": _delivery("Recovery", is_quiet=True),
    "delivery, of a registration": _delivery("Registration"),
    "delivery, of a one-time password": _delivery("Recovery", one_time=True),
}


@pytest.fixture
async def urls(databases: Databases) -> AsyncIterator[dict[str, str]]:
    async with urls_with_a_clock(databases) as urls:
        yield urls


@pytest.fixture
async def starting(start: StartSuite, databases: Databases, asked: str) -> AsyncIterator[Starting]:
    """With what the answer needs."""

    async def started(**auth: Any) -> Suite:
        return await start(
            auth={
                **(PICTURES if "captcha" in asked else {}),
                "decoy_email_share": float("with email" in asked),
                "decoy_phone_share": 1.0,
                **auth,
            },
            lockout={"admission_wait_s": 0},
            otp={"cool_down_s": 300} if "too soon" in asked else None,
        )

    if not asked.startswith("delivery"):
        yield started
        return
    async with notifying(databases) as notifier:

        async def telling() -> Suite:
            suite = await started(notifier_address=notifier.address, delivery_quiet_s=QUIET_S, decoys_delivered_sms=1.0)
            suite.notifier = notifier
            return suite

        yield telling


@pytest.mark.row("B1")
@pytest.mark.parametrize("asked", ASKED)
async def test_an_answer_about_nobody_looks_the_same_and_costs_the_same(work: Work, starting: Starting, asked: str) -> None:
    suite = await starting()
    suite.said |= {EMAIL} if "with email" in asked else set()
    proof = {"captcha_proof": await suite.auth.solved()} if "captcha" in asked else {}
    await suite.register(NUMBERS["known"], language="en", **proof)
    costs, sights = {}, {}
    for who, phone in NUMBERS.items():
        call = await ASKED[asked](suite, phone)
        with spent(work) as costs[who]:
            sights[who] = await seen(call)
    assert sights["known"] == sights["unknown"]
    assert costs["known"] == costs["unknown"]
    assert costs["known"].calls or "no captcha" in asked


@pytest.mark.row("B1")
@pytest.mark.parametrize("asked", ["recovery", "recovery, another code"])
async def test_a_flow_of_nobody_is_as_long_as_another(start: StartSuite, asked: str) -> None:
    """To open and close it takes as long, and a dump of the table does not tell which is which."""
    suite = await start()
    await suite.register(NUMBERS["known"])
    lengths = []
    for phone in NUMBERS.values():
        await suite.sql.execute("DELETE FROM flow")
        call = await ASKED[asked](suite, phone)
        await call()
        lengths.append(await suite.sql.fetchval("SELECT octet_length(details) FROM flow"))
    # A time that happens to have no microseconds is written in seven characters less.
    assert abs(lengths[0] - lengths[1]) <= 7, lengths
