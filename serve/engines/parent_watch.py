"""`python -m serve.engines.parent_watch COMMAND...` becomes COMMAND, and ends when its parent does.

Ray ends a replica with SIGKILL, which leaves no chance to end the engine below it. prctl's PR_SET_PDEATHSIG makes the
kernel do it; it is kept across exec. (`setpriv --pdeathsig` does the same, but only newer util-linux has it.)
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """From now on the kernel sends `number` to this process when the thread that started it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)


def main() -> None:
    parent = int(os.environ.pop("UNDERSTUDY_PARENT"))
    end_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it went away before the call above took hold
        sys.exit(1)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the command comes from our own launch


if __name__ == "__main__":
    main()
