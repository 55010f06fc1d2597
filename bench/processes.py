"""What the processes of a stack take: CPU time and memory, children included (PostgreSQL works in children)."""

import os
from collections.abc import Iterable, Mapping

import psutil


class Usage:
    """CPU seconds spent since it was made, by process."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._before = self._cpu()

    def since(self) -> dict[str, float]:
        now = self._cpu()
        return {name: now[name] - self._before[name] for name in now}

    def _cpu(self) -> dict[str, float]:
        return {name: sum(_cpu_seconds(process) for process in _family(pid)) for name, pid in self._pids.items()}


def resident_mb(pids: Mapping[str, int]) -> dict[str, int]:
    """Resident memory in MB. PostgreSQL's processes share pages: theirs is the proportional share (PSS)."""
    return {name: round(sum(_memory(process) for process in _family(pid)) / 1e6) for name, pid in pids.items()}


def keep_on_first_core(pids: Iterable[int]) -> None:
    """All threads that they have, and whatever these start."""
    first = {min(os.sched_getaffinity(0))}
    for pid in pids:
        for process in _family(pid):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, first)


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
        # A backend that ends hands its time to the postmaster.
        return float(times.user + times.system + times.children_user + times.children_system)
    except psutil.NoSuchProcess:
        return 0.0


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
