"""The kinds of the tasks that plug-ins add. A client may name any of them with a label."""

import logging
from collections.abc import Mapping

from variants import plugins
from variants.errors import PluginError
from variants.metrics.answer_scores import SCORES
from variants.tasks import Kind, Tasks

log = logging.getLogger("understudy.labels")


def kinds_of_plugin_tasks() -> Mapping[str, Kind | None]:
    """The kind of each by name; None for one that cannot be used, which is logged. It imports them all, and the scorers
    that they use: call it before requests are served."""
    kinds: dict[str, Kind | None] = {}
    for name in plugins.names("tasks"):
        try:
            kinds[name] = kind = Tasks().kind(name)
            if kind in SCORES:
                _ = SCORES[kind]
        except PluginError as error:
            kinds[name] = None
            log.error("labels of the task %s are not scored: %s", name, error)
    return kinds
