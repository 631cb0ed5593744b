from serve.cli.rollout_text import describe_rivals


def test_candidates_that_wait_are_shown_with_what_they_have_shown() -> None:
    known = {"n": 40, "value": 0.02, "low": -0.1, "high": 0.5, "limit": 0.0, "state": "open"}
    unknown = {"n": 0, "value": None, "low": -1.0, "high": 1.0, "limit": 0.0, "state": "open"}
    assert describe_rivals({"int8": {"floor": known}, "nf4": {"floor": unknown}}) == [
        "  next, on the same requests: int8 floor +0.0200 (-0.1000 to +0.5000), n 40, open",
        "  next, on the same requests: nf4 floor -, n 0, open",
    ]
    assert describe_rivals({}) == []
