"""The campaign files that the console offers: those in `loadtest/campaigns`, and those in `UNDERSTUDY_HOME/campaigns`.

A campaign is chosen by its file's name. No path comes from a browser.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from variants.errors import UnderstudyError

if TYPE_CHECKING:
    from loadtest.campaign.schema import AccuracyTest, Arrivals, SpeedTest

OWN = Path(__file__).parents[1] / "campaigns"
NAME = re.compile(r"[a-zA-Z0-9._-]{1,80}")
"""Names of files that can be part of a run's name."""


class CampaignFile(NamedTuple):
    """`models` are those that the campaign asks, `parts` its parts in order, and `limit_s` its longest time in seconds.
    `problem` says why the file cannot be used."""

    name: str
    path: Path
    models: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    limit_s: float = 0.0
    problem: str = ""

    def missing(self, served: Iterable[str]) -> list[str]:
        """The models that the campaign asks and the server lacks."""
        return sorted(set(self.models) - set(served))


def campaign_files(*folders: Path) -> dict[str, CampaignFile]:
    """The files of the folders by name. Of two with one name, that of the later folder counts."""
    paths = {path.stem: path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.yaml"))}
    return {name: described(paths[name]) for name in sorted(paths)}


def described(path: Path) -> CampaignFile:
    """What a file asks for. Its problem where it cannot be read, as a link that leads nowhere."""
    try:
        return read(path, path.stat().st_mtime_ns)
    except (OSError, RecursionError) as error:
        return CampaignFile(path.stem, path, problem=f"cannot be read: {error}")


@lru_cache(maxsize=256)
def read(path: Path, changed_ns: int) -> CampaignFile:
    """What a file asks for. It is read again when it has changed."""
    from loadtest.campaign.schema import read_campaign  # here, because importing it takes time

    if not NAME.fullmatch(path.stem):
        return CampaignFile(path.stem, path, problem="rename the file to letters, digits, '.', '_' and '-'")
    try:
        campaign = read_campaign(path)
    except UnderstudyError as error:
        return CampaignFile(path.stem, path, problem=str(error))
    asked: list[Arrivals | AccuracyTest | SpeedTest] = [
        *(campaign.mixed.arrivals if campaign.mixed else ()),
        *(campaign.accuracy.tests if campaign.accuracy else ()),
        *(campaign.speed.tests if campaign.speed else ()),
    ]
    models = tuple(dict.fromkeys(each.model for each in asked))
    parts = tuple(name for name in ("mixed", "accuracy", "speed") if getattr(campaign, name))
    return CampaignFile(path.stem, path, models, parts, campaign.limit_s)
