"""`python -m services.chassis.keys FOLDER`: makes the key files of a development stack. Existing files are kept.

In production the same files come from the operator's secret store.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.chassis.sealing import new_key, public_key_of, read_key

# auth: lookup (identifiers -> rows, never changed), accounts (wraps each account's own key), flows (seals what a flow keeps),
#   inbound (opens subscribers' texts; its public half, which seals them, is the notifier's)
#   staff (opens who acted at an office: for auditors, and on none of our machines; staff-public seals it)
# otp: codes (HMAC of codes), delivery (seals code and destination until delivered)
# notifier: inbound (recognises the sender and the repetition of a text)
PUBLIC_KEYS = {"auth-inbound-public": "auth-inbound", "auth-staff-public": "auth-staff"}  # each made from its private half
# No process reads it.
KEPT_ELSEWHERE = "auth-staff"
KEY_NAMES = (
    "auth-lookup", "auth-accounts", "auth-flows", "auth-inbound", KEPT_ELSEWHERE, "otp-codes", "otp-delivery",
    "notifier-inbound", *PUBLIC_KEYS,
)  # fmt: skip


def make_keys(folder: Path, now: datetime) -> None:
    """Writes `<name>.key` for each name and the pseudonym keys of this month and the next, mode 0600."""
    months = {now.strftime("%Y-%m"), (now.replace(day=1) + timedelta(days=32)).strftime("%Y-%m")}
    for name in (*KEY_NAMES, *(f"pseudonyms/{month}" for month in months)):
        path = folder / f"{name}.key"
        if path.exists():
            continue
        private = PUBLIC_KEYS.get(name)
        key = public_key_of(read_key(folder / f"{private}.key")) if private else new_key()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(key.hex() + "\n")


if __name__ == "__main__":
    make_keys(Path(sys.argv[1]), datetime.now(UTC))
