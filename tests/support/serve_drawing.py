"""`python -m tests.support.serve_drawing PORT`: the real server over two generators that need no training, until
SIGINT."""

import sys

from serve.cli.serve import serve_until_stopped
from tests.support.drawing import drawing_artifacts, drawing_stack
from variants.home import home


def main() -> None:
    serve_until_stopped(drawing_stack(int(sys.argv[1])), drawing_artifacts(home()), as_json=True)


if __name__ == "__main__":
    main()
