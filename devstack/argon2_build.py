"""A build of Argon2's bindings for AVX2, if `make argon2-avx2` has made one: the registry's wheel is compiled for SSE2."""

import sys
from pathlib import Path

_FOLDER = Path(sys.prefix) / "argon2-avx2"
_CPU_FLAGS = Path("/proc/cpuinfo")


def avx2_build() -> Path | None:
    """The folder to put on the path before all others; None: there is no build, or this machine would die of it."""
    if not _FOLDER.is_dir() or not _CPU_FLAGS.exists() or " avx2 " not in _CPU_FLAGS.read_text():
        return None
    return _FOLDER
