"""When a key that has reached a limit may ask again."""

from types import SimpleNamespace

import pytest

from serve.api.access.key_limits import KeyUse
from serve.config.server.api_keys import KeyLimits
from serve.errors import RateLimited, headers_of, status_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`now` is the time in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("serve.api.access.key_limits.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def wait(use: KeyUse, limits: KeyLimits) -> int:
    """The seconds in `Retry-After`; 0 for a request that is let in, and ends."""
    try:
        use.begin(limits)
    except RateLimited as error:
        return int(headers_of(error)["retry-after"])
    use.end()
    return 0


def test_requests_of_the_last_minute_count(clock: SimpleNamespace) -> None:
    assert status_of(RateLimited("")) == 429
    use, limits = KeyUse("a"), KeyLimits(requests_per_minute=2)
    assert wait(use, limits) == 0
    clock.now += 20
    assert [wait(use, limits), wait(use, limits)] == [0, 40]
    clock.now += 39.5
    assert wait(use, limits) == 1
    clock.now += 0.5
    assert [wait(use, limits), wait(use, limits)] == [0, 20]
    assert wait(use, KeyLimits(requests_per_minute=3)) == 0, "a changed limit counts at once"


def test_tokens_count_when_they_are_known(clock: SimpleNamespace) -> None:
    use, limits = KeyUse("a"), KeyLimits(tokens_per_minute=100)
    for tokens in (60, 39, 1):
        assert wait(use, limits) == 0
        use.spent(tokens)
        clock.now += 10
    assert wait(use, limits) == 30
    clock.now += 30
    assert wait(use, limits) == 0
    use.spent(500)
    assert wait(use, limits) == 60
    clock.now += 60
    assert wait(use, limits) == 0


def test_what_is_not_limited_is_not_remembered(clock: SimpleNamespace) -> None:
    use = KeyUse("a")
    for _ in range(100):
        assert wait(use, KeyLimits()) == 0
        use.spent(1000)
    assert not use.requests.amounts
    assert not use.tokens.amounts
