"""`python -m tests.support.study_scripted OUT`: a study whose second variant takes long to start, to be interrupted."""

import sys
from pathlib import Path

from serve.study.runner import Runner, StudyPlan, interrupt_on_signals
from tests.support.study import INT8, ScriptedMake, scripted_stack
from variants.home import home


def main() -> None:
    document = scripted_stack(int8=INT8).model_dump(mode="json", by_alias=True, exclude_none=True)
    document["models"]["bands"]["variants"]["int8"]["engine"] = {"kind": "scripted", "startup_s": 60}
    interrupt_on_signals()
    try:
        Runner(
            StudyPlan(type(scripted_stack()).model_validate(document), most=20), Path(sys.argv[1]), ScriptedMake(home())
        ).run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
