"""`python -m serve.engines.warm SOCKET MODULE...` imports the engines in MODULE, then forks one for each request.

Importing torch and vLLM takes more processor time than loading a small model, so it is done once for many engines. A
fork keeps what is imported and no thread but its own. So nothing is computed here and no thread is started before the
fork: OpenVINO's and OpenMP's threads begin in the engine.

SOCKET is the number of a Unix socket of packets that the process was given. `serve.engines.warm_client` has its other
end. This process ends with it, and its engines with this process.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any

from setproctitle import setproctitle

from serve.engines.parent_watch import end_with_parent

PACKET_BYTES = 2**20


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_BYTES)
    modules = sys.argv[2:]
    setproctitle(f"python -m serve.engines.warm {' '.join(modules)}")
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # otherwise the first collection in an engine would copy every page it shares
    serve(control)


def serve(control: socket.socket) -> None:
    """Fork engines and tell of those that ended, until the other end is closed."""
    wakes, wake = socket.socketpair()
    wakes.setblocking(False)
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler, nothing is written to the socket
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wakes, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if wakes in ready:
                wakes.recv(4096)
                tell_ended(control)
            if control in ready:
                request, files, _, _ = socket.recv_fds(control, PACKET_BYTES, 4)
                if not request:
                    return
                warm = os.getpid()
                try:
                    pid, answer = os.fork(), {}
                except OSError as error:  # too many processes, or too little memory: the others must live on
                    pid, answer = -1, {"failed": str(error)}
                if pid == 0:
                    break
                for file in files:
                    os.close(file)
                control.send(json.dumps(answer or {"started": pid}).encode())
    for mine in (control, wakes, wake):
        mine.close()
    become(json.loads(request), files, warm)


def tell_ended(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        control.send(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def become(request: dict[str, Any], files: list[int], warm: int) -> None:
    """Be the engine of a request, as if its command had started it. `files` are its output and, where there is one, the
    lock of its artifact, which it holds open. `warm` is the process that forked it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    end_with_parent(signal.SIGTERM)
    if os.getppid() != warm:  # it ended before the call above took hold
        sys.exit(1)
    output, *_ = files
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ.pop("UNDERSTUDY_PARENT", None)
    setproctitle(" ".join(request["command"]))
    _, _, module, *_ = request["command"]  # python -m MODULE
    sys.argv = request["command"][2:]
    importlib.import_module(module).main()


if __name__ == "__main__":
    main()
