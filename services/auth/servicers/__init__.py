"""zasov.auth.v1: translates between the wire and the use cases, and nothing else."""
