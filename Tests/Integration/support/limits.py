"""Time limits that hold even when a system call hangs in a mount."""

import contextlib
import signal
import threading

from support.processes import kill_all


class TimeLimitExceeded(Exception):
    """A test has taken too long."""


@contextlib.contextmanager
def time_limit(seconds, binary, below):
    """Ends what runs inside after some time.

    A call into a hanging filesystem does not come back for a signal. So the processes of all mounts are killed, with
    which every such call fails, and then the main thread is interrupted.
    """

    def interrupt(number, frame):
        raise TimeLimitExceeded(f"more than {seconds} s")

    def expire():
        kill_all(binary, below)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    previous = signal.signal(signal.SIGALRM, interrupt)
    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGALRM, previous)
