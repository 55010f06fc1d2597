"""Whether a captcha was solved. Real ones come with M9; what asks for them is here already (docs/adr/0017)."""

import hmac
from typing import Protocol


class Captcha(Protocol):
    """What an installation has of captchas."""

    async def settles(self, proof: str) -> bool:
        """Whether a penalty that asks for a captcha may let this request through. proof: what the caller gave; may be empty."""
        ...


class NoCaptcha:
    """There is none to solve, so nobody is asked: a limit of a range or of the whole system keeps nobody out."""

    async def settles(self, proof: str) -> bool:
        return True


class FixedCaptcha:
    """For local stacks: one known text passes for a solved captcha."""

    def __init__(self, proof: str) -> None:
        self._proof = proof

    async def settles(self, proof: str) -> bool:
        return hmac.compare_digest(proof.encode(), self._proof.encode())


def captcha_of(fixed_proof: str) -> Captcha:
    """Empty: there is none."""
    return FixedCaptcha(fixed_proof) if fixed_proof else NoCaptcha()
