"""The command `understudy demo`, and `make demo`. Imports little, because every command imports this."""

from pathlib import Path
from typing import Annotated

import typer

from serve.cli.options import DEMO_STACK


def demo(
    stack: Annotated[Path, typer.Option(help="The stack file. Default: the demo's.")] = DEMO_STACK,
    campaign: Annotated[Path | None, typer.Option(help="The campaign file. Default: the demo's.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report, the figures and the server's state.")] = Path(
        "out/demo"
    ),
) -> None:
    """Build, serve, load and report the demo's models, then end everything: about 10 minutes, 5 the second time."""
    from deploy.demo import CAMPAIGNS
    from deploy.demo import demo as carry_out
    from loadtest.harness import ends_in_words

    with ends_in_words("demo"):
        carry_out(stack.resolve(), (campaign or CAMPAIGNS / "demo.yaml").resolve(), out.resolve())


if __name__ == "__main__":
    typer.run(demo)
