"""Which loopback port a process of ours may listen on.

A port that the kernel picks (bind to 0) comes from the range that outgoing connections take theirs from, so that Ray's
own connections can have it before its listener does: HAProxy then ends with "Address already in use". Ours come from
between Ray's workers (10002 to 19999) and Ray Serve's replicas (30000 to 31000), below that range (32768 and up).
"""

import random
import socket

from variants.errors import EngineError

PORTS = range(20_000, 30_000)


def free_port() -> int:
    """A loopback port that was free a moment ago. Raises EngineError where there is none."""
    # Of the system's own randomness: servers that seed alike would ask for the same ports.
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EngineError(
        f"no loopback port from {PORTS.start} to {PORTS.stop - 1} is free",
        mend="end what listens there",
    )
