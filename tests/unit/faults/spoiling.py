"""Ways to spoil a sound history, each with the invariant that must notice and a part of what it says."""

from collections.abc import Callable

from tests.faults.invariants import violations
from tests.unit.faults.conftest import Scribe

Spoil = Callable[[Scribe], object]


class Spoils:
    """Those of one test file."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, Spoil]] = []

    def __call__(self, invariant: str, text: str) -> Callable[[Spoil], Spoil]:
        def add(spoil: Spoil) -> Spoil:
            self.all.append((invariant, text, spoil))
            return spoil

        return add

    @property
    def names(self) -> list[str]:
        return [spoil.__name__ for _, _, spoil in self.all]


def assert_noticed(scribe: Scribe, invariant: str, text: str, spoil: Spoil) -> None:
    spoil(scribe)
    found = [said for name, said in violations(scribe.history) if name == invariant]
    assert any(text in said for said in found), found
