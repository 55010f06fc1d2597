"""Other subscribers' numbers, linked to an account by their own passwords (M16)."""
