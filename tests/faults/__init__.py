"""The fault suite (docs/security.md, Shown under faults): `python -m tests.faults`."""
