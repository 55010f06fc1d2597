"""Reasons of other services that the notifier tells apart, and its own."""

from datetime import timedelta

from services.chassis.errors import ServiceError

DELIVERY_VOID = "DELIVERY_VOID"
DELIVERY_CLAIMED = "DELIVERY_CLAIMED"
NOTICE_NOT_YET_KNOWN = "NOTICE_NOT_YET_KNOWN"

# The notifier's own: of InboundService.
INBOUND_VOID = "INBOUND_VOID"
INBOUND_CLAIMED = "INBOUND_CLAIMED"
# Of NotifierService.
MESSAGE_UNKNOWN = "MESSAGE_UNKNOWN"

# What a metric may name; anything else is "other", for labels come from a fixed set.
KNOWN = frozenset({DELIVERY_CLAIMED, NOTICE_NOT_YET_KNOWN, "TEMPORARILY_UNAVAILABLE", "OVERLOADED", "INTERNAL"})


def is_void(error: ServiceError) -> bool:
    return error.reason == DELIVERY_VOID


def retry_after(error: ServiceError, otherwise: timedelta) -> timedelta:
    """What the other service asks for, within reason: never at once, never longer than our own longest pause."""
    if error.reason not in (DELIVERY_CLAIMED, NOTICE_NOT_YET_KNOWN) or error.retry_after is None:
        return otherwise
    return max(timedelta(milliseconds=20), min(error.retry_after, timedelta(seconds=5)))
