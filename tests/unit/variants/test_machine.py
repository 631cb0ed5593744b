from variants.machine import describe, versions


def test_this_machine_is_described() -> None:
    machine = describe()
    assert machine.cores >= 1
    assert machine.memory_bytes > 2**28
    assert machine.cpu
    assert describe() == machine


def test_only_what_is_installed_has_a_version() -> None:
    installed = versions(("pydantic", "no-such-distribution"))
    assert list(installed) == ["pydantic"]
    assert installed["pydantic"].startswith("2.")
