"""One request may ask for so much work and no more; the refusal names the field."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from serve.api.limits.work import INPUTS, characters_of, check_tensors, check_work, number_of
from serve.config.stack import ENGINES, Limits, Model
from tests.support.scripted import make_stack
from variants.errors import InputError

STACK = make_stack()


def model_of(name: str = "echo", **limits: Any) -> Model:
    model = STACK.models[name]
    return model.model_copy(update={"limits": Limits(**limits)})


@pytest.mark.parametrize(
    ("path", "document", "field"),
    [
        ("/v1/completions", {"n": 16_384}, "n"),
        ("/v1/completions", {"n": 17}, "n"),
        ("/v1/completions", {"n": 17.0}, "n"),
        ("/v1/completions", {"n": "17"}, "n"),
        ("/v1/completions", {"n": 1, "best_of": 17}, "best_of"),
        ("/v1/completions", {"prompt": ["a"] * 129}, "prompt"),
        ("/v1/completions", {"prompt": [[1]] * 129}, "prompt"),
        ("/v1/completions", {"prompt": [None, *["a"] * 129]}, "prompt"),
        ("/v1/completions", {"prompt": ["a"] * 128, "max_tokens": 1025}, "max_tokens"),
        ("/v1/completions", {"prompt": ["a"] * 128, "max_tokens": 1e6}, "max_tokens"),
        ("/v1/completions", {"prompt": ["a"] * 128, "n": 16, "max_tokens": 65}, "max_tokens"),
        ("/v1/chat/completions", {"n": 16, "max_completion_tokens": 8193}, "max_completion_tokens"),
        ("/v1/completions", {"prompt": "a" * (2**22 + 1)}, "prompt"),
        ("/v1/completions", {"prompt": ["a" * 2**20] * 5}, "prompt"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * 2**20}] * 5}, "messages"),
        ("/v1/chat/completions", {"messages": [{"content": [{"type": "text", "text": "a" * 2**23}]}]}, "messages"),
        ("/tokenize", {"prompt": "a" * (2**22 + 1)}, "prompt"),
    ],
)
def test_too_much_work_is_refused_by_the_field_that_asks_for_it(
    path: str, document: dict[str, Any], field: str
) -> None:
    with pytest.raises(InputError, match="too many") as refused:
        check_work(document, path, model_of())
    assert refused.value.field == field
    assert refused.value.mend
    assert "limits." in refused.value.mend


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/completions", {"n": 16, "best_of": 16, "prompt": "a" * 2**22}),
        ("/v1/completions", {"n": None, "prompt": ["a"] * 128}),
        ("/v1/completions", {"prompt": list(range(100_000)), "max_tokens": 10**6}),
        ("/v1/completions", {"prompt": ["a"] * 128, "max_tokens": 1024}),
        ("/v1/chat/completions", {"n": 16, "messages": [{"role": "user", "content": None}]}),
        (
            "/v1/chat/completions",
            {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:" + "a" * 2**23}}]}]},
        ),
        ("/v1/completions", {"n": {}, "prompt": 3, "max_tokens": []}),
    ],
)
def test_ordinary_work_and_wrong_types_are_left_to_the_engine(path: str, document: dict[str, Any]) -> None:
    check_work(document, path, model_of())


def test_the_limits_of_the_stack_file_apply() -> None:
    check_work(
        {"n": 64, "prompt": ["a"] * 300, "max_tokens": 10},
        "/v1/completions",
        model_of(choices=64, inputs=300, tokens=192_000),
    )
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"choices": 1}, {"n": 2}),
        ({"inputs": 1}, {"prompt": ["a", "b"]}),
        ({"tokens": 31}, {"prompt": ["a", "b"]}),
        ({"characters": 1}, {"prompt": "ab"}),
    ]
    for limits, document in cases:
        with pytest.raises(InputError, match="too many"):
            check_work(document, "/v1/completions", model_of(**limits))


def test_texts_to_embed_are_counted_and_measured() -> None:
    check_work({"input": ["a"] * 2048}, "/v1/embeddings", model_of("near"))
    for texts in (["a"] * 2049, [[1]] * 2049, "a" * 2**23, ["a" * 3000] * 2048):
        with pytest.raises(InputError, match="too many") as refused:
            check_work({"input": texts}, "/v1/embeddings", model_of("near"))
        assert refused.value.field == "input"


@pytest.mark.parametrize(("count", "refused"), [(256, False), (257, True), (2048, True)])
def test_images_of_a_batch_are_counted(count: int, refused: bool) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [count], "parameters": {"binary_data_size": 9}}
    head = json.dumps({"inputs": [tensor]}).encode()
    if not refused:
        check_tensors(head, model_of("bands"))
        return
    with pytest.raises(InputError, match=f"{count} inputs are too many") as error:
        check_tensors(head, model_of("bands"))
    assert error.value.field == "inputs[0].shape"


@pytest.mark.parametrize(
    "head", [b"[]", b'{"inputs": 3}', b'{"inputs": [7]}', b'{"inputs": [{"shape": "a"}]}', b'{"inputs": [{}]}']
)
def test_a_head_of_other_types_is_left_to_the_engine(head: bytes) -> None:
    check_tensors(head, model_of("bands"))


MANY = '{"inputs": [{"name": "image", "shape": [2000]}]}'


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{",
        b"\xff",
        MANY[:-1].encode() + b', "parameters": {"x": NaN}}',
        MANY[:-1].encode() + b', "x": -Infinity}',
        *(MANY.encode(code) for code in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig")),
    ],
)
def test_a_head_that_only_a_lenient_parser_reads_is_refused(head: bytes) -> None:
    """Its images would not be counted: 2,000 passed a bound of 256."""
    with pytest.raises(InputError, match="not JSON") as refused:
        check_tensors(head, model_of("bands"))
    assert refused.value.field == "body"


@pytest.mark.parametrize(
    "head",
    [
        MANY,
        MANY.replace("inputs", "in\\u0070uts"),
        MANY.replace("{", '{"inputs": 3, ', 1),
        MANY.replace('"shape"', '"shape": "a", "shape"'),
        MANY.replace("}]", "}, 7]"),
    ],
)
def test_images_are_counted_however_the_head_is_written(head: str) -> None:
    json.loads(head)
    with pytest.raises(InputError, match="2000 inputs are too many"):
        check_tensors(head.encode(), model_of("bands"))


def test_every_task_has_a_bound() -> None:
    assert set(INPUTS) == set(ENGINES)


def test_characters_are_those_of_the_texts_alone() -> None:
    assert characters_of(["ab", {"content": [{"text": "cde"}, {"image_url": "x" * 9}]}, 7, None]) == 5


IDS = [7] * 1900


@pytest.mark.parametrize(
    ("path", "document", "field"),
    [
        ("/v1/completions", {"prompt": [IDS] * 32, "prompt_logprobs": 20}, "prompt_logprobs"),
        ("/v1/completions", {"prompt": IDS, "prompt_logprobs": 20, "n": 16}, "prompt_logprobs"),
        ("/v1/completions", {"prompt": [IDS] * 128, "echo": True, "logprobs": 5}, "logprobs"),
        ("/v1/completions", {"prompt": ["a" * 2**15] * 32, "prompt_logprobs": "20"}, "prompt_logprobs"),
        ("/v1/completions", {"prompt": ["a"] * 128, "max_tokens": 1024, "logprobs": 5}, "logprobs"),
        (
            "/v1/chat/completions",
            {"messages": [], "n": 16, "max_tokens": 2048, "logprobs": True, "top_logprobs": 20},
            "top_logprobs",
        ),
        ("/v1/chat/completions", {"messages": [], "n": 16, "logprobs": True, "top_logprobs": 20}, "top_logprobs"),
        (
            "/v1/chat/completions",
            {"messages": [{"content": "a" * 2**15}], "n": 16, "prompt_logprobs": 20},
            "prompt_logprobs",
        ),
    ],
)
def test_log_probabilities_are_counted(path: str, document: dict[str, Any], field: str) -> None:
    """An answer of 32 prompts with 1,900 tokens each had 61 MiB."""
    with pytest.raises(InputError, match="log probabilities are too many") as refused:
        check_work({"max_tokens": 1, **document} if "prompt" in document else document, path, model_of())
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/completions", {"prompt": [[7] * 2048] * 128, "echo": True, "logprobs": 1, "max_tokens": 1}),
        ("/v1/completions", {"prompt": [IDS] * 8, "prompt_logprobs": 20, "max_tokens": 1}),
        ("/v1/completions", {"prompt": [IDS] * 32, "logprobs": 20, "max_tokens": 1}),
        ("/v1/chat/completions", {"messages": [{"content": "hi"}], "n": 16, "prompt_logprobs": 20}),
        ("/v1/chat/completions", {"messages": [], "max_tokens": 4096, "logprobs": True, "top_logprobs": 20}),
        (
            "/v1/chat/completions",
            {"messages": [], "n": 16, "max_tokens": 2048, "logprobs": True, "top_logprobs": 20, "stream": True},
        ),
    ],
)
def test_usual_log_probabilities_are_taken(path: str, document: dict[str, Any]) -> None:
    check_work(document, path, model_of())


@pytest.mark.parametrize("text", ["+{}", "{}.0", " {} ", "{}", "0{}", "-{}", "1_{}", "{}e0", "{}.5", "a{}"])
@pytest.mark.parametrize("field", ["n", "best_of"])
def test_a_number_in_text_is_what_pydantic_and_so_vllm_reads(text: str, field: str) -> None:
    value = text.format(64)
    try:
        read = TypeAdapter(int).validate_python(value)
    except ValidationError:
        read = 0
    assert number_of(value) == read
    if read <= 16:
        check_work({field: value}, "/v1/completions", model_of())
        return
    with pytest.raises(InputError, match=f"{read} answers are too many"):
        check_work({field: value}, "/v1/completions", model_of())
    with pytest.raises(InputError, match="answers of"):
        check_work({"prompt": ["a"] * 128, "max_tokens": f"+{2**14}.0"}, "/v1/completions", model_of())


def shows(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "what?"}, *parts]}]}


HERE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize("count", [1, 128])
def test_pictures_in_a_chat_are_taken_up_to_the_limit(count: int) -> None:
    check_work(shows(*[HERE] * count), "/v1/chat/completions", model_of())


def test_pictures_in_a_chat_are_counted_over_all_messages() -> None:
    turn = shows(*[HERE] * 65)["messages"][0]
    with pytest.raises(InputError, match="129 inputs are too many") as refused:
        check_work({"messages": [turn, turn]}, "/v1/chat/completions", model_of())
    assert refused.value.field == "messages"


@pytest.mark.parametrize("address", ["http://169.254.169.254/a", "https://a.example/b.png", "file:///etc/passwd", "x"])
@pytest.mark.parametrize("name", ["image_url", "video_url", "audio_url"])
@pytest.mark.parametrize("plain", [True, False])
def test_the_address_of_a_picture_is_refused_by_name(address: str, name: str, plain: bool) -> None:
    """vLLM would fetch it, whatever it is."""
    part = {name: address if plain else {"url": address}}
    with pytest.raises(InputError, match="not fetched") as refused:
        check_work(shows(HERE, part), "/v1/chat/completions", model_of())
    assert refused.value.field == f"messages[0].content[2].{name}"
