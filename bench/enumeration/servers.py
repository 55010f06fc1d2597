"""The three gRPC servers as processes of their own on PostgreSQL: all that stands on the way of an answer (B7)."""

import sys
from functools import partial
from pathlib import Path

from devstack import wiring
from devstack.stack import Stack
from devstack.staff import make_staff_keys
from devstack.supervisor import environment

_ROLES = [role for role in wiring.ROLES if role.is_server]
# No limit may come between: each number is asked about many times. The rest are the defaults.
_OVERRIDES = {
    "otp": {"ZASOV_OTP_COOL_DOWN_S": "0", "ZASOV_OTP_ISSUES_PER_DAY": "1000"},
    # Else what is asked in the first seconds is answered without asking the notifier.
    "auth": {
        "ZASOV_AUTH_DELIVERY_QUIET_S": "0",
        # As many contacts for nobody as for those of the bench (subscribers.py:linked).
        "ZASOV_AUTH_DECOY_PHONE_SHARE": "1",
        "ZASOV_AUTH_DECOY_EMAIL_SHARE": "1",
        # One proof for all questions of a pair.
        "ZASOV_AUTH_PROOF_LIFETIME_S": "3600",
    },
    # Attempts stay open until the outcomes are played.
    "lockout": {"ZASOV_LOCKOUT_SWEEP_AGE_S": "3600"},
}
# Cheap, so that what a hash would drown is heard.
CHEAP_HASH = {"ZASOV_AUTH_ARGON2_MEMORY_KIB": "64", "ZASOV_AUTH_ARGON2_ITERATIONS": "1"}
# So that what the spread would cover is seen.
_BARE = {"ZASOV_AUTH_ANSWER_SPREAD_MS": "0"}


class Servers(Stack):
    """plant: a difference to be planted in auth (bench/enumeration/planted.py)."""

    def __init__(self, state_dir: Path, *, cheap_hash: bool) -> None:
        quiet = {role.service: {f"ZASOV_{role.service.upper()}_TRACE_SAMPLE_RATIO": "0"} for role in _ROLES}
        overrides = {service: quiet[service] | _OVERRIDES.get(service, {}) for service in quiet}
        overrides["auth"] |= CHEAP_HASH if cheap_hash else {}
        super().__init__(state_dir, roles=_ROLES, settings_overrides=overrides)

    def plant(self, what: str) -> None:
        """Starts auth anew with the difference planted, for a hash left out with Argon2 as in production."""
        role = self._auth
        environment_ = {name: value for name, value in self.environment_of(role).items() if name not in CHEAP_HASH}
        argv = [sys.executable, "-m", "bench.enumeration.planted", what, role.role]
        self._start_anew(argv, environment_ if what == "no-dummy-hash" else self.environment_of(role))

    def bare(self) -> None:
        """Starts auth anew, answering without the spread."""
        self._start_anew([sys.executable, "-m", "services.auth", self._auth.role], self.environment_of(self._auth) | _BARE)

    @property
    def _auth(self) -> wiring.Role:
        return next(role for role in self.roles if role.service == "auth")

    def _start_anew(self, argv: list[str], environment_: dict[str, str]) -> None:
        self.supervisor.stop(self._auth.name)
        self.supervisor.start(self._auth.name, argv, environment_, tier=2)
        self.wait_role(self._auth.name)

    def _up(self) -> None:
        self.at.traces.mkdir(parents=True, exist_ok=True)
        postgres = self.infra.postgres
        postgres.init()
        self.supervisor.start("postgres", postgres.command(), user=postgres.user, stop_signal=postgres.stop_signal)
        postgres.wait_ready(check=partial(self.supervisor.raise_if_dead, "postgres"))
        for service in self.at.databases:
            postgres.create_database(service)
        self._run_to_end({"keys": ([sys.executable, "-m", "services.chassis.keys", str(self.at.keys)], environment())})
        make_staff_keys(self.at.keys)
        self._migrate()
        for role in self.roles:
            self.start_role(role)
        for role in self.roles:
            self.wait_role(role.name)
