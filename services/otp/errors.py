"""The answers of the otp service other than OK."""

import math
from datetime import timedelta

import grpc

from services.chassis.errors import ServiceError

COOL_DOWN = "COOL_DOWN"
CODE_BUDGET_SPENT = "CODE_BUDGET_SPENT"
DELIVERY_VOID = "DELIVERY_VOID"
DELIVERY_CLAIMED = "DELIVERY_CLAIMED"
CHALLENGE_UNKNOWN = "CHALLENGE_UNKNOWN"


def cool_down(retry_in: timedelta) -> ServiceError:
    """metadata retry_in_s: whole seconds, rounded up (M10: "try again in N s")."""
    return _exhausted(COOL_DOWN, "A code was asked for a moment ago; try again later.", retry_in)


def code_budget_spent(retry_in: timedelta) -> ServiceError:
    """metadata retry_in_s: whole seconds, rounded up."""
    return _exhausted(CODE_BUDGET_SPENT, "No more codes for now; try again later.", retry_in)


def delivery_void() -> ServiceError:
    return ServiceError(grpc.StatusCode.NOT_FOUND, DELIVERY_VOID, "There is nothing to deliver.")


def delivery_claimed(retry_in: timedelta) -> ServiceError:
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION, DELIVERY_CLAIMED, "Another worker holds the delivery.", retry_after=retry_in
    )


def challenge_unknown() -> ServiceError:
    return ServiceError(grpc.StatusCode.NOT_FOUND, CHALLENGE_UNKNOWN, "There is no such challenge.")


def _exhausted(reason: str, message: str, retry_in: timedelta) -> ServiceError:
    seconds = math.ceil(retry_in.total_seconds())
    return ServiceError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason,
        message,
        metadata={"retry_in_s": str(seconds)},
        retry_after=timedelta(seconds=seconds),
    )
