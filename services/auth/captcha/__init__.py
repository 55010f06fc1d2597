"""Captchas (M9): what a provider is, and the two that there are (docs/adr/0017, 0020)."""
