"""What subscribers send by SMS (M6)."""
