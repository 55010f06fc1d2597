"""The topics that lockout's stream needs beside the event topics. All are created before it starts, never by it."""

# Names of the Faust apps, and so of their consumer groups.
OUTCOMES_APP = "zasov.lockout.outcomes"
LIMITS_APP = "zasov.lockout.limits"

# Outcomes re-keyed by what a soft limit counts, as services/lockout/counting.py packs them; its partition goes by that key.
LIMITS = "zasov.lockout.limits.v1"
# The key of the stream's beats among them; value: seconds since the epoch by the database's clock, 8 bytes, big-endian.
BEAT = b"beat"
# Records that could not be read, as they came.
DEAD_LETTERS = "zasov.lockout.deadletters.v1"
# Those of them that an operator hands to the stream again.
RETRIES = "zasov.lockout.retries.v1"
TABLE = "tat"
# One TAT a key; compacted only: a changelog emptied by retention never recovers. Partitioned as LIMITS is.
CHANGELOG = f"{LIMITS_APP}-{TABLE}-changelog"
