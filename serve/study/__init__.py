"""The study: every variant of a stack file, built and evaluated one card at a time, and one page of all cards.

`runner` makes the cards of `matrix`, and each variant in a `build_process`; `reuse` keeps what an earlier run measured.
`schema` is `study.json`, `page` its page and `sentences` its text; `model_card` writes one Markdown file a variant.
"""
