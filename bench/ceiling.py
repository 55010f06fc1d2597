"""The raw Argon2 ceiling: verifications a second with nothing around them, one thread a core.

Run as a process of its own (`python -m bench.ceiling SECONDS THREADS`), so that it shares nothing with the benchmark's loop.
"""

import json
import sys
import threading
import time

from argon2 import PasswordHasher

from services.auth.settings import AuthSettings


def main() -> None:
    seconds, threads = float(sys.argv[1]), int(sys.argv[2])
    fields = AuthSettings.model_fields
    hasher = PasswordHasher(fields["argon2_iterations"].default, fields["argon2_memory_kib"].default, parallelism=1)
    hashed = hasher.hash("Winter-in-Tver-26")
    hasher.verify(hashed, "Winter-in-Tver-26")
    counts, end = [0] * threads, time.perf_counter() + seconds
    started = time.perf_counter()

    def work(index: int) -> None:
        while time.perf_counter() < end:
            hasher.verify(hashed, "Winter-in-Tver-26")
            counts[index] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps({"per_s": sum(counts) / (time.perf_counter() - started)}))


if __name__ == "__main__":
    main()
