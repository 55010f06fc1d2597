"""Why auth says no. The reasons are part of the API: callers switch on them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import grpc

from services.chassis.errors import ServiceError, invalid

REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
CREDENTIALS_REJECTED = "CREDENTIALS_REJECTED"
SIGN_IN_BLOCKED = "SIGN_IN_BLOCKED"
ORIGIN_LIMITED = "ORIGIN_LIMITED"
CAPTCHA_REQUIRED = "CAPTCHA_REQUIRED"
CAPTCHA_REJECTED = "CAPTCHA_REJECTED"
CAPTCHA_NOT_OFFERED = "CAPTCHA_NOT_OFFERED"
SESSION_INVALID = "SESSION_INVALID"
PASSWORD_POLICY = "PASSWORD_POLICY"  # noqa: S105
GRANT_INVALID = "GRANT_INVALID"
CODE_REJECTED = "CODE_REJECTED"
CODE_DEAD = "CODE_DEAD"
CODE_VOIDED = "CODE_VOIDED"
PROPOSAL_REJECTED = "PROPOSAL_REJECTED"
IDENTIFIER_TAKEN = "IDENTIFIER_TAKEN"
CONTACT_ON_FILE = "CONTACT_ON_FILE"
STAFF_ASSERTION_REJECTED = "STAFF_ASSERTION_REJECTED"
STAFF_NOT_ALLOWED = "STAFF_NOT_ALLOWED"
STAFF_LIMIT = "STAFF_LIMIT"
SUBSCRIBER_UNKNOWN = "SUBSCRIBER_UNKNOWN"
NO_CONTACT_ON_FILE = "NO_CONTACT_ON_FILE"
NUMBER_TAKEN = "NUMBER_TAKEN"
NEW_PHONE_USED = "NEW_PHONE_USED"
SECOND_APPROVER_REQUIRED = "SECOND_APPROVER_REQUIRED"
CONTACT_CHANGE_VOID = "CONTACT_CHANGE_VOID"
PROOF_NEEDED = "PROOF_NEEDED"
LINK_UNKNOWN = "LINK_UNKNOWN"
# otp's, which pass through.
COOL_DOWN = "COOL_DOWN"
CODE_BUDGET_SPENT = "CODE_BUDGET_SPENT"
DELIVERY_VOID = "DELIVERY_VOID"
DELIVERY_CLAIMED = "DELIVERY_CLAIMED"
NOTICE_NOT_YET_KNOWN = "NOTICE_NOT_YET_KNOWN"

# M3: nothing else lifts a block. A code (M4), a one-time password asked for on the site (M5), the handset's own SMS (M6); where
# there are offices, an office (M18).
_WAYS_OUT = ("recovery_by_code", "one_time_password_by_sms", "sms_command")


def request_id_reused() -> ServiceError:
    return invalid({"client.request_id": "names another request"}, REQUEST_ID_REUSED)


def credentials_rejected(attempts_left: int) -> ServiceError:
    """The same whoever it is for."""
    return ServiceError(
        grpc.StatusCode.UNAUTHENTICATED,
        CREDENTIALS_REJECTED,
        "The login or the password is wrong.",
        metadata={"attempts_left": str(attempts_left)},
    )


def sign_in_blocked(*, has_office: bool) -> ServiceError:
    """The same whoever it is for."""
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION,
        SIGN_IN_BLOCKED,
        "Sign-in is blocked after three wrong passwords; a new password lifts the block.",
        metadata={"ways_out": ",".join([*_WAYS_OUT, "office"] if has_office else _WAYS_OUT)},
    )


def origin_limited(retry_after: timedelta) -> ServiceError:
    return ServiceError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, ORIGIN_LIMITED, "Too much from this address.", retry_after=retry_after
    )


def captcha_required() -> ServiceError:
    """The same whoever it is for."""
    return ServiceError(grpc.StatusCode.FAILED_PRECONDITION, CAPTCHA_REQUIRED, "Solve a captcha and try again with its proof.")


def captcha_rejected() -> ServiceError:
    """The same whatever is wrong with it, and whoever it is for."""
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION,
        CAPTCHA_REJECTED,
        "The captcha's proof is wrong, used or expired; solve another one.",
    )


def captcha_not_offered() -> ServiceError:
    return ServiceError(grpc.StatusCode.FAILED_PRECONDITION, CAPTCHA_NOT_OFFERED, "There are no pictures here.")


def session_invalid() -> ServiceError:
    return ServiceError(grpc.StatusCode.UNAUTHENTICATED, SESSION_INVALID, "The session is unknown, ended or expired.")


def password_policy(field: str, failed: Mapping[str, str]) -> ServiceError:
    """One violation for the field, that names each rule that failed (M7)."""
    return ServiceError(
        grpc.StatusCode.INVALID_ARGUMENT,
        PASSWORD_POLICY,
        "The password does not meet the policy.",
        metadata={"failed_rules": ",".join(failed)},
        violations={field: " ".join(failed.values())},
    )


def grant_invalid() -> ServiceError:
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION,
        GRANT_INVALID,
        "The grant is not of this flow and step, was used or has expired.",
        violations={"grant": "not of this flow and step, used, or expired"},
    )


def code_rejected(tries_left: int) -> ServiceError:
    return ServiceError(
        grpc.StatusCode.UNAUTHENTICATED, CODE_REJECTED, "The code is wrong.", metadata={"tries_left": str(tries_left)}
    )


def code_dead() -> ServiceError:
    return ServiceError(grpc.StatusCode.FAILED_PRECONDITION, CODE_DEAD, "The code is no longer good; ask for another one.")


def code_voided() -> ServiceError:
    """B4: the caller has done nothing wrong."""
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION, CODE_VOIDED, "Codes are longer for the time being; ask for another one."
    )


def proposal_rejected() -> ServiceError:
    """M6. Another one was proposed: in the subscriber's name, or mistyped."""
    return ServiceError(
        grpc.StatusCode.UNAUTHENTICATED,
        PROPOSAL_REJECTED,
        "Another password was proposed by SMS. The grant stays good: choose a permanent one with it.",
    )


def identifier_taken() -> ServiceError:
    """M12."""
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION, IDENTIFIER_TAKEN, "These identifiers lead to more than one account."
    )


def contact_on_file(fields: Sequence[str]) -> ServiceError:
    """M12. fields: which of phone and email is another one on file."""
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION,
        CONTACT_ON_FILE,
        "Another contact is on file; to change it is the subscriber's or an office's.",
        metadata={"fields": ",".join(fields)},
    )


def staff_assertion_rejected() -> ServiceError:
    """M18. The same whatever is wrong with it."""
    return ServiceError(
        grpc.StatusCode.UNAUTHENTICATED, STAFF_ASSERTION_REJECTED, "The staff assertion is not genuine, expired or used."
    )


def staff_not_allowed() -> ServiceError:
    """M18: the call centre can't do it."""
    return ServiceError(grpc.StatusCode.PERMISSION_DENIED, STAFF_NOT_ALLOWED, "For staff at an office alone.")


def staff_limit(retry_after: timedelta) -> ServiceError:
    return ServiceError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, STAFF_LIMIT, "The day's calls are used up.", retry_after=retry_after
    )


def subscriber_unknown() -> ServiceError:
    return ServiceError(grpc.StatusCode.NOT_FOUND, SUBSCRIBER_UNKNOWN, "Nobody has this identifier.")


def no_contact_on_file() -> ServiceError:
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION, NO_CONTACT_ON_FILE, "Neither phone nor email is on file: name a new phone."
    )


def number_taken() -> ServiceError:
    return ServiceError(grpc.StatusCode.FAILED_PRECONDITION, NUMBER_TAKEN, "The number leads to an account already.")


def new_phone_used() -> ServiceError:
    return ServiceError(grpc.StatusCode.FAILED_PRECONDITION, NEW_PHONE_USED, "The number was named for another account lately.")


def second_approver_required() -> ServiceError:
    return ServiceError(
        grpc.StatusCode.PERMISSION_DENIED, SECOND_APPROVER_REQUIRED, "Another person than the one who asked must approve."
    )


def contact_change_void() -> ServiceError:
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION, CONTACT_CHANGE_VOID, "No such change waits: it is over, or never was."
    )


def proof_needed() -> ServiceError:
    return ServiceError(
        grpc.StatusCode.FAILED_PRECONDITION, PROOF_NEEDED, "The proof is not of this session, or has expired: prove again."
    )


def link_unknown() -> ServiceError:
    """M16. The same for a link of another account and for one that is over."""
    return ServiceError(grpc.StatusCode.NOT_FOUND, LINK_UNKNOWN, "No such number is linked to this account.")
