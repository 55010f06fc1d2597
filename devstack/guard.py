"""Becomes another program, as another user if asked, that dies with the process that started it.

Run as a script: `python -I -S guard.py <parent pid or 0> <user or -> <program> [argument...]`.

Why not `Popen(preexec_fn=...)`: it runs Python between fork and exec in a process that has gRPC's threads, and
wakes gRPC's fork handlers. Why not `Popen(user=...)`: the death signal is forgotten when the user changes, so the
order matters. `exec` keeps the pid, so signals reach the program itself.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, user, argv = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if user != "-":
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        os.environ["HOME"] = "/"
    if parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the line above: then nobody would ever send the signal.
        if os.getppid() != parent:
            sys.exit("the process that asked for this one is gone")
    os.execvpe(argv[0], argv, os.environ)  # noqa: S606


if __name__ == "__main__":
    main()
