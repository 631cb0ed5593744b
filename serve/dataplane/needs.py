"""Refuses a request that no variant which may answer it can answer."""

from collections.abc import Mapping

from serve.config.capabilities import Lack, Needs, lack
from serve.config.snapshot import ServedVariant
from serve.dataplane.router import Target
from serve.errors import ContextTooLong
from variants.errors import InputError


def lacks_of(of_model: Mapping[str, ServedVariant], needs: Needs) -> dict[str, Lack | None]:
    """By variant: the first of `needs` that it lacks."""
    return {name: lack(each.capabilities, needs) for name, each in of_model.items()}


def check_needs(
    target: Target, of_model: Mapping[str, ServedVariant], lacks: Mapping[str, Lack | None], pin: str | None
) -> None:
    """Raises InputError where the named variant, or each variant that may answer, lacks something of the request's
    needs. Those are the variants with a weight above 0, and the client's `pin`. The message names the field, and what
    can be answered."""
    named = of_model.get(target.variant) if target.variant else None
    if target.variant and named is None:
        return  # the router refuses the name
    asked = [named] if named else [each for each in of_model.values() if each.weight > 0 or each.variant == pin]
    lacking = [lacks[each.variant] for each in asked]
    missing = next((each for each in lacking if each), None)
    if missing is None or None in lacking:
        return
    who = named.name if named else f"no variant of {target.model} with traffic"
    verb = "does not offer" if named else "offers"
    able = [each.name for each in of_model.values() if lacks[each.variant] is None]
    raise error_of(missing)(
        f"{who} {verb} {missing.needed}", field=missing.field, mend=mend_of(missing, able, of_model)
    )


def error_of(missing: Lack) -> type[InputError]:
    return ContextTooLong if missing.is_context else InputError


def mend_of(missing: Lack, able: list[str], of_model: Mapping[str, ServedVariant]) -> str:
    """What would be answered: a variant that can, a smaller number, or the request without the field."""
    if able:
        return f"ask {able[0]}"
    if missing.is_context:
        return f"at most {max(each.capabilities.context or 0 for each in of_model.values())} tokens"
    return "send text alone" if missing.field == "messages" else f"leave {missing.field} out"
