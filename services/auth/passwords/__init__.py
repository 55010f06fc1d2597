"""The permanent password: what it must be, how a guess at it is admitted, evaluated and settled, and what a right one does."""
