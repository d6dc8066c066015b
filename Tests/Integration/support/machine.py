"""What a test needs of the machine."""

import os
import shutil

import pytest


def need_root(why):
    """Only an ordinary user's run may go without a test; whatever else is missing for root is a failure."""
    if os.geteuid() != 0:
        pytest.skip(f"not root, who alone can {why}")


def program(name, package):
    """Where a program is that `scripts/install-dependencies --tests` installs."""
    path = shutil.which(name)
    assert path, f"{name} is missing: install the package {package}, or run the tests with 'make test'"
    return path


def need_file_system(name):
    """Whether there is one is for who made the kernel to say."""
    with open("/proc/filesystems") as table:
        if name not in {line.split()[-1] for line in table}:
            pytest.skip(f"this kernel has no {name}")
