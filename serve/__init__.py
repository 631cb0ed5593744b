"""Serving variants: stack file, router, relay, engines, metrics, and the one command `understudy`.

What is public is in `__all__`, and is imported when it is first used. All other modules may change.

    load_stack, parse_stack, Stack    a stack from a file, or from the same as a dict
    build_stack                       the artifact of every variant, by (model, variant)
    evaluate_stack, cards_of          the cards of variants: figures, and differences from the parent
    Client                            traffic and rollouts of a running server
    EnginePlugin                      engines of other packages (docs/plugins.md)
"""

from typing import TYPE_CHECKING

from variants.lazy import lazy

if TYPE_CHECKING:
    from serve.client.client import Client as Client
    from serve.config.artifacts import build_stack as build_stack
    from serve.config.artifacts import cards_of as cards_of
    from serve.config.engine_plugin import EnginePlugin as EnginePlugin
    from serve.config.loader import load as load_stack
    from serve.config.loader import parse as parse_stack
    from serve.config.stack import Stack as Stack
    from serve.evaluation.evaluate import evaluate_stack as evaluate_stack

__all__ = ["Client", "EnginePlugin", "Stack", "build_stack", "cards_of", "evaluate_stack", "load_stack", "parse_stack"]

__getattr__ = lazy(
    __name__,
    {
        "Client": "serve.client.client:Client",
        "EnginePlugin": "serve.config.engine_plugin:EnginePlugin",
        "Stack": "serve.config.stack:Stack",
        "build_stack": "serve.config.artifacts:build_stack",
        "cards_of": "serve.config.artifacts:cards_of",
        "evaluate_stack": "serve.evaluation.evaluate:evaluate_stack",
        "load_stack": "serve.config.loader:load",
        "parse_stack": "serve.config.loader:parse",
    },
)
