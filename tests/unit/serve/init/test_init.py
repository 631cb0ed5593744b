"""The stack and the campaign that `understudy init` writes, for data in each form and machines of each kind."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from loadtest.campaign.schema import read_campaign
from serve.cli.init import write_files
from serve.cli.main import app
from serve.config.loader import load
from serve.init.plan import StackPlan, task_name_of
from serve.init.request import Request, plan_for
from serve.init.task import Columns
from tests.unit.serve.init.test_model import LLAMA, folder_of
from variants.errors import InputError
from variants.progress import NoProgress

WORDS = ("river", "mill", "bridge", "water", "night", "morning", "stone", "field")


def sentences(count: int) -> list[str]:
    return [f"the {WORDS[at % 8]} by the {WORDS[at // 8 % 8]}, number {at}" for at in range(count)]


def rows(count: int = 60, labels: Sequence[str] = ("good", "bad")) -> list[dict[str, str]]:
    return [{"text": text, "label": labels[at % len(labels)]} for at, text in enumerate(sentences(count))]


def write_csv(path: Path, table: list[dict[str, str]], header: bool = True) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        if header:
            writer.writeheader()
        writer.writerows(table)
    return path


def planned(model: Path, data: Path | None, columns: Columns | None = None, **said: Any) -> StackPlan:
    request = Request(str(model), str(data) if data else None, columns=columns or Columns(), **said)
    return plan_for(request, NoProgress())


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "llama", LLAMA)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    labels = {"0": "bad", "1": "good"}
    return folder_of(tmp_path / "judge", {"architectures": ["BertForSequenceClassification"], "id2label": labels})


def test_the_files_load_and_name_each_other(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's three files agree: what it says in JSON, the stack and the campaign."""
    monkeypatch.chdir(tmp_path)
    data = write_csv(tmp_path / "intents.csv", rows())
    done = CliRunner().invoke(app, ["init", str(llama), "--data", str(data), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    stack, campaign = load(tmp_path / told["stack"]), read_campaign(tmp_path / told["campaign"])
    assert list(stack.models["llama"].variants) == told["variants"]
    assert stack.models["llama"].evaluate == ("intents",)
    assert campaign.accuracy is not None
    (test,) = campaign.accuracy.tests
    assert (test.model, test.task) == ("llama", "intents")
    assert (
        stack.all_tasks.get("intents").test_sha256 == type(stack.all_tasks)(campaign.tasks).get("intents").test_sha256
    )
    assert test.n == len(stack.all_tasks.get("intents").examples("test"))
    assert told["commands"][0] == f"understudy evaluate --stack {told['stack']}"
    again = CliRunner().invoke(app, ["init", str(llama), "--data", str(data)])
    assert isinstance(again.exception, InputError)
    assert "llama.yaml, llama-campaign.yaml: already there" in str(again.exception)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_each_format_gives_the_same_task(form: str, llama: Path, tmp_path: Path) -> None:
    path = tmp_path / f"data.{form}"
    if form == "csv":
        write_csv(path, rows())
    elif form == "tsv":
        path.write_text("text\tlabel\n" + "".join(f"{row['text']}\t{row['label']}\n" for row in rows()))
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows()), path)
    task = planned(llama, path).task
    assert task is not None
    assert (task.definition["input"], task.definition["label"]) == ("{{ text }}\nLabel:", "label")
    assert (task.scorer, task.labels) == ("choice", ("bad", "good"))
    assert task.counts["test"] >= 30


@pytest.mark.parametrize(
    ("row", "scorer"),
    [
        ({"goal": "{text}", "sol1": "{text} a", "sol2": "{text} b", "label": "{bit}"}, "choice"),
        ({"question": "{text}", "answer": "{at}7"}, "number"),
        ({"question": "{text}", "answer": "because of {text}"}, "f1"),
        ({"text": "{text}"}, "passage"),
    ],
    ids=["choices", "numbers", "texts", "passages"],
)
def test_the_columns_decide_the_scorer(row: dict[str, str], scorer: str, llama: Path, tmp_path: Path) -> None:
    table = [
        {name: cell.format(text=text, at=at, bit=at % 2) for name, cell in row.items()}
        for at, text in enumerate(sentences(40))
    ]
    task = planned(llama, write_csv(tmp_path / "data.csv", table)).task
    assert task is not None
    assert task.scorer == scorer
    assert task.definition.get("choices") == (["sol1", "sol2"] if "sol1" in table[0] else None)


def test_a_task_of_endings_loads_without_labels(llama: Path, tmp_path: Path) -> None:
    """A campaign continues its texts, and a rollout asks how far answers agree."""
    table = [{"goal": text, "sol1": "a", "sol2": "b", "label": str(at % 2)} for at, text in enumerate(sentences(40))]
    plan = planned(llama, write_csv(tmp_path / "data.csv", table), name="mine")
    done = write_files(plan, tmp_path / "mine.yaml", force=False)
    campaign = read_campaign(Path(done["campaign"]))
    assert campaign.accuracy is None
    assert campaign.mixed is not None
    assert [each.ask for each in campaign.mixed.arrivals] == ["text"]
    assert any("--agreement" in command for command in done["commands"])


def test_rows_in_the_order_of_their_labels_are_read_to_the_end(llama: Path, classifier: Path, tmp_path: Path) -> None:
    """The first thousands of rows may have one label alone."""
    table = sorted(rows(4400, labels=("0", "1")), key=lambda row: row["label"])
    path = write_csv(tmp_path / "data.csv", table)
    task = planned(llama, path).task
    assert task is not None
    assert (task.scorer, task.labels) == ("choice", ("0", "1"))
    task = planned(classifier, path).task
    assert task is not None
    assert task.definition["labels"] == {"0": "bad", "1": "good"}
    assert task.counts["test"] == pytest.approx(400, abs=4)


def test_rows_of_json_are_counted_and_not_guessed(llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row | {"a_long_name_of_a_column": 1}) + "\n" for row in rows(3000)))
    task = planned(llama, path).task
    assert task is not None
    assert task.counts["test"] == pytest.approx(400, abs=4)


def test_a_head_that_knows_none_of_many_labels_is_replaced(classifier: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data.csv", rows(1500, labels=[f"intent {at}" for at in range(150)]))
    plan = planned(classifier, path)
    assert plan.variants[0].recipe["kind"] == "train-text"
    free = [{"text": text, "label": text[::-1]} for text in sentences(60)]
    with pytest.raises(InputError, match="has 60 values in 60 rows, so it names no classes"):
        planned(classifier, write_csv(tmp_path / "free.csv", free))


def test_without_a_row_for_calibration_int8_is_left_out(tmp_path: Path) -> None:
    encoder = folder_of(tmp_path / "encoder", {"architectures": ["BertModel"]})
    (encoder / "tokenizer.json").write_text("{}")
    path = write_csv(tmp_path / "data.csv", rows(100, labels=[f"label {at}" for at in range(20)]))
    plan = planned(encoder, path, family="text-classification")
    assert "no row is left for calibration" in plan.left_out["int8"]
    assert "int8" not in [each.name for each in plan.variants]


def test_what_files_say_ends_no_comment_and_names_are_texts(tmp_path: Path) -> None:
    config = LLAMA | {"architectures": ["X\n    seed: 7\nForCausalLM"]}
    data = write_csv(tmp_path / "2024-11-30.csv", rows())
    done = write_files(planned(folder_of(tmp_path / "no", config), data), tmp_path / "my stack.yaml", force=False)
    stack = load(tmp_path / "my stack.yaml")
    assert stack.models["no"].seed == 0
    assert stack.models["no"].evaluate == ("2024_11_30",)
    assert read_campaign(Path(done["campaign"])).name == "no"
    assert f"'{tmp_path}/my stack.yaml'" in done["commands"][0]


def test_the_user_may_say_that_a_header_is_one(llama: Path, tmp_path: Path) -> None:
    table = [{"animal": each["text"], "label": ("label", "other")[at % 2]} for at, each in enumerate(rows())]
    path = write_csv(tmp_path / "data.csv", table)
    with pytest.raises(InputError, match="--columns"):
        planned(llama, path)
    assert planned(llama, path, Columns(label="label")).task


def test_a_template_of_the_users_own_needs_no_guess(llama: Path, tmp_path: Path) -> None:
    table = [{"Review Text": f"{row['text']} and more", "short": row["text"], "label": row["label"]} for row in rows()]
    task = planned(llama, write_csv(tmp_path / "data.csv", table), Columns(input="{{ short }} is")).task
    assert task is not None
    assert task.definition["input"] == "{{ short }} is"


def test_labels_that_begin_alike_are_generated(llama: Path, tmp_path: Path) -> None:
    task = planned(llama, write_csv(tmp_path / "data.csv", rows(labels=("not good", "not bad", "fine")))).task
    assert task is not None
    assert task.scorer == "prefix"


def test_a_column_of_splits_is_used(classifier: Path, tmp_path: Path) -> None:
    table = [row | {"split": ("train", "test", "validation")[at % 3]} for at, row in enumerate(rows(90))]
    task = planned(classifier, write_csv(tmp_path / "data.csv", table)).task
    assert task is not None
    assert task.definition["splits"] == {"column": "split"}
    assert dict(task.counts) == {"train": 30, "calibration": 30, "test": 30}


def test_both_sentences_are_the_input(classifier: Path, tmp_path: Path) -> None:
    table = [{"premise": row["text"], "hypothesis": "it is so", "label": row["label"], "kind": "ab"[at % 2]}
             for at, row in enumerate(rows())]  # fmt: skip
    task = planned(classifier, write_csv(tmp_path / "data.csv", table)).task
    assert task is not None
    assert task.definition["input"] == "{{ premise }} {{ hypothesis }}"
    assert "kind has few values too" in task.reasons["label"]


def test_objects_are_no_text(llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(
        "".join(json.dumps({"data": {"text": row["text"]}, "label": row["label"]}) + "\n" for row in rows())
    )
    with pytest.raises(InputError, match="the column 'data' has lists or mappings"):
        planned(llama, path)
    task = planned(llama, path, Columns(input="{{ data.text }} is")).task
    assert task is not None
    assert task.counts["test"] > 30


def test_one_label_alone_is_refused(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every row has the label 'good', so there is nothing to tell apart"):
        planned(classifier, write_csv(tmp_path / "data.csv", rows(labels=("good",))))


def test_another_separator_is_named(llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text;label\na;b\n")
    with pytest.raises(InputError, match="its columns are separated by ';', not by commas"):
        planned(llama, path)
    path.write_text("text\tlabel\na\tb\n")
    with pytest.raises(InputError, match="--format tsv"):
        planned(llama, path)


def yolo_of(folder: Path) -> tuple[Path, Path]:
    """The folders of YOLO's text files and of the images, of the classes 0 and 1."""
    labels, pictures = folder / "labels", folder / "images"
    labels.mkdir()
    pictures.mkdir()
    for at in range(30):
        Image.new("RGB", (32, 32), (at, at * 8, 0)).save(pictures / f"{at}.png")
        (labels / f"{at}.txt").write_text(f"{at % 2} 0.5 0.5 0.25 0.25\n")
    return labels, pictures


def test_boxes_are_of_classes_that_the_detector_knows(tmp_path: Path) -> None:
    """By position, by the names in a YAML file, or not at all: then every answer would be wrong."""
    labels, pictures = yolo_of(tmp_path)
    config = {
        "architectures": ["YolosForObjectDetection"],
        "id2label": {"0": "cat", "1": "dog"},
        "image_size": [64, 64],
    }
    detector = folder_of(tmp_path / "detector", config)
    beside: dict[str, Any] = {"format": "yolo", "images": str(pictures)}
    task = planned(detector, labels, beside=beside).task
    assert task is not None
    assert task.definition["labels"] == {"0": "cat", "1": "dog"}
    (tmp_path / "data.yaml").write_text("path: .\nnames: {0: cat, 1: dog}\n")
    task = planned(detector, labels, beside=beside | {"classes": str(tmp_path / "data.yaml")}).task
    assert task is not None
    assert (task.definition["data"]["classes"], task.labels) == (["cat", "dog"], ("cat", "dog"))
    (tmp_path / "data.yaml").write_text("names: [car, bus]\n")
    with pytest.raises(InputError, match="the data's classes bus, car are not among the detector's: cat, dog"):
        planned(detector, labels, beside=beside | {"classes": str(tmp_path / "data.yaml")})


@pytest.mark.parametrize("named", [".", "labels", "labels/train"])
def test_images_lie_where_the_tools_of_yolo_put_them(tmp_path: Path, named: str) -> None:
    labels, pictures = yolo_of(tmp_path)
    for folder in (labels, pictures):
        (folder / "train").mkdir()
        for path in [each for each in folder.iterdir() if each.is_file()]:
            path.rename(folder / "train" / path.name)
    detector = folder_of(
        tmp_path / "detector",
        {"architectures": ["YolosForObjectDetection"], "id2label": {"0": "cat", "1": "dog"}, "image_size": [64, 64]},
    )
    task = planned(detector, tmp_path / named, beside={"format": "yolo"}).task
    assert task is not None
    assert task.name == task_name_of((tmp_path / named).resolve().stem)
    below = "/train" if named == "labels/train" else ""
    assert task.definition["data"]["images"] == f"{pictures}{below}"
    assert task.counts["test"] == 18
    assert any("18 examples" in doubt for doubt in task.doubts)


def test_labels_that_a_classifier_knows_may_stand_there_once(tmp_path: Path) -> None:
    known = folder_of(
        tmp_path / "known",
        {
            "architectures": ["ViTForImageClassification"],
            "id2label": {str(at): f"class {at}" for at in range(60)},
            "image_size": 32,
        },
    )
    for at in range(60):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (at, at * 4, 0)).save(tmp_path / "photos" / f"{at:04d}_a.png")
    plan = planned(known, tmp_path / "photos", beside={"name_pattern": r"(?P<label>\d{4})_.*"})
    assert plan.variants[0].recipe["kind"] == "baseline"
    assert plan.task is not None
    assert plan.task.definition["labels"]["0007"] == "class 7"
    assert plan.task.counts["test"] == 36


def test_labels_that_are_digits_follow_a_blank(llama: Path, tmp_path: Path) -> None:
    """SmolLM2 reads " 0" and " 1" as a blank and a digit, so both would begin with the same token."""
    task = planned(llama, write_csv(tmp_path / "data.csv", rows(labels=("0", "1")))).task
    assert task is not None
    assert task.definition["input"] == "{{ text }}\nLabel: "


def test_a_file_without_a_header_is_named(llama: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data.csv", rows(), header=False)
    with pytest.raises(InputError, match=r"--columns: .*its first line looks like a row.*'good' is also a value"):
        planned(llama, path)
    task = planned(llama, path, beside={"columns": ["text", "label"]}).task
    assert task is not None
    assert task.definition["data"]["columns"] == ["text", "label"]


def test_a_classifier_keeps_its_head_for_labels_that_it_knows(classifier: Path, tmp_path: Path) -> None:
    """By name, and by position; other labels need a new head, which trains on most rows."""
    named = planned(classifier, write_csv(tmp_path / "a.csv", rows()))
    assert named.variants[0].recipe == {"kind": "baseline", "dtype": "float32"}
    numbered = planned(classifier, write_csv(tmp_path / "b.csv", rows(labels=("0", "1"))))
    assert numbered.task is not None
    assert numbered.task.definition["labels"] == {"0": "bad", "1": "good"}
    assert numbered.variants[0].recipe["kind"] == "baseline"
    other = planned(classifier, write_csv(tmp_path / "c.csv", rows(labels=("fast", "slow"))))
    assert other.task is not None
    assert other.variants[0].recipe["kind"] == "train-text"
    assert other.variants[0].recipe["examples"] == other.task.counts["train"] > 30


def test_an_encoder_needs_a_family_for_labels(tmp_path: Path) -> None:
    encoder = folder_of(tmp_path / "encoder", {"architectures": ["BertModel"]})
    (encoder / "tokenizer.json").write_text("{}")
    data = write_csv(tmp_path / "data.csv", rows())
    with pytest.raises(InputError, match="--family text-classification"):
        planned(encoder, data)
    assert planned(encoder, data, family="text-classification").model.task == "text-classification"
    with pytest.raises(InputError, match="--data: an encoder has no labels yet"):
        planned(encoder, None, family="text-classification")


def test_numbers_of_classes_are_no_scores_of_pairs(tmp_path: Path) -> None:
    """News with a class, a title and a text looks like two texts and their score."""
    encoder = folder_of(tmp_path / "encoder", {"architectures": ["BertModel"]})
    (encoder / "tokenizer.json").write_text("{}")
    table = [
        {"label": str(1 + at % 4), "title": f"title: {text}", "text": text} for at, text in enumerate(sentences(60))
    ]
    data = write_csv(tmp_path / "news.csv", table)
    with pytest.raises(InputError, match=r"--family: .*'label' has 4 whole numbers, as classes have"):
        planned(encoder, data)
    assert planned(encoder, data, family="text-classification").model.task == "text-classification"
    task = planned(encoder, data, Columns(pair=("title", "text"))).task
    assert task is not None
    assert task.scorer == "spearman"


@pytest.mark.parametrize(
    ("table", "columns", "said"),
    [
        (rows(), Columns(label="labell"), "--label: .* has no column 'labell' .its columns are text, label"),
        (rows(), Columns(text=("body",)), "--text: .* has no column 'body'"),
        (rows(), Columns(choices=("a", "b")), "--choices: .* has no column 'a'"),
        (rows(3), Columns(), "too few"),
        ([{"a": text, "b": text[::-1]} for text in sentences(40)], Columns(), "--label: .*which column is the label"),
        (rows(), Columns(input="{{ nothing }}"), "nothing"),
        (rows(), Columns(scorer="bleu"), "scorer"),
    ],
    ids=["label", "text", "choices", "three rows", "no label", "template", "scorer"],
)
def test_wrong_data_is_refused_by_flag(
    table: list[dict[str, str]], columns: Columns, said: str, llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        planned(llama, write_csv(tmp_path / "data.csv", table), columns)


def test_nothing_is_written_after_an_error(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["init", str(llama), "--data", str(tmp_path / "absent.csv")])
    assert "absent.csv: no such file or folder" in str(done.exception)
    assert not list(folder.iterdir())


def test_a_pipeline_of_pictures_takes_no_data(tmp_path: Path) -> None:
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (tmp_path / "painter").mkdir()
    (tmp_path / "painter" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="no data tells whether a picture is right") as refused:
        planned(tmp_path / "painter", write_csv(tmp_path / "rows.csv", rows()))
    assert refused.value.field == "--data"
    plan = planned(tmp_path / "painter", None)
    assert [each.name for each in plan.variants] == ["baseline", "int8"]
    assert plan.campaign("painter.yaml") is None
