"""Stands in for functions that write."""

import errno


def full_disk(*arguments, **options):
    """Raises what the operating system does where no room is left, without a file's name."""
    raise OSError(errno.ENOSPC, "No space left on device")
