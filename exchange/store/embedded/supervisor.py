"""The process between a hub and its PostgreSQL server; it ends the server when the hub ends.

Run as a script with the standard library alone, in the cluster's directory:

    supervisor.py <lock descriptor> <user id or -> <group id or -> <program> <argument>...

It starts the program, prints its process id, then reads its standard input: each byte is the number of a
signal for the server, and the end of the file, which comes when the hub closes the pipe or dies in whatever
way, asks for a fast shutdown. It ends with the server, with the server's exit code (128 + n after signal n).

A pipe rather than a parent-death signal for the hub, because that signal comes when the *thread* that
started the child ends. For the server it is used: this process has one thread, and if it is killed the server
goes too.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

FAST_SHUTDOWN_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> int:
    """Runs the server to its end and returns the exit code for this process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # to end by it, silently, like by any other signal
    lock_fd, user, group = arguments[:3]
    libc = ctypes.CDLL(None, use_errno=True)  # loaded here: between fork and exec little is safe
    supervisor_id = os.getpid()

    def follow_supervisor() -> None:
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != supervisor_id:  # it died before the line above
            os.kill(os.getpid(), signal.SIGINT)

    server = subprocess.Popen(
        arguments[3:],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        pass_fds=(int(lock_fd),),
        preexec_fn=follow_supervisor,  # noqa: PLW1509 - safe here: this process has one thread
        user=None if user == "-" else int(user),
        group=None if group == "-" else int(group),
        extra_groups=None if user == "-" else [],
        umask=0o077,
    )
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    code = _watch(server, sys.stdin.fileno())
    return code if code >= 0 else 128 - code


def _watch(server: "subprocess.Popen[bytes]", orders: int) -> int:
    ended = os.pidfd_open(server.pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(orders, select.POLLIN)
    deadline: float | None = None
    while server.poll() is None:
        patience = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = {descriptor for descriptor, _ in poll.poll(patience)}
        if orders in ready:
            numbers = os.read(orders, 64)
            for number in numbers or (signal.SIGINT,):
                server.send_signal(number)
            if not numbers:
                poll.unregister(orders)
                deadline = time.monotonic() + FAST_SHUTDOWN_SECONDS
        elif not ready:  # the deadline has passed
            server.send_signal(signal.SIGQUIT)
            deadline = None
    return server.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
