"""Two samples of times: could one who sees them tell which is which? Standard library alone."""

import cmath
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# The chance that a run fails although there is no difference anywhere; shared among its pairs (Bonferroni).
FALSE_ALARM = 0.01
TESTS_OF_A_PAIR = 3
# What timers count in.
_TICK_S = 1e-3


@dataclass(frozen=True)
class Comparison:
    """Times in seconds. a_slower: how often a call of A takes longer than one of B, 0.5: as often as not (U / nm).

    p: two-sided, of the Mann-Whitney U test; it asks nothing of the times' distribution. p_paired: of the Wilcoxon signed-rank
    test on the calls that followed each other, which sees through a machine whose speed drifts. p_folded: of the Mann-Whitney U
    test on the times modulo a millisecond, which sees through delays of whole milliseconds.
    """

    n: int
    median_a: float
    median_b: float
    a_slower: float
    p: float
    p_paired: float
    p_folded: float

    @property
    def difference(self) -> float:
        return self.median_a - self.median_b

    def tells_apart(self, tests: int) -> bool:
        """By any of the tests; `tests` pairs share the chance of a false alarm."""
        return min(self.p, self.p_paired, self.p_folded) < FALSE_ALARM / tests / TESTS_OF_A_PAIR


def compare(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """As many of A as of B, in the order in which they were asked. Normal approximations: good from about 20 times each."""
    u, p = _mann_whitney(a, b)
    _, p_folded = _mann_whitney(*_folded(a, b))
    return Comparison(len(a), median(a), median(b), u / (len(a) * len(b)), p, _signed_rank(a, b), p_folded)


def _folded(a: Sequence[float], b: Sequence[float]) -> tuple[list[float], list[float]]:
    """How far into its millisecond each falls: from half a one before where most of both do, to half a one after it."""
    most = cmath.phase(sum(cmath.exp(2j * math.pi * time / _TICK_S) for time in (*a, *b))) / (2 * math.pi)

    def fold(times: Sequence[float]) -> list[float]:
        return [(time / _TICK_S - most + 0.5) % 1 for time in times]

    return fold(a), fold(b)


def _mann_whitney(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """U of A, and its p."""
    n, m = len(a), len(b)
    rank_of, ties = _ranks([*a, *b])
    u = sum(rank_of[value] for value in a) - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    return u, _two_sided(u - n * m / 2, variance)


def _signed_rank(a: Sequence[float], b: Sequence[float]) -> float:
    differences = [one - other for one, other in zip(a, b, strict=True) if one != other]
    n = len(differences)
    rank_of, ties = _ranks([abs(one) for one in differences])
    w = sum(rank_of[abs(one)] for one in differences if one > 0)
    return _two_sided(w - n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24 - ties / 48)


def _ranks(values: Sequence[float]) -> tuple[dict[float, float], float]:
    """Each value's mean rank, and the sum of t³ - t over groups of t equal values."""
    counts, rank_of, before = Counter(values), dict[float, float](), 0
    for value in sorted(counts):
        rank_of[value] = before + (counts[value] + 1) / 2
        before += counts[value]
    return rank_of, sum(t**3 - t for t in counts.values())


def _two_sided(off: float, variance: float) -> float:
    """With continuity correction."""
    return math.erfc(max(0.0, abs(off) - 0.5) / math.sqrt(2 * variance)) if variance > 0 else 1.0
