"""What is taken out of captchas, for planted.py."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.auth import errors
from services.auth.captcha.pictures import Challenge, PictureCaptcha
from services.auth.captcha.provider import LONGEST_LIFE, NoCaptcha, UsedCaptchas
from services.auth.flows.recovery import Recovery


def none_is_required(patch: pytest.MonkeyPatch) -> None:
    settles = PictureCaptcha.settles

    async def settled(self: PictureCaptcha, proof: str) -> bool:
        return not proof or await settles(self, proof)

    patch.setattr(PictureCaptcha, "settles", settled)


def none_is_required_for_another_code(patch: pytest.MonkeyPatch) -> None:
    send_again = Recovery.send_again

    async def sent(self: Recovery, *arguments: Any) -> Any:
        return await send_again(replace(self, captcha=NoCaptcha()), *arguments)

    patch.setattr(Recovery, "send_again", sent)


def any_answer_is_right(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Challenge, "is_answered_by", lambda *_: True)


def good_again_and_again(patch: pytest.MonkeyPatch) -> None:
    async def use(self: UsedCaptchas, _: bytes, expires_at: datetime) -> bool:
        return expires_at > await self.now()

    patch.setattr(UsedCaptchas, "use", use)


def good_for_ever(patch: pytest.MonkeyPatch) -> None:
    """As long as it is remembered which ones were used."""
    use = UsedCaptchas.use

    async def used(self: UsedCaptchas, captcha_id: bytes, expires_at: datetime) -> bool:
        return await use(self, captcha_id, max(expires_at, await self.now() + LONGEST_LIFE - timedelta(minutes=1)))

    patch.setattr(UsedCaptchas, "use", used)


def a_mistake_leaves_it_good(patch: pytest.MonkeyPatch) -> None:
    settles = PictureCaptcha.settles

    async def settled(self: PictureCaptcha, proof: str) -> bool:
        sealed, _, answer = proof.partition(":")
        challenge = Challenge.open(self._seal, sealed)
        if challenge and not challenge.is_answered_by(answer):
            raise errors.captcha_rejected()
        return await settles(self, proof)

    patch.setattr(PictureCaptcha, "settles", settled)


def looked_at_before_the_grant(patch: pytest.MonkeyPatch) -> None:
    send_again = Recovery.send_again

    async def sent(self: Recovery, grant: str, client: Any, *rest: Any) -> Any:
        await self.require_captcha(client)
        return await send_again(replace(self, captcha=NoCaptcha()), grant, client, *rest)

    patch.setattr(Recovery, "send_again", sent)
