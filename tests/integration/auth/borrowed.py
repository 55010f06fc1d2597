"""Databases of the services, for tests that run several of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import services.auth
import services.chassis
import services.lockout
import services.otp
from tests.integration.databases import Databases


@contextmanager
def borrowed_urls(databases: Databases, *besides: ModuleType) -> Iterator[dict[str, str]]:
    """URLs by service, migrated and empty. besides: packages whose migrations each has, too."""
    with (
        databases.borrowed(services.chassis, services.auth, *besides) as auth,
        databases.borrowed(services.chassis, services.lockout, *besides) as lockout,
        databases.borrowed(services.chassis, services.otp, *besides) as otp,
    ):
        yield {"auth": auth, "lockout": lockout, "otp": otp}
