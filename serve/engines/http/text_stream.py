"""From tokens to text that may be shown: whole characters only, and never a part of a stop string.

One `TextStream` a choice. It is the only place that knows about stop strings, so every engine of ours stops
alike, streamed or not. It does not decode: `Decoder` is what the engine's tokenizer offers.
"""

from serve.engines.base import Decoder


class TextStream:
    """Feeds tokens in, gives text out. `stop` is the stop string that was met; `shows_stop` has it end the text."""

    def __init__(self, decoder: Decoder, stops: tuple[str, ...], shows_stop: bool = False) -> None:
        self.decoder = decoder
        self.stops = stops
        self.shows_stop = shows_stop
        self.held = ""
        self.stop: str | None = None

    @property
    def stopped(self) -> bool:
        return self.stop is not None

    def push(self, token: int) -> str:
        """What may be shown now. Text that could still become a stop string is held back."""
        if self.stopped:
            return ""
        self.held += self.decoder.step(token)
        starts = [(at, stop) for stop in self.stops if (at := self.held.find(stop)) >= 0]
        if starts:
            at, self.stop = min(starts, key=lambda each: each[0])
            shown, self.held = self.held[: at + len(self.stop) * self.shows_stop], ""
            return shown
        keep = longest_start(self.held, self.stops)
        shown = self.held[: len(self.held) - keep]
        self.held = self.held[len(shown) :]
        return shown

    def finish(self) -> str:
        """What was held back and turned out to be no stop string. An unfinished character is dropped."""
        shown, self.held = self.held, ""
        return shown


def longest_start(text: str, stops: tuple[str, ...]) -> int:
    """The length of the longest end of `text` that begins a stop string."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-size:]) for stop in stops):
            return size
    return 0
