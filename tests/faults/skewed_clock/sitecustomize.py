"""Sets a process's wall clock apart from all others, as its Python code sees it. Python imports this module by itself when its
folder is on PYTHONPATH; CLOCK_SKEW_S says by how many seconds.

Monotonic and boot time are left alone: they have no zero that two machines could agree on. Two libraries read the clock in C
as well: aiokafka, to date a record, which is done here for it; and gRPC, which reckons a call's remaining time in C and in
Python and must be let see one clock in both.
"""

import datetime as datetime_module
import os
import time
from types import SimpleNamespace
from typing import Any

import aiokafka
import grpc.aio._utils
from grpc._cython import cygrpc

_SKEW_S = float(os.environ["CLOCK_SKEW_S"])
_SKEW = datetime_module.timedelta(seconds=_SKEW_S)
_REAL = datetime_module.datetime
_time, _time_ns, _clock_gettime, _clock_gettime_ns = time.time, time.time_ns, time.clock_gettime, time.clock_gettime_ns


class _AnyDatetime(type):
    """Those that C code makes are datetimes, too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _REAL)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _REAL)


class _Skewed(_REAL, metaclass=_AnyDatetime):
    __slots__ = ()  # C code compares sizes

    @classmethod
    def now(cls, tz: datetime_module.tzinfo | None = None) -> datetime_module.datetime:
        return _REAL.now(tz) + _SKEW

    @classmethod
    def utcnow(cls) -> datetime_module.datetime:
        return _REAL.utcnow() + _SKEW

    @classmethod
    def today(cls) -> datetime_module.datetime:
        return _REAL.today() + _SKEW


def _gettime(clock: int) -> float:
    return _clock_gettime(clock) + (_SKEW_S if clock == time.CLOCK_REALTIME else 0)


def _gettime_ns(clock: int) -> int:
    return _clock_gettime_ns(clock) + (int(_SKEW_S * 1e9) if clock == time.CLOCK_REALTIME else 0)


time.time = lambda: _time() + _SKEW_S
time.time_ns = lambda: _time_ns() + int(_SKEW_S * 1e9)
time.clock_gettime = _gettime
time.clock_gettime_ns = _gettime_ns
datetime_module.datetime = _Skewed  # type: ignore[misc]

cygrpc.time = grpc.aio._utils.time = SimpleNamespace(time=_time, time_ns=_time_ns)
_send = aiokafka.AIOKafkaProducer.send


async def _send_skewed(self: Any, *arguments: Any, timestamp_ms: int | None = None, **named: Any) -> Any:
    if timestamp_ms is None:
        timestamp_ms = int((_time() + _SKEW_S) * 1000)
    return await _send(self, *arguments, timestamp_ms=timestamp_ms, **named)


aiokafka.AIOKafkaProducer.send = _send_skewed
