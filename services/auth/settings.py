"""Settings of the auth service."""

import os
from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.auth.contacts.telling import Pace
from services.chassis.settings import ChassisSettings


class AuthSettings(ChassisSettings):
    """What the roles of auth read."""

    model_config = SettingsConfigDict(env_prefix="ZASOV_AUTH_")

    lockout_address: str = Field(default="127.0.0.1:0", description="gRPC address of lockout.")
    notifier_address: str = Field(
        default="127.0.0.1:0", description="gRPC address of the notifier: texts are claimed there, messages asked about."
    )
    otp_address: str = Field(default="127.0.0.1:0", description="gRPC address of otp.")
    region: str = Field(default="RU", description="Country of phone numbers written without a country code (ISO 3166).")
    default_language: str = Field(default="ru", pattern="^(ru|en)$", description="Language of whoever named none.")

    argon2_memory_kib: int = Field(default=19456, ge=8, description="Argon2id memory per hash, KiB (OWASP floor 19456).")
    argon2_iterations: int = Field(default=2, ge=1, description="Argon2id passes.")
    hash_threads: int = Field(default=len(os.sched_getaffinity(0)), ge=1, description="Hashes at once: one a core.")
    hash_places: int = Field(default=128, ge=1, description="Requests that may be waiting for a hash; more are refused.")
    hash_places_per_subject: int = Field(default=64, ge=1, description="Of these, for one subscriber.")

    answer_spread_ms: float = Field(
        default=10.0,
        ge=0,
        le=1000,
        description="Longest delay of what may say whether a number has an account; for each number its own. 0: none.",
    )
    sms_password_number: str = Field(default="3339", description="Short number that ПАРОЛЬ is sent to (M6).")
    sms_proposal_number: str = Field(default="111", description="Short number that `25 <own password>` is sent to (M6).")
    session_days: int = Field(default=30, ge=1, description="Lifetime of a session.")
    decoy_email_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Of subscribers who are made up, how many have an email: as many as of the real ones.",
    )
    decoy_phone_share: float = Field(
        default=0.95, ge=0, le=1, description="The same of a phone, of those found by an account or contract number."
    )
    proof_lifetime_s: int = Field(
        default=300, ge=30, le=3600, description="How long a password that was given again in a session proves its owner."
    )
    flow_lifetime_s: int = Field(default=900, ge=60, description="How long a registration or recovery may take in all.")
    notice_lifetime_s: int = Field(default=6 * 3600, ge=60, description="After this a notice is not worth sending.")
    notice_lease_s: float = Field(default=15.0, gt=0, description="How long a claimed notice is one worker's.")
    notice_repeat_s: float = Field(
        default=60.0, ge=0, description="Of two changes of a password within this, one is told of; of two links, too."
    )
    new_device_notice_s: float = Field(
        default=600.0, ge=0, description="Of two sign-ins from new devices within this, the subscriber is told of one."
    )
    new_device_notices: bool = Field(
        default=True, description="Whether sign-ins from new devices are told of. Off: devices are learned all the same."
    )
    captcha_provider: Literal["none", "picture", "token"] = Field(
        default="picture",
        description="Captcha before an SMS: picture (CaptchaService), token (an outside service's), none (nobody is asked).",
    )
    captcha_lifetime_s: float = Field(default=300.0, ge=10, le=3600, description="How long a picture may be answered.")
    captcha_places: int = Field(default=64, ge=1, description="Pictures that may be waiting to be drawn; more are refused.")
    captcha_token_audience: str = Field(default="zasov", min_length=1, description="What `aud` of an outside token must name.")
    captcha_fixed_text: str = Field(
        default="", description="Local stacks only (needs `reflection`): what every picture shows. Empty: chance."
    )
    office_recovery: bool = Field(
        default=False, description="StaffService is served (M18). Needs staff-assertion.pem among the keys."
    )
    staff_audience: str = Field(default="zasov", min_length=1, description="What `aud` of a staff assertion must name.")
    staff_daily_limit: int = Field(default=40, ge=1, description="Calls of one member of staff on one day (UTC).")
    office_delay_s: float = Field(
        default=86400.0, ge=1, description="Between the approval of a new phone number at an office and its being put on file."
    )
    office_approval_s: float = Field(default=86400.0, ge=1, description="How long one may wait for its approval.")
    office_phone_days: float = Field(
        default=90.0, gt=0, description="For so long a number named at an office may be named for no other account."
    )
    office_look_s: float = Field(default=30.0, gt=0, description="Seconds between two looks for numbers that are due.")
    delivery_quiet_s: float = Field(
        default=15.0, ge=0, le=300, description="So long after a code was issued its message is said to be underway (M11)."
    )
    decoys_delivered_sms: float = Field(
        default=0.95, ge=0, le=1, description="Share of codes by SMS that arrive by then, for want of recent ones."
    )
    decoys_delivered_email: float = Field(default=0.99, ge=0, le=1, description="The same of emails.")
    admission_timeout_s: float = Field(
        default=6.0, gt=0, description="Longest call for an admission by lockout; it waits for up to 5 s itself."
    )
    call_timeout_s: float = Field(default=3.0, gt=0, description="Longest other call to lockout, otp or the notifier.")
    protocol_trace: str = Field(
        default="", description="Folder for a trace of each process's steps in the three-strike protocol; empty: off."
    )

    def pace(self) -> Pace:
        return Pace(
            repeat=timedelta(seconds=self.notice_repeat_s),
            new_device=timedelta(seconds=self.new_device_notice_s) if self.new_device_notices else None,
        )

    @model_validator(mode="after")
    def _pictures_show_chance_in_production(self) -> Self:
        if self.captcha_fixed_text and not self.reflection:
            raise ValueError("captcha_fixed_text is for local stacks, which have reflection on")
        return self
