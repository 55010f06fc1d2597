"""The main job as a story: registered, signed in, blocked after three wrong passwords, back in by SMS.

Acted out over gRPC by a `Subscriber`; beside each step stand the events that it caused, read back from Kafka. Everything
here is measured; what is expected and does not come ends the story with an error.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from devstack.event_log import EventLog
from devstack.subscriber import Subscriber
from services.chassis.errors import ServiceError

FIRST_PASSWORD = "Winter-in-Tver-26"
WRONG_PASSWORDS = ("Winter-in-Tver-25", "winter-in-tver-26", "Summer-in-Tver-26")
SECOND_PASSWORD = "Spring-in-Pskov-27"
THIRD_PASSWORD = "Steppe-26-larks"
FOURTH_PASSWORD = "Taiga-26-cranes"
PASSWORDS = (FIRST_PASSWORD, *WRONG_PASSWORDS, SECOND_PASSWORD, THIRD_PASSWORD, FOURTH_PASSWORD)


@dataclass
class Step:
    """One thing that the subscriber did. events: what it caused, and when: milliseconds from the request's start."""

    title: str
    outcome: str = ""
    answered_ms: float = 0.0
    events: dict[str, float] = field(default_factory=dict)
    message: str = ""


Act = Callable[[Step], Awaitable[str]]


class StoryWentWrong(Exception):
    """Something other than the story's next line happened."""


class Story:
    """Plays the steps in order; `on_step` is called after each."""

    def __init__(self, subscriber: Subscriber, log: EventLog, on_step: Callable[[Step], None]) -> None:
        self._person = subscriber
        self._log = log
        self._on_step = on_step

    async def play(self) -> dict[str, Any]:
        """Returns what demo.json holds. Raises StoryWentWrong."""
        await self._registers()
        await self._step("signs in", self._signs_in(FIRST_PASSWORD), "LoginSucceeded", "SessionStarted")
        figures = await self._is_blocked_by_wrong_passwords()
        await self._step("the handset is told", self._reads_message, "MessageDelivered")
        await self._step(
            "the right password is refused, too", self._is_refused(FIRST_PASSWORD, "SIGN_IN_BLOCKED"), "LoginRefused"
        )
        figures["forgot_password_to_sms_ms"] = await self._recovers()
        await self._step("signs in with the new password", self._signs_in(SECOND_PASSWORD), "LoginSucceeded", "SessionStarted")
        figures["signed_in_again"] = True
        await self._step(
            "the old password is refused",
            self._is_refused(FIRST_PASSWORD, "CREDENTIALS_REJECTED"),
            "LoginFailed",
            "StrikeRecorded",
        )
        await self._step("the used code is refused, with its grant", self._used_code_is_refused)
        await self._gets_in_with_a_one_time_password()
        await self._proposes_a_password_by_sms()
        figures["events"] = dict(sorted(Counter(one.kind for one in self._log.arrivals).items()))
        return figures

    async def _registers(self) -> None:
        person, back_end = self._person, self._person.back_end

        async def ask(step: Step) -> str:
            self._sent = await back_end.start_registration(person.phone, self._solved)
            return f"a {self._sent.digits}-digit code is on its way, request № {self._sent.tag}"

        async def enter(step: Step) -> str:
            code = await self._reads_code(step)
            self._grant = await back_end.confirm_registration(self._sent.grant, code, person.client)
            return "the number is proven"

        async def choose(step: Step) -> str:
            await back_end.choose_registration_password(self._grant, FIRST_PASSWORD, person.client)
            return "registered and signed in"

        await self._step("looks at a picture", self._solves_captcha)
        await self._step("registers", ask, "OtpIssued", "MessageSubmitted")
        await self._step("enters the code from the SMS", enter, "OtpVerified")
        await self._step("chooses a password", choose, "AccountRegistered", "SessionStarted")

    async def _is_blocked_by_wrong_passwords(self) -> dict[str, Any]:
        to_strike = []
        for number, password in enumerate(WRONG_PASSWORDS, start=1):
            expected = ["LoginFailed", "StrikeRecorded"] + ["AccountBlocked"] * (number == len(WRONG_PASSWORDS))
            step = await self._step(f"wrong password ({number})", self._is_refused(password, "CREDENTIALS_REJECTED"), *expected)
            to_strike.append(step.events["StrikeRecorded"])
        blocked = [one.payload for one in self._log.arrivals if one.kind == "AccountBlocked"]
        strikes = [one.payload.strikes for one in self._log.arrivals if one.kind == "StrikeRecorded"]
        if len(blocked) != 1:
            raise StoryWentWrong(f"{len(blocked)} blocks instead of one")
        return {
            "strikes_to_block": max(strikes),
            "wrong_password_to_strike_ms": round(median(to_strike), 1),
            "third_strike_to_blocked_event_ms": round(step.events["AccountBlocked"], 1),
        }

    async def _recovers(self) -> float:
        """Returns the milliseconds from asking to the SMS on the handset."""
        person, back_end = self._person, self._person.back_end
        await self._step("looks at another picture", self._solves_captcha)
        arrived = asyncio.create_task(self._code_with_time())

        async def ask(step: Step) -> str:
            self._sent = await back_end.start_recovery(person.phone, self._solved)
            return f"a {self._sent.digits}-digit code is on its way, request № {self._sent.tag}"

        async def arrive(step: Step) -> str:
            self._code, step.message, _ = await arrived
            return "SMS"

        async def enter(step: Step) -> str:
            self._grant = await back_end.confirm_recovery(self._sent.grant, self._code, person.client)
            return "the number is proven"

        async def choose(step: Step) -> str:
            await back_end.choose_recovery_password(self._grant, SECOND_PASSWORD, person.client)
            return "the block is lifted; other sessions have ended"

        asked_at = time.perf_counter()
        await self._step("forgot the password", ask, "OtpIssued", "MessageSubmitted")
        await self._step("the code arrives", arrive)
        await self._step("enters the code", enter, "OtpVerified")
        await self._step("chooses a new password", choose, "PasswordReset", "SessionEnded", "AccountUnblocked")
        return round((arrived.result()[2] - asked_at) * 1000, 1)

    async def _solves_captcha(self, step: Step) -> str:
        self._solved = await self._person.back_end.solved(self._person.client)
        return "the captcha is solved"

    async def _gets_in_with_a_one_time_password(self) -> None:
        person, back_end = self._person, self._person.back_end

        async def ask(step: Step) -> str:
            asked = await back_end.request_temporary_password(person.phone, self._solved)
            self._grant = asked.grant
            return f"one is on its way, request № {asked.tag}; nothing has changed yet"

        async def use(step: Step) -> str:
            password, step.message = await person.read_temporary_password()
            self._grant = await back_end.sign_in_with_temporary_password(person.phone, password, person.client, self._grant)
            return "right, and used up; a permanent one must be chosen"

        async def choose(step: Step) -> str:
            await back_end.choose_permanent_password(self._grant, THIRD_PASSWORD, person.client)
            return "signed in"

        await self._step("looks at a third picture", self._solves_captcha)
        await self._step("asks for a one-time password", ask, "OtpIssued", "MessageSubmitted")
        await self._step("signs in with it", use, "OtpVerified", "TemporaryPasswordUsed", "SessionEnded")
        await self._step("chooses a permanent password", choose, "PasswordReset", "SessionStarted")

    async def _proposes_a_password_by_sms(self) -> None:
        person, back_end = self._person, self._person.back_end

        async def text(step: Step) -> str:
            await person.texts("111", f"25 {FOURTH_PASSWORD}")
            return "SMS to 111: 25 and a password"

        async def use(step: Step) -> str:
            password, step.message = await person.read_temporary_password()
            self._grant = await back_end.sign_in_with_temporary_password(person.phone, password, person.client)
            return "right; which password did you propose?"

        async def confirm(step: Step) -> str:
            await back_end.confirm_proposed_password(self._grant, FOURTH_PASSWORD, person.client)
            return "it is permanent, and the handset is told"

        await self._step("proposes a password by SMS", text, "SmsReceived", "PasswordProposed", "OtpIssued", "MessageSubmitted")
        await self._step("signs in with the one-time password", use, "OtpVerified", "TemporaryPasswordUsed")
        await self._step("types the proposed one again", confirm, "PasswordReset", "MessageSubmitted")
        await self._step("signs in with it", self._signs_in(FOURTH_PASSWORD), "LoginSucceeded")

    def _signs_in(self, password: str) -> Act:
        async def act(step: Step) -> str:
            await self._person.sign_in(password)
            return "signed in"

        return act

    def _is_refused(self, password: str, reason: str) -> Act:
        async def act(step: Step) -> str:
            error = await self._person.refused(password)
            if error is None or error.reason != reason:
                raise StoryWentWrong(f"{reason} was expected, {error.reason if error else 'a session'} came")
            return _in_words(error)

        return act

    async def _used_code_is_refused(self, step: Step) -> str:
        try:
            await self._person.back_end.confirm_recovery(self._sent.grant, self._code, self._person.client)
        except ServiceError as error:
            if error.reason != "GRANT_INVALID":
                raise StoryWentWrong(f"GRANT_INVALID was expected, {error.reason} came") from None
            return _in_words(error)
        raise StoryWentWrong("a used code was taken once more")

    async def _reads_message(self, step: Step) -> str:
        step.message = (await self._person.next_message()).text
        return "SMS"

    async def _reads_code(self, step: Step) -> str:
        code, step.message, _ = await self._code_with_time()
        return code

    async def _code_with_time(self) -> tuple[str, str, float]:
        """The code, the message, and the moment at which the handset had it."""
        message = await self._person.next_code_message()
        return message.code, message.text, time.perf_counter()

    async def _step(self, title: str, act: Act, *causes: str) -> Step:
        step, since, started = Step(title), len(self._log.arrivals), time.perf_counter()
        step.outcome = await act(step)
        step.answered_ms = (time.perf_counter() - started) * 1000
        for kind in causes:
            try:
                found = await self._log.wait(lambda one, kind=kind: one.kind == kind, after=since)  # type: ignore[misc]
            except TimeoutError:
                raise StoryWentWrong(f"{kind} never came after “{title}”") from None
            step.events[kind] = (found.at - started) * 1000
        self._on_step(step)
        return step


def _in_words(error: ServiceError) -> str:
    left = error.metadata.get("attempts_left")
    return f"refused: {error.reason}" + (f", {left} left" if left is not None else "")
