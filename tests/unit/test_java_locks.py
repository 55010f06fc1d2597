"""The locks of the Java tools: jgo enforces nothing by itself, so these tests hold what we enforce instead."""

import hashlib
import tomllib
from pathlib import Path

import pytest

from devstack import jars
from devstack.paths import JAVA

LOCKS = sorted(JAVA.glob("*/jgo.lock.toml"))
KAFKA_LOCK = JAVA / "kafka" / "jgo.lock.toml"

A_LOCK = """
[metadata]
jgo_version = "2.0.0"

[[dependencies]]
groupId = "org.example"
artifactId = "tool"
version = "1.0"
packaging = "jar"
{checksum}
"""


def locked(path: Path) -> dict[str, str]:
    return {row["artifactId"]: row["version"] for row in tomllib.loads(path.read_text())["dependencies"]}


def a_lock(folder: Path, checksum: str) -> Path:
    path = folder / "jgo.lock.toml"
    path.write_text(A_LOCK.format(checksum=checksum))
    return path


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    path = tmp_path / "tool-1.0.jar"
    path.write_bytes(b"the real thing")
    return path


@pytest.fixture
def right_checksum(jar: Path) -> str:
    return f'sha256 = "{hashlib.sha256(jar.read_bytes()).hexdigest()}"'


def test_files_that_are_as_locked_pass(tmp_path: Path, jar: Path, right_checksum: str) -> None:
    assert jars.verify(a_lock(tmp_path, right_checksum), [jar]) == []


def test_a_doctored_lock_is_found_out(tmp_path: Path, jar: Path) -> None:
    doctored = a_lock(tmp_path, f'sha256 = "{"0" * 64}"')
    assert jars.verify(doctored, [jar]) == ["tool-1.0.jar has another checksum"]


def test_a_changed_jar_is_found_out(tmp_path: Path, jar: Path, right_checksum: str) -> None:
    lock = a_lock(tmp_path, right_checksum)
    jar.write_bytes(b"something else")
    assert jars.verify(lock, [jar]) == ["tool-1.0.jar has another checksum"]


def test_a_jar_without_a_checksum_is_found_out(tmp_path: Path, jar: Path) -> None:
    assert jars.verify(a_lock(tmp_path, ""), [jar]) == ["tool-1.0.jar has no checksum"]


def test_a_missing_jar_is_found_out(tmp_path: Path, right_checksum: str) -> None:
    assert jars.verify(a_lock(tmp_path, right_checksum), []) == ["tool-1.0.jar is missing"]


def test_a_jar_that_nobody_locked_is_found_out(tmp_path: Path, jar: Path, right_checksum: str) -> None:
    stranger = tmp_path / "stranger-2.jar"
    stranger.touch()
    assert jars.verify(a_lock(tmp_path, right_checksum), [jar, stranger]) == ["stranger-2.jar is not in the lock"]


def test_a_tool_whose_lock_is_doctored_is_not_started(
    tmp_path: Path, jar: Path, right_checksum: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the very function that every start of a Java program goes through, fetched long ago or not."""
    tool = tmp_path / "tool"
    (tool / ".jgo" / "jars").mkdir(parents=True)
    (tool / ".jgo" / "modules").mkdir()
    jar.rename(tool / ".jgo" / "jars" / jar.name)
    (tool / "jgo.toml").touch()
    a_lock(tool, right_checksum)
    monkeypatch.setattr(jars, "_sync", lambda folder, offline: True)
    assert str(tool / ".jgo" / "jars") in jars.class_path(tool)

    a_lock(tool, f'sha256 = "{"f" * 64}"')
    with pytest.raises(jars.BadJars, match=r"tool-1\.0\.jar has another checksum"):
        jars.class_path(tool)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_each_lock_has_a_checksum_for_all_it_names(lock: Path) -> None:
    rows = tomllib.loads(lock.read_text())["dependencies"]
    assert rows
    assert [row["artifactId"] for row in rows if len(row.get("sha256", "")) != 64] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_each_lock_was_made_from_its_toml(lock: Path) -> None:
    made_from = tomllib.loads(lock.read_text())["metadata"]["spec_hash"]
    assert hashlib.sha256(lock.with_name("jgo.toml").read_bytes()).hexdigest().startswith(made_from)


@pytest.mark.parametrize("folder", [path.parent for path in LOCKS], ids=lambda path: path.name)
def test_nothing_names_a_registry(folder: Path) -> None:
    for path in (folder / "jgo.toml", folder / "jgo.lock.toml"):
        assert "://" not in path.read_text()


def test_kafka_clients_is_of_kafkas_own_version() -> None:
    """A logging binding without the exclamation mark takes it down to 3.9.1, and Kafka dies at the start."""
    versions = locked(KAFKA_LOCK)
    assert versions["kafka-clients"] == versions["kafka_2.13"] == "4.3.0"


def test_kafka_has_a_logging_binding_and_one_only() -> None:
    assert [name for name in locked(KAFKA_LOCK) if name.endswith("-slf4j-impl") or name == "slf4j-simple"] == [
        "log4j-slf4j-impl"
    ]
