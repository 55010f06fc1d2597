"""The topics that lockout's stream needs beside the event topics. All are created before it starts, never by it."""

# Outcomes re-keyed by what a soft limit counts; key: LimitKey as text, value: seconds since the epoch, 8 bytes, big-endian.
LIMITS = "zasov.lockout.limits.v1"
# Records that could not be read, as they came.
DEAD_LETTERS = "zasov.lockout.deadletters.v1"
APP_ID = "zasov.lockout.stream"
TABLE = "limits"
# One TAT a key; compacted only: a changelog emptied by retention never recovers. Partitioned as LIMITS is.
CHANGELOG = f"{APP_ID}-{TABLE}-changelog"
