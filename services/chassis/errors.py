"""Typed errors, and the one place where they become google.rpc details on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status


class CannotStart(Exception):
    """What an operator must mend before the process can run. Its text is ours, and is shown."""


DOMAIN = "zasov"

# Reasons that any service may answer; a service's own reasons stand in its own errors.py.
INVALID_REQUEST = "INVALID_REQUEST"
DEADLINE_REQUIRED = "DEADLINE_REQUIRED"
DEADLINE_TOO_SHORT = "DEADLINE_TOO_SHORT"
OVERLOADED = "OVERLOADED"
TEMPORARILY_UNAVAILABLE = "TEMPORARILY_UNAVAILABLE"
INTERNAL = "INTERNAL"
DRAINING = "DRAINING"


@dataclass
class ServiceError(Exception):
    """An answer other than OK. Nothing in it may be a secret or come from the request's text.

    code: the gRPC status. reason: a stable UPPER_SNAKE word that callers switch on. metadata: data for the reason.
    retry_after: when trying again makes sense. violations: request field -> what is wrong with it.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after: timedelta | None = None
    violations: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}"


def invalid(violations: Mapping[str, str], reason: str = INVALID_REQUEST) -> ServiceError:
    """INVALID_ARGUMENT with a field violation for each entry."""
    return ServiceError(grpc.StatusCode.INVALID_ARGUMENT, reason, "The request is not valid.", violations=violations)


def overloaded(retry_after: timedelta) -> ServiceError:
    """RESOURCE_EXHAUSTED: refused before any work was done."""
    return ServiceError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, OVERLOADED, "Too many requests at once; try again later.", retry_after=retry_after
    )


DEFAULT_RETRY = timedelta(seconds=1)


def unavailable(retry_after: timedelta = DEFAULT_RETRY, reason: str = TEMPORARILY_UNAVAILABLE) -> ServiceError:
    """UNAVAILABLE: no outcome is known or disclosed; the same request may be tried again."""
    return ServiceError(grpc.StatusCode.UNAVAILABLE, reason, "Try again later.", retry_after=retry_after)


def to_status(error: ServiceError) -> grpc.Status:
    """What `context.abort_with_status` takes: google.rpc.Status with ErrorInfo, RetryInfo and BadRequest."""
    details: list[Any] = []

    def add(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo | error_details_pb2.BadRequest) -> None:
        packed = Any()
        packed.Pack(message)
        details.append(packed)

    add(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata)))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromTimedelta(error.retry_after)
        add(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.violations:
        add(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=name, description=text)
                    for name, text in error.violations.items()
                ]
            )
        )
    code = getattr(code_pb2, error.code.name)
    return rpc_status.to_status(status_pb2.Status(code=code, message=error.message, details=details))


def from_rpc_error(error: grpc.aio.AioRpcError) -> ServiceError:
    """A failed call to another service, as that service meant it.

    A status without our ErrorInfo comes from gRPC itself: the other side is away, full or too slow, and the call may be
    tried again; anything else is a bug between us.
    """
    status = rpc_status.from_call(cast("grpc.Call", error))
    if status is None or not status.details:
        return unavailable() if error.code() in _FROM_GRPC_ITSELF else bug()
    result = ServiceError(error.code(), INTERNAL, status.message)
    for detail in status.details:
        info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            result.reason, result.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            result.retry_after = retry.retry_delay.ToTimedelta()
        elif detail.Unpack(bad):
            result.violations = {v.field: v.description for v in bad.field_violations}
    return result


_FROM_GRPC_ITSELF = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)


def bug() -> ServiceError:
    return ServiceError(grpc.StatusCode.INTERNAL, INTERNAL, "Internal error.")
