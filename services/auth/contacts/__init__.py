"""How a subscriber is reached, and of what they are told. Pure."""
