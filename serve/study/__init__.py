"""The study: every family and method of one stack file, built and evaluated a card at a time, and one page of them.

`matrix` says which cards there are, `run` makes them, `make` builds one variant in a process of its own, `record` is
`study.json`, `words` says what the figures say and do not say, `page` draws, `model_card` writes model cards.
"""
