"""Options and output that the commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

DEMO_STACK = Path(__file__).parents[2] / "deploy" / "stacks" / "demo.yaml"
HERE = "http://127.0.0.1:8000"
StackFile = Annotated[Path, typer.Argument(help="The stack file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
InsecureOpen = Annotated[
    bool, typer.Option("--insecure-open", help="Serve without API keys: every client may change the server.")
]
Target = Annotated[str, typer.Option(help="Address of the server.")]


def emit(document: Any, text: str, as_json: bool) -> None:
    """Print the document as JSON, or else the text."""
    print(json.dumps(document, indent=2, default=str) if as_json else text)
