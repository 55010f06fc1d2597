"""A call that is repeated because its answer was lost: done once, and answered as the first time (docs/adr/0031).

A caller who may repeat a call names it (`client.request_id`). What it came to is kept for minutes, sealed, under a MAC of the
method and the id, beside a MAC of the whole request: the same id with another request is an error.
"""

import asyncio
import hashlib
import hmac
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from services.auth import errors
from services.chassis.errors import ServiceError, invalid, unavailable
from services.chassis.interceptors import Behaviour, Context
from services.chassis.postgres import AWAY, Database
from services.chassis.sealing import Seal
from services.chassis.shielded import Shielded
from services.chassis.telemetry import error_name, logger

KEPT_FOR = timedelta(minutes=5)
# A call that has not ended by then is lost, and its process with it.
_LOST_AFTER = timedelta(seconds=60)
# Anything else is no outcome, or comes to the same again: the repeated call is made anew.
_OUTCOMES = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
    }
)


@dataclass(frozen=True, slots=True)
class _Mine:
    """A call that is to be made. begun_at: whoever takes it over, when it is lost, has another."""

    key: bytes
    begun_at: datetime


class Repeats:
    """A layer around each method whose request says who the client is. key: 32 bytes."""

    def __init__(self, database: Database, key: bytes, shielded: Shielded) -> None:
        self._database = database
        self._names = hmac.digest(key, b"names of requests", hashlib.sha256)
        self._seal = Seal(hmac.digest(key, b"kept answers", hashlib.sha256))
        self._shielded = shielded

    def layer(self, method: str, inner: Behaviour) -> Behaviour:
        of = descriptor_pool.Default().FindMethodByName(method.strip("/").replace("/", "."))
        if "client" not in of.input_type.fields_by_name:
            return inner
        answer_type = message_factory.GetMessageClass(of.output_type)

        async def behaviour(request: Any, context: Context) -> Any:
            if not request.client.request_id:
                return await inner(request, context)
            request_id = _uuid(request.client.request_id)
            key, body = self._mac(method, request_id.bytes), self._mac(method, request.SerializeToString(deterministic=True))
            # What was begun goes on though the caller hangs up: whoever repeats it wants to know what it came to.
            return await asyncio.shield(self._shielded.start(once(key, body, request, context)))

        async def once(key: bytes, body: bytes, request: Any, context: Context) -> Any:
            begun = await self._begin(key, body)
            if not isinstance(begun, _Mine):
                return _read(begun, answer_type)
            try:
                answer = await inner(request, context)
            except BaseException as error:
                if isinstance(error, ServiceError) and error.code in _OUTCOMES:
                    await self._keep(begun, _of_error(error))
                else:
                    await self._forget(begun)
                raise
            await self._keep(begun, {"answer": answer.SerializeToString().hex()})
            return answer

        return behaviour

    async def remove_expired(self) -> None:
        await self._database.execute("DELETE FROM kept_answer WHERE begun_at < clock_timestamp() - $1::interval", KEPT_FOR)

    async def _begin(self, key: bytes, body: bytes) -> _Mine | dict[str, Any]:
        """The call is ours to make; or what it came to.

        Raises ServiceError REQUEST_ID_REUSED, or that it is unavailable: it is under way.
        """
        begun_at: datetime | None = await self._database.fetch_value(
            "INSERT INTO kept_answer AS k (key, body, begun_at) VALUES ($1, $2, clock_timestamp()) ON CONFLICT (key) DO UPDATE"
            " SET body = excluded.body, begun_at = excluded.begun_at, answer = NULL"
            " WHERE k.begun_at < clock_timestamp() - $3::interval"
            " OR k.answer IS NULL AND k.body = excluded.body AND k.begun_at < clock_timestamp() - $4::interval"
            " RETURNING begun_at",
            key, body, KEPT_FOR, _LOST_AFTER,
        )  # fmt: skip
        if begun_at is not None:
            return _Mine(key, begun_at)
        row = await self._database.fetch_row("SELECT body, answer FROM kept_answer WHERE key = $1", key)
        if row is not None and not hmac.compare_digest(row["body"], body):
            raise errors.request_id_reused()
        if row is None or row["answer"] is None:
            raise unavailable()
        kept: dict[str, Any] = json.loads(self._seal.open(row["answer"], key))
        return kept

    async def _keep(self, mine: _Mine, came_to: dict[str, Any]) -> None:
        """Of a call that was taken over meanwhile, nothing."""
        sealed = self._seal.close(json.dumps(came_to).encode(), mine.key)
        try:
            await self._database.execute(
                "UPDATE kept_answer SET answer = $3 WHERE key = $1 AND begun_at = $2", mine.key, mine.begun_at, sealed
            )
        except AWAY as error:
            # Whoever is still there has the answer all the same.
            logger().warning("answer not kept", error=error_name(error))

    async def _forget(self, mine: _Mine) -> None:
        with suppress(*AWAY):
            await self._database.execute("DELETE FROM kept_answer WHERE key = $1 AND begun_at = $2", mine.key, mine.begun_at)

    def _mac(self, method: str, of: bytes) -> bytes:
        return hmac.digest(self._names, method.encode() + b":" + of, hashlib.sha256)


def _uuid(text: str) -> UUID:
    try:
        found = UUID(text)
    except ValueError:
        found = None
    if found is None or str(found) != text.lower():
        raise invalid({"client.request_id": "must be a UUID"})
    return found


def _of_error(error: ServiceError) -> dict[str, Any]:
    return {
        "code": error.code.name,
        "reason": error.reason,
        "message": error.message,
        "metadata": dict(error.metadata),
        "violations": dict(error.violations),
    }


def _read(came_to: dict[str, Any], answer_type: type[Message]) -> Message:
    """Raises ServiceError, as the call did."""
    if "answer" in came_to:
        return answer_type.FromString(bytes.fromhex(came_to["answer"]))
    code = grpc.StatusCode[came_to.pop("code")]
    raise ServiceError(code, **came_to)
