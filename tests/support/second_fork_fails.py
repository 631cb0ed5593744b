"""Imported by a warmed process: its second fork fails, as where there are too many processes."""

import errno
import itertools
import os

_fork, _calls = os.fork, itertools.count()


def fork() -> int:
    if next(_calls) == 1:
        raise OSError(errno.EAGAIN, "too many processes")
    return _fork()


os.fork = fork
