"""What a code proves, step by step: registration, recovery, one-time passwords, another email."""
