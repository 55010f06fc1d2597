"""What a session is told."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SmppSettings:
    """One SMSC account. Times in seconds. Raises ValueError on what SMPP 3.4 (section 4.1.5) can't carry."""

    host: str
    port: int
    system_id: str
    password: str = field(repr=False)
    system_type: str = ""
    window: int = 50  # submits without an answer
    rate: float = 100.0  # submits a second
    response_timeout_s: float = 10.0
    silence_s: float = 2.0  # owing answers and giving none for so long, the SMSC is held up
    enquire_idle_s: float = 15.0
    bind_timeout_s: float = 10.0
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 30.0
    inbound_window: int = 16  # deliver_sm being handled; beyond it nothing is read
    handler_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        # smpplib would cut these silently, and bind as somebody else.
        for name, limit in (("system_id", 15), ("password", 8), ("system_type", 12)):
            value = getattr(self, name)
            if len(value) > limit or not value.isascii() or "\0" in value:
                raise ValueError(f"{name}: at most {limit} ASCII characters")
        if self.window < 1 or self.inbound_window < 1:
            raise ValueError("a window holds at least one")
        if not 0 < self.reconnect_min_s <= self.reconnect_max_s:
            raise ValueError("reconnect_min_s must be positive and at most reconnect_max_s")
