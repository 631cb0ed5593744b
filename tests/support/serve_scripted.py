"""`python -m tests.support.serve_scripted PORT [model=NAME] [state=DIR] [grpc_port=PORT] [logical_gpus=N]
[rollouts=yes] [SETTING=SECONDS ...]`: the real server over scripted engines, until SIGINT; with one model of them,
where it is named, and with a variant that may be rolled out."""

import sys
from pathlib import Path
from typing import Any

from serve.cli.serve import serve_until_stopped
from serve.config.loader import only
from serve.config.resources import LogicalGpus
from tests.support.scripted import make_artifacts, make_stack, rollout_stack
from variants.home import home


def main() -> None:
    given = {name: value for name, _, value in (word.partition("=") for word in sys.argv[2:])}
    state, model = given.pop("state", None), given.pop("model", None)
    grpc_port, logical_gpus = given.pop("grpc_port", None), given.pop("logical_gpus", None)
    make = rollout_stack if given.pop("rollouts", None) else make_stack
    settings = {name: float(value) for name, value in given.items()}
    stack = make(int(sys.argv[1]), **settings)
    stack = only(stack, model) if model else stack
    server: dict[str, Any] = {"grpc_port": int(grpc_port)} if grpc_port else {}
    if logical_gpus:
        server["logical_gpus"] = LogicalGpus(count=int(logical_gpus), memory_mib=24576)
    stack = stack.model_copy(update={"server": stack.server.model_copy(update=server)})
    serve_until_stopped(stack, make_artifacts(home(), stack), as_json=True, state=Path(state) if state else None)


if __name__ == "__main__":
    main()
