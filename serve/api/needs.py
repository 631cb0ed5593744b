"""What a request for text needs of the variant that answers it, read from the request's fields.

Wrong types are left to the engine, which refuses them by name. A prompt's length counts only where it is certain
without a tokenizer: a prompt of token ids, and the number of tokens asked for."""

from typing import Any

from serve.config.capabilities import NOTHING, Feature, Needs

LOGPROBS = ("logprobs", "prompt_logprobs", "echo")
STRUCTURED = ("json_schema", "json_object", "structural_tag")
LIMITS = ("max_completion_tokens", "max_tokens")
PICTURES = ("image_url", "input_image", "image", "image_pil", "image_embeds")


def needs_of(path: str, document: dict[str, Any]) -> Needs:
    """The needs of a request for text. A request for token ids alone (`/tokenize`) needs nothing."""
    if path not in ("/v1/completions", "/v1/chat/completions"):
        return NOTHING
    features: dict[Feature, str] = {}
    if document.get("tools") and document.get("tool_choice") != "none":
        features["tools"] = "tools"
    if (structured := structured_field(document)) is not None:
        features["json_schema"] = structured
    if (logprobs := next((name for name in LOGPROBS if is_asked(document.get(name))), None)) is not None:
        features["logprobs"] = logprobs
    if has_picture(document.get("messages")):
        features["vision"] = "messages"
    limit = next((name for name in LIMITS if is_count(document.get(name))), None)
    is_cut = document.get("truncate_prompt_tokens") is not None
    asked, prompt = document[limit] if limit else 0, 0 if is_cut else ids_in(document.get("prompt"))
    return Needs(features, max(asked, prompt), limit if limit and asked >= prompt else "prompt")


def structured_field(document: dict[str, Any]) -> str | None:
    """The field that asks for structured output; None where none does."""
    wanted = document.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in STRUCTURED:
        return "response_format"
    return "structured_outputs" if document.get("structured_outputs") else None


def is_asked(value: Any) -> bool:
    """Whether a field asks for log probabilities. The number 0 does: those of the answer's own tokens."""
    return value is not None and value is not False


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def ids_in(prompt: Any) -> int:
    """The number of token ids of the longest prompt; 0 where prompts are text."""
    if not isinstance(prompt, list) or not prompt:
        return 0
    if is_count(prompt[0]):
        return len(prompt)
    return max(len(each) if isinstance(each, list) else 0 for each in prompt)


def has_picture(messages: Any) -> bool:
    """Whether a message of a chat has a picture as a part of its content."""
    if not isinstance(messages, list):
        return False
    contents = [each.get("content") for each in messages if isinstance(each, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") in PICTURES for part in parts)
