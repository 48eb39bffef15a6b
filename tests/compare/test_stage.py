from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.compare import adapter
from understudy.console import Exit, UserError
from understudy.records import jsonl


def numbers(path: Path) -> dict[str, Any]:
    return dict(json.loads((path.parent / "metrics.json").read_text()))


def test_it_makes_page_metrics_and_manifest(show: Any) -> None:
    outcome = show.compare()
    assert outcome.code is Exit.DONE
    assert outcome.path.name == "report.html"
    assert outcome.path.parent.parent == show.root / "runs" / "compare"
    assert outcome.path.parent.name.startswith("nightdesk-smollm2_135m-")
    manifest = json.loads((outcome.path.parent / "manifest.json").read_text())
    assert set(manifest["files"]) == {"report.html", "metrics.json"}


def test_metrics_json_holds_the_figures(show: Any) -> None:
    found = numbers(show.compare().path)
    assert found["verdict"] == "better"
    assert found["held_out"]["best"] == "epoch2"
    assert found["held_out"]["last"] == "epoch3"
    assert found["held_out"]["loss_change"] == pytest.approx(2.02 / 2.61 - 1)
    assert found["held_out"]["checkpoints"]["base"]["loss"] == pytest.approx(2.61)
    assert found["held_out"]["by_speaker"]["Mara Lind"]["epoch2"]["tokens"] == 1800
    assert found["adapter_parameters"] == 2048
    assert found["seconds"] == pytest.approx(120)
    assert len(found["samples"]) == 12
    assert found["samples"][0]["checkpoint"] == "base"
    assert found["words"]["missing"] == 0
    assert found["words"]["learned"] == 8 * 1180
    assert found["problems"] == []


def test_the_same_command_again_does_nothing(show: Any, capsys: Any) -> None:
    first = show.compare()
    before = {path: path.stat().st_mtime_ns for path in first.path.parent.iterdir()}
    capsys.readouterr()
    assert show.compare() == first
    assert "done already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in first.path.parent.iterdir()} == before


def test_fresh_makes_it_anew_with_the_same_bytes(show: Any) -> None:
    first = show.compare()
    before = first.path.read_bytes(), first.path.stat().st_mtime_ns
    again = show.compare("fresh=true")
    assert again.path.read_bytes() == before[0]
    assert again.path.stat().st_mtime_ns > before[1]


def test_a_new_sample_a_new_score_and_a_new_title_each_make_another_page(
    show: Any, append_sample: Callable[..., None]
) -> None:
    paths = [show.compare().path]
    append_sample(0, "epoch2", "greedy", seed=99)
    paths.append(show.compare().path)
    jsonl.append(show.run / "scores.jsonl", jsonl.read_whole(show.run / "scores.jsonl")[0])
    paths.append(show.compare().path)
    paths.append(show.compare("report.title=Friday").path)
    assert len(set(paths)) == 4
    assert "<h1>Friday</h1>" in paths[-1].read_text()


def test_where_the_runs_lie_does_not_change_the_page(show: Any, tmp_path: Path) -> None:
    first = show.compare().path
    moved = tmp_path / "moved"
    (show.root / "runs").rename(tmp_path / "elsewhere")
    moved.mkdir()
    (tmp_path / "elsewhere").rename(moved / "runs")
    before = (moved / "runs" / "compare" / first.parent.name / "report.html").read_bytes()
    command = [sys.executable, "-m", "compare", "corpus=nightdesk", f"root={moved}", "fresh=true"]
    command.append(f"samples={moved / 'runs' / 'generate' / show.samples.name}")
    done = subprocess.run(command, cwd=moved, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.parent.name == first.parent.name
    assert path.read_bytes() == before


def test_the_door_prints_one_line_and_goes_on_after_a_kill(show: Any) -> None:
    """SIGKILL between metrics.json and the manifest; then the same command; then once more."""
    with subprocess.Popen(
        show.command(), cwd=show.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        deadline = time.monotonic() + 60
        while not (written := list(show.root.glob("runs/compare/*/metrics.json"))):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    folder = written[0].parent
    assert not (folder / "manifest.json").exists()

    done = show.door()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder / 'report.html'}\n"
    finished = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert not list(folder.glob(".*.part"))

    again = show.door()
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "done already" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == finished


def test_no_torch_and_no_drawing_before_it_is_needed(show: Any) -> None:
    script = """
import sys
import understudy.compare.stage as stage
heavy = {"torch", "transformers", "matplotlib", "sacrebleu", "jinja2"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from understudy.compare import curves, inputs, figures, page
from pathlib import Path
found = inputs.read(*map(Path, sys.argv[1:]))
page.page(found, figures.figures(found, None), "0")
assert "matplotlib" in sys.modules
assert "torch" not in sys.modules
assert "transformers" not in sys.modules
"""
    folders = map(str, (show.samples, show.run, show.prepared))
    command = [sys.executable, "-c", script, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_torn_line_is_counted_said_and_the_rest_shown(show: Any, capsys: Any) -> None:
    with show.samples_file.open("ab") as file:
        file.write(b'{"task": "podcast", "prompt_id": "ep09-ligh')
    outcome = show.compare()
    assert outcome.code is Exit.IN_PART
    said = capsys.readouterr().err
    assert "samples.jsonl: line 37 left out: not JSON" in said
    assert "1 things left out" not in said
    assert "Made in part" in outcome.path.read_text()
    assert sum(cell["samples"] for cell in numbers(outcome.path)["samples"]) == 36
    assert show.compare().code is Exit.IN_PART  # done already, and still in part


def test_records_that_are_no_samples_are_named(show: Any) -> None:
    jsonl.append(show.samples_file, {"task": "podcast"})
    record = jsonl.read_whole(show.samples_file)[0]
    jsonl.append(show.samples_file, {**record, "text": 7, "seed": 1000})
    problems = numbers(show.compare().path)["problems"]
    assert len(problems) == 2
    assert "record 37 left out" in problems[0]
    assert "text: not text" in problems[1]


def test_samples_that_are_there_twice_are_shown_once(show: Any) -> None:
    jsonl.append(show.samples_file, jsonl.read_whole(show.samples_file)[0])
    outcome = show.compare()
    assert outcome.code is Exit.DONE
    assert any("1 sample is there twice" in note for note in numbers(outcome.path)["notes"])


@pytest.mark.parametrize("content", [None, b"", b'{"task": "pod'])
def test_no_samples_names_the_command(show: Any, content: bytes | None) -> None:
    if content is None:
        show.samples_file.unlink()
    else:
        show.samples_file.write_bytes(content)
    with pytest.raises(UserError, match="python -m generate"):
        show.compare()
    assert not (show.root / "runs" / "compare").exists()


def test_the_door_answers_missing_samples_without_a_traceback(show: Any) -> None:
    show.samples_file.unlink()
    done = show.door()
    assert done.returncode == Exit.WRONG_INPUT
    assert done.stdout == ""
    assert "python -m generate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_still_going_is_allowed_and_said(show: Any) -> None:
    (show.run / "status.json").write_text('{"state": "running"}')
    (show.run / "manifest.json").unlink()
    outcome = show.compare()
    assert outcome.code is Exit.DONE
    assert any("not finished" in note for note in numbers(outcome.path)["notes"])
    assert "its state: running" in outcome.path.read_text()


@pytest.mark.parametrize(
    ("missing", "gone", "there"),
    [
        ("metrics.jsonl", "<picture>", "What it says"),
        ("scores.jsonl", "By speaker", "<picture>"),
        ("timing.jsonl", "Training took", "<picture>"),
        ("config.yaml", "config.yaml of the", "<picture>"),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_shown(
    show: Any, missing: str, gone: str, there: str
) -> None:
    (show.run / missing).unlink()
    outcome = show.compare()
    text = outcome.path.read_text()
    assert outcome.code is Exit.DONE
    assert gone not in text
    assert there in text
    assert f"{missing} is missing" in text


def test_a_training_run_that_was_deleted_is_said_once(show: Any) -> None:
    shutil.rmtree(show.run)
    notes = numbers(show.compare().path)["notes"]
    assert [note for note in notes if show.run.name in note] == [
        f"The training run runs/train/{show.run.name} is not there any more."
    ]


def test_the_samples_of_another_checkpoint_than_the_best_are_named(show: Any) -> None:
    lines = jsonl.read_whole(show.samples_file)
    spoken = [line for line in lines if line["checkpoint"] in ("base", "epoch3")]
    jsonl.write(show.samples_file, spoken)
    assert "The samples below are by epoch3, not by epoch2." in show.compare().path.read_text()


def test_without_scores_the_curves_still_answer(show: Any) -> None:
    (show.run / "scores.jsonl").unlink()
    assert "22.6" in numbers(show.compare().path)["headline"]


def test_a_base_model_alone(show: Any) -> None:
    from understudy.compare import stage

    lines = [line for line in jsonl.read_whole(show.samples_file) if line["checkpoint"] == "base"]
    jsonl.write(show.samples_file, lines)
    (show.samples / "provenance.json").unlink()
    outcome = stage.run(show.config(), show.samples, None, None)
    text = outcome.path.read_text()
    assert 'class="headline unknown"' in text
    assert "continued by base alone" in text
    assert "There is no training run to read" in text


def test_a_loss_that_is_not_finite_is_said(show: Any) -> None:
    with (show.run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 49, "train_loss": NaN, "grad_norm": Infinity}\n')
    outcome = show.compare()
    assert outcome.code is Exit.IN_PART
    assert "2 values are not finite" in numbers(outcome.path)["problems"][0]
    json.loads((outcome.path.parent / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_a_ledger_that_does_not_add_up_is_said(show: Any) -> None:
    ledger = json.loads((show.prepared / "ledger.json").read_text())
    ledger["words_in"] += 11
    (show.prepared / "ledger.json").write_text(json.dumps(ledger))
    outcome = show.compare()
    assert outcome.code is Exit.IN_PART
    assert "11 words unaccounted for" in numbers(outcome.path)["problems"][0]
    assert "11 of them are unaccounted for" in outcome.path.read_text()


@pytest.mark.parametrize("name", ["ledger.json", "valid.jsonl", "train.jsonl"])
def test_damaged_records_of_the_prepared_set_are_named(show: Any, name: str) -> None:
    (show.prepared / name).write_text('{"words_in": ')
    outcome = show.compare()
    assert outcome.code is Exit.IN_PART
    assert name in numbers(outcome.path)["problems"][0]


def test_a_corpus_name_that_leaves_the_folder_is_refused(show: Any) -> None:
    record = json.loads((show.samples / "provenance.json").read_text())
    (show.samples / "provenance.json").write_text(json.dumps({**record, "corpus": "../../up"}))
    with pytest.raises(UserError, match="no folder name"):
        show.compare()


@pytest.mark.parametrize("content", [b"", b"\x05", b"\xff" * 40, b"\x02" + b"\x00" * 7 + b"[]"])
def test_a_damaged_adapter_has_no_size(show: Any, content: bytes) -> None:
    file = show.run / "checkpoints" / "step-000016" / adapter.FILES[0]
    file.write_bytes(content)
    assert adapter.parameters(show.run) is None
