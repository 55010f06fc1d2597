"""How fast to submit: a token bucket whose rate gives way when the SMSC asks for it."""


class TokenBucket:
    """`rate` tokens a second, up to `burst` saved. Pure: the caller brings the time, in seconds of one monotonic clock.

    `slow_down` halves the rate (at most once in `PATIENCE_S`, for a whole window may be throttled by one cause, and not
    below a twentieth); each accepted message gives a hundredth of it back.
    """

    PATIENCE_S = 0.5
    FLOOR = 1 / 20

    def __init__(self, rate: float, burst: float | None = None) -> None:
        if rate <= 0:
            raise ValueError("the rate must be positive")
        self._full_rate = rate
        self._rate = rate
        self._burst = max(1.0, rate / 10 if burst is None else burst)
        self._tokens = self._burst
        self._at: float | None = None
        self._slowed_at: float | None = None

    @property
    def rate(self) -> float:
        """Tokens a second at present."""
        return self._rate

    def reserve(self, now: float) -> float:
        """Take a token; the seconds to wait before using it."""
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def is_behind(self, now: float) -> bool:
        """Whether it was slowed down, and a message would have to wait for that lower rate."""
        saved = self._tokens if self._at is None else self._tokens + (now - self._at) * self._rate
        return self._rate < self._full_rate and saved < 1

    def slow_down(self, now: float) -> None:
        if self._slowed_at is not None and now - self._slowed_at < self.PATIENCE_S:
            return
        self._slowed_at = now
        self._tokens = min(self._tokens, 0.0)  # savings would be spent at once
        self._rate = max(self._rate / 2, self._full_rate * self.FLOOR)

    def recover(self) -> None:
        self._rate = min(self._full_rate, self._rate + self._full_rate / 100)
