"""Runs the checks that a change must pass, in phases. The fastest come first, and the first failure ends the run.

Each phase is a target of the Makefile that developers run too, and ends with a line that gives its duration. A phase
fails if it leaves a process behind. Ctrl-C and SIGTERM end all processes (`supervise.py`).
"""

import sys
import time

from supervise import supervise

PHASES = ("environment", "check", "test-fast", "demo", "test-integration")


def main() -> int:
    began = time.monotonic()
    lines = []
    for phase in PHASES:
        print(f"== {phase}", flush=True)
        phase_began = time.monotonic()
        code = supervise(["make", "--no-print-directory", phase])
        lines.append(f"{phase}: {time.monotonic() - phase_began:.0f} s" + (f", exit code {code}" if code else ""))
        print(f"== {lines[-1]}", flush=True)
        if code:
            break
    print(f"== in all {time.monotonic() - began:.0f} s: {'; '.join(lines)}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
