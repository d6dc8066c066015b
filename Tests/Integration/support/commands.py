"""Running programs, always with a time limit."""

import os
import subprocess
import time

# Not how long something takes, but after which time it hangs: a machine with better things to do is slow.
TIME_LIMIT = 180
PATIENCE = 60


def run(*arguments, timeout=TIME_LIMIT, check=True, **options):
    """Runs a program; fails the test with what the program said when it does not succeed."""
    arguments = [os.fspath(argument) for argument in arguments]
    options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
    if options["stdin"] is None:
        del options["stdin"]
    result = subprocess.run(
        arguments,
        timeout=timeout,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        **options,
    )
    if check:
        assert result.returncode == 0, (
            f"{' '.join(map(str, arguments))} ended with {result.returncode}\n{result.stdout}{result.stderr}"
        )
    return result


def eventually(condition, what, timeout=PATIENCE):
    """Polls until `condition` gives something true, and returns that."""
    deadline = time.monotonic() + timeout
    pause = 0.01
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
