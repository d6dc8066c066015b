"""Expecting a system call to fail."""

import contextlib
import errno

import pytest


@contextlib.contextmanager
def fails(*names):
    """What runs inside must fail with one of these errors, given by name: `fails("ENOTEMPTY")`."""
    with pytest.raises(OSError) as raised:
        yield raised
    assert raised.value.errno in [getattr(errno, name) for name in names], (
        f"expected {' or '.join(names)}: {raised.value!r}"
    )


def outcome(call, *arguments):
    """`done`, or the name of the error: to compare a call on a mount with the same on a local disk."""
    try:
        call(*arguments)
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]


def read(path):
    """The bytes of a file; None when it was changed between open and read, which is said (ESTALE) and not hidden."""
    try:
        return path.read_bytes()
    except OSError as error:
        assert error.errno == errno.ESTALE, error
        return None
