"""Examples of which none is another's like.

Once Hypothesis has made ten, it follows each further one with five that differ from it in a draw or two: of 200 only some 40
are of their own, and a rule may first be met in the 130th. So it makes ten at a time, each time from another seed.
"""

from collections.abc import Callable

from hypothesis import seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

AT_A_TIME = 10


def run_in_parts(machine: Callable[[], RuleBasedStateMachine], profile: settings, first_seed: int) -> None:
    """As many examples as the profile says, to the next ten. Raises what the first one that fails raises."""
    few = settings(profile, max_examples=AT_A_TIME)
    for part in range(-(-profile.max_examples // AT_A_TIME)):
        # A lambda of its own: a seed stays with the function that it is given to.
        run_state_machine_as_test(seed(first_seed * 1000 + part)(lambda: machine()), settings=few)
