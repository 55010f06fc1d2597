"""How tests and the command line talk to a simulator: one JSON line in, one out, on loopback alone."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Answer = dict[str, Any]
Operation = Callable[..., Awaitable[Answer]]
# A mailbox in one line.
_LINE_LIMIT = 64 * 1024 * 1024


class ControlServer:
    """operations: by name; the request's other keys are their arguments. A TypeError or ValueError is a refusal, and told."""

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request. A client that goes away takes its wait with it."""
        try:
            request = asyncio.ensure_future(self._answer(await reader.readline()))
            gone = asyncio.ensure_future(reader.read(1))
            try:
                await asyncio.wait({request, gone}, return_when=asyncio.FIRST_COMPLETED)
                if request.done():
                    writer.write(json.dumps(request.result()).encode() + b"\n")
                    await writer.drain()
            finally:
                for task in (request, gone):
                    task.cancel()
                await asyncio.gather(request, gone, return_exceptions=True)
        except (OSError, ValueError):
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            request = json.loads(line)
            operation = self._operations[request.pop("op")]
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"ok": False, "error": f"one of {', '.join(self._operations)} is wanted"}
        try:
            return {"ok": True, **await operation(**request)}
        except (TypeError, ValueError) as error:
            return {"ok": False, "error": str(error)}


class ControlClient:
    """what: whom it talks to, for messages. Raises `unavailable` when nobody is there, and `refused` with what was said."""

    def __init__(self, address: str, what: str, unavailable: type[Exception], refused: type[Exception]) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._what = what
        self._unavailable = unavailable
        self._refused = refused

    async def call(self, op: str, **arguments: Any) -> Answer:
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=_LINE_LIMIT)
        except OSError:
            raise self._unavailable(f"no {self._what} answers at {self._host}:{self._port}") from None
        try:
            writer.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
            line = await reader.readline()
        except OSError:
            line = b""
        finally:
            writer.transport.abort()
        if not line:
            raise self._unavailable(f"the {self._what} at {self._host}:{self._port} went away")
        answer: Answer = json.loads(line)
        if not answer.pop("ok"):
            raise self._refused(answer["error"])
        return answer
