"""`python -m services.chassis.keys FOLDER`: makes the key files of a development stack. Existing files are kept.

In production the same files come from the operator's secret store.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.chassis.sealing import new_key

# auth: lookup (identifiers -> rows, never changed), accounts (wraps each account's own key), flows (seals what a flow keeps)
# otp: codes (HMAC of codes), delivery (seals code and destination until delivered)
KEY_NAMES = ("auth-lookup", "auth-accounts", "auth-flows", "otp-codes", "otp-delivery")


def make_keys(folder: Path, now: datetime) -> None:
    """Writes `<name>.key` for each name and the pseudonym keys of this month and the next, mode 0600."""
    months = {now.strftime("%Y-%m"), (now.replace(day=1) + timedelta(days=32)).strftime("%Y-%m")}
    for path in [folder / f"{name}.key" for name in KEY_NAMES] + [folder / "pseudonyms" / f"{m}.key" for m in months]:
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(new_key().hex() + "\n")


if __name__ == "__main__":
    make_keys(Path(sys.argv[1]), datetime.now(UTC))
