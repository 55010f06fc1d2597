"""The password policy (M7), pure."""

import unicodedata

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from services.chassis.errors import invalid

SHORTEST = 8
LONGEST = 256

_COMMON = frozenset(FREQUENCY_LISTS["passwords"])
# The same keys struck with the Russian layout on: йцукен is qwerty.
_KEYS = str.maketrans("йцукенгшщзхъфывапролджэячсмитьбюё", "qwertyuiop[]asdfghjkl;'zxcvbnm,.`")


def normalise(password: str, field: str) -> str:
    """The form that is hashed: NFKC (NIST SP 800-63B-4, 3.1.1.2). Raises ServiceError INVALID_ARGUMENT."""
    if not password:
        raise invalid({field: "required"})
    if len(password) > LONGEST:
        raise invalid({field: f"longer than {LONGEST} characters"})
    return unicodedata.normalize("NFKC", password)


def failed_rules(password: str) -> dict[str, str]:
    """Rule → what to do about it, for each rule that the password fails; empty: a good one."""
    failed = {}
    if len(password) < SHORTEST:
        failed["length"] = f"Use at least {SHORTEST} characters; longer is better."
    if not any(character.isdigit() for character in password):
        failed["digit"] = "Use at least one digit."
    if not any(character.isupper() for character in password):
        failed["upper_case"] = "Use at least one upper-case letter."
    if _is_common(password):
        failed["common"] = "This password is among the first that are guessed."
    return failed


def _is_common(password: str) -> bool:
    lower = password.lower()
    return lower in _COMMON or lower.translate(_KEYS) in _COMMON
