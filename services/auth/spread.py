"""What may say whether a number has an account is held back a little: microseconds of the work say nothing (docs/adr/0037).

How long is drawn by a MAC, once for each number, question and day: whoever asks again learns nothing new. A delay drawn anew
for each call would be averaged out by calling often enough.
"""

import asyncio
import hashlib
import hmac
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf import descriptor_pool

from services.auth.identifiers import named, parse_phone
from services.auth.requests import identifier_in
from services.chassis.errors import OVERLOADED, ServiceError
from services.chassis.interceptors import Behaviour, Context, remaining_s

# Answered with OK only to somebody who has an account, or a code: there is nothing left to hide, and somebody who waits.
_OK_PROVES = frozenset(
    {
        "SignIn",
        "SignInWithTemporaryPassword",
        "ChoosePermanentPassword",
        "ConfirmProposedPassword",
        "ConfirmRegistration",
        "ChooseRegistrationPassword",
        "ConfirmRecovery",
        "ChooseRecoveryPassword",
        "ConfirmEmailChange",
        "LinkNumber",
    }
)
# Said before anybody has looked whose number it is, or because nobody could.
_AT_ONCE = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
    }
)
# A server that refuses for want of places is in no state to be measured by microseconds.
_REFUSED_AT_ONCE = frozenset({OVERLOADED})
# The event loop's timers count whole milliseconds and may be one early. Their answers would say modulo a millisecond what the
# work took: the last of a delay is slept in a thread, where it takes as long as it should.
_BY_THREAD_S = 0.002
_SLEEPERS = 8


class Spread:
    """A layer around each method that a client asks about a number, or about a flow begun with one. key: 32 bytes. most_s: the
    longest delay, in seconds; 0: none. region: as in `identifier_in`.
    """

    def __init__(self, key: bytes, most_s: float, region: str) -> None:
        self._key = hmac.digest(key, b"spread of answers", hashlib.sha256)
        self._most_s = most_s
        self._region = region
        self._sleepers = ThreadPoolExecutor(_SLEEPERS, thread_name_prefix="spread")

    def layer(self, method: str, inner: Behaviour) -> Behaviour:
        if not self._most_s or not is_a_question(method):
            return inner
        ok_proves = method.rpartition("/")[2] in _OK_PROVES

        async def behaviour(request: Any, context: Context) -> Any:
            try:
                answer = await inner(request, context)
            except ServiceError as error:
                if error.code not in _AT_ONCE and error.reason not in _REFUSED_AT_ONCE:
                    await self._hold_back(method, request)
                raise
            if not ok_proves:
                await self._hold_back(method, request)
            return answer

        return behaviour

    async def _hold_back(self, method: str, request: Any) -> None:
        delay_s = self.delay_s(method, named_in(request, self._region), datetime.now(UTC))
        await self.sleep(remaining_s(delay_s))

    async def sleep(self, seconds: float) -> None:
        """Never shorter than that, by the clock's full resolution."""
        due = time.monotonic() + seconds
        if seconds > _BY_THREAD_S:
            await asyncio.sleep(seconds - _BY_THREAD_S)
        await asyncio.get_running_loop().run_in_executor(self._sleepers, _sleep_until, due)

    def delay_s(self, method: str, name: str, now: datetime) -> float:
        """Evenly spread over [0, most_s). name: as `named_in` gives it."""
        asked = "\0".join((method, now.date().isoformat(), name))
        mac = hmac.digest(self._key, asked.encode(), hashlib.sha256)
        return self._most_s * int.from_bytes(mac[:6]) / (1 << 48)


def _sleep_until(due: float) -> None:
    time.sleep(max(0.0, due - time.monotonic()))


def is_a_question(method: str) -> bool:
    """By what its request holds: who the client is, and whom it is about."""
    of = descriptor_pool.Default().FindMethodByName(method.strip("/").replace("/", ".")).input_type
    about_somebody = "identifier" in of.oneofs_by_name or any(name in of.fields_by_name for name in ("phone", "grant"))
    return "client" in of.fields_by_name and about_somebody


def named_in(request: Any, region: str) -> str:
    """Whom it is about, alike however the number is written; the flow's grant where it names no number."""
    fields = request.DESCRIPTOR
    try:
        if "identifier" in fields.oneofs_by_name:
            return named(identifier_in(request, region))
        if "phone" in fields.fields_by_name:
            return named(parse_phone(request.phone, region))
    except ServiceError:
        # Refused for another reason before it was read: no number was looked up.
        return ""
    return str(request.grant)
