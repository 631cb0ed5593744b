"""Free loopback ports for processes of this project, and a folder for their sockets.

A port that the kernel picks (bind to 0) comes from the range of outgoing connections. One of Ray's own connections can
then take it before the listener does, and HAProxy ends with "Address already in use". These ports are below that range
(32768 and up), between Ray's workers (10002 to 19999) and Ray Serve's replicas (30000 to 31000).

A server may listen seconds after it was given a port. Until then another process must not be given the same one. So the
process that asked holds a claim, an abstract Unix socket named after the port, which ends with the process.
"""

import os
import random
import socket
import tempfile
from collections import deque

from variants.errors import EngineError

PORTS = range(20_000, 30_000)
CLAIMS: deque[socket.socket] = deque()
MOST_CLAIMS = 256
"""Older ones are given up: their servers have listened for long, or have ended."""
LONGEST_FOLDER = 8
"""Characters of a temporary folder's path, beyond which Ray and HAProxy make paths of sockets that are too long."""


def free_port() -> int:
    """A loopback port that is free, and that no other process of this project is given meanwhile. Raises EngineError
    where there is none."""
    # SystemRandom, because servers with the same seed would try the same ports.
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0understudy-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        CLAIMS.append(claim)
        if len(CLAIMS) > MOST_CLAIMS:
            CLAIMS.popleft().close()
        return port
    raise EngineError(
        f"no loopback port from {PORTS.start} to {PORTS.stop - 1} is free",
        mend="end a process that listens there",
    )


def short_folder() -> str | None:
    """Where the folder of a run lies; None for the default. Sockets lie deep in it, and the path of a socket may have
    107 characters at most, so a long TMPDIR is not used."""
    return "/tmp" if len(tempfile.gettempdir()) > LONGEST_FOLDER and os.access("/tmp", os.W_OK) else None  # noqa: S108
