from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from array import array
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from understudy.prepare import diversity
from understudy.prepare.duplicates import Found
from understudy.prepare.spool import Kind
from understudy.records import jsonl
from understudy.show import prepared as prepared_view
from understudy.show import run
from understudy.show.prepared import Look
from understudy.train.memory import MemoryPlan


def screen(path: Path, look: Look, *, terminal: bool) -> str:
    out = io.StringIO()
    colours: Any = {"color_system": "standard"} if terminal else {}
    console = Console(file=out, force_terminal=terminal, width=400, **colours)
    prepared_view.show(path, console, look)
    return out.getvalue()


def line_of(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return found


def test_help_is_instant_and_lists_the_tools(tool: Any) -> None:
    tool("--help")
    start = time.monotonic()
    done = tool("--help")
    assert time.monotonic() - start < 1
    assert done.returncode == 0
    assert "show" in done.stdout
    assert "python -m collect" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["shwo", "x"],
        ["show"],
        ["show", "x", "--rows", "-1"],
        ["show", "x", "--price", "free"],
        ["show", "x", "--price", "nan"],
    ],
)
def test_wrong_commands(tool: Any, arguments: list[str]) -> None:
    done = tool(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: understudy" in done.stderr


def test_corpus(tool: Any, corpus: Path) -> None:
    done = tool("show", corpus)
    assert (done.returncode, done.stderr) == (0, "")
    bees = line_of(done.stdout, "bees").split("  ")
    for part in ("Bees [red]and[/red] [31mchairs", "Tobias", "audio.mp3", "10.0", "7"):
        assert part in [cell.strip() for cell in bees]
    assert "Maren 5, Tobias 2" in line_of(done.stdout, "bees")
    assert line_of(done.stdout, "bees").split()[-2:] == ["done", "done"]
    ferry = line_of(done.stdout, "ferry").split()
    assert ferry[-2:] == ["done", "imported"]
    assert "1.5" in ferry
    assert line_of(done.stdout, "mute   ").split()[-2:] == ["done", "failed"]
    assert "gone: collect: HTTP Error 404: Not Found" in done.stdout
    assert "mute: transcribe: no audio stream" in done.stdout
    assert "4 items, 0.19 hours known, 14 words; known voices: Maren" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_a_corpus_with_damage_is_shown(tool: Any, corpus: Path) -> None:
    (corpus / "ferry/transcript.json").write_text("{")
    (corpus / "bees/source.json").write_text("[]")
    done = tool("show", corpus)
    assert done.returncode == 0
    assert "transcript.json: not JSON" in done.stdout
    assert "bees: " in done.stdout
    (corpus / "speakers.json").write_text("{}")
    done = tool("show", corpus)
    assert done.returncode == 2
    assert "not a register of voices" in done.stderr


def test_an_episode_and_its_roles(tool: Any, corpus: Path) -> None:
    done = tool("show", corpus, "--rows", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "bees: 1 of 2 turns" in done.stdout
    assert "0:00 Maren (host, 5 words): Welcome back to the bench." in done.stdout
    assert "Hello there." not in done.stdout
    done = tool("show", corpus / "bees")
    assert "0:02 Tobias (guest by source.json, 2 words): Hello there." in done.stdout
    (corpus / "bees/source.json").write_text('{"title": "Bees"}')
    assert "Tobias (no role, 2 words)" in tool("show", corpus / "bees").stdout


def test_prepared_set(tool: Any, prepared: Path) -> None:
    done = tool("show", prepared)
    assert (done.returncode, done.stderr) == (0, "")
    assert line_of(done.stdout, "train  ").split() == ["train", "1", "2", "9", "7", "77.8%"]
    assert line_of(done.stdout, "valid  ").split() == ["valid", "1", "1", "3", "3", "100.0%"]
    assert "row length in words: median 3, 95 % up to 6, longest 6" in done.stdout
    assert line_of(done.stdout, "dropped (asked): ad").split()[-2:] == ["5", "25.0%"]
    assert line_of(done.stdout, "dropped (unasked): host").split()[-2:] == ["3", "15.0%"]
    assert "notes: turns joined 1,200" in done.stdout
    assert line_of(done.stdout, "in ").split() == ["in", "20", "100.0%"]
    assert "tokens: 1,234 trained, 56 context" in done.stdout
    assert "rejected: mute: no audio stream" in done.stdout
    assert "train row 1: bench, bees, 1:01-1:02:05" in done.stdout
    assert "«context» system: A talk show." in done.stdout
    assert "«trained» user (Maren): How many bees?" in done.stdout
    assert "«context» user (Maren): Read before?" in done.stdout
    assert "Whose boat?" not in done.stdout
    assert "not accounted for" not in done.stdout


def test_row_counts_without_a_manifest_that_names_the_tokenizer(tool: Any, prepared: Path) -> None:
    none = tool("show", prepared, "--rows", "0").stdout
    assert "row 1" not in none
    assert "rows are shown as messages, not as tokens: the manifest of" in none
    assert "Whose boat?" in tool("show", prepared, "--rows", "99").stdout
    assert "Read before?" in tool("show", prepared).stdout


def test_a_terminal_gets_colour_and_no_markers(prepared: Path) -> None:
    shown = screen(prepared, Look(), terminal=True)
    assert "\x1b[32muser (Maren): How many bees?" in shown
    assert "\x1b[2muser (Maren): Read before?" in shown
    assert "«" not in shown
    assert "█" in shown


def test_an_older_ledger_rejected_rows_and_diversity(tool: Any, prepared: Path) -> None:
    ledger = json.loads((prepared / "ledger.json").read_text())
    older = {name: value for name, value in ledger.items() if name not in ("asked", "unasked")}
    (prepared / "ledger.json").write_text(json.dumps(older))
    rows = [("news", "a b c"), ("news", "a b c"), ("music", "d e f"), ("news", "g")]
    variety = diversity.Variety()
    for _, said in rows:
        variety.add(diversity.Seen(text=said, answers=[]))
    kinds = Counter(Kind(corpus="bench", category=name, creator=None) for name, _ in rows)
    tokens = {"train": array("I", [5, 5, 5, 2]), "valid": array("I")}
    sides = {"train": kinds, "valid": {}}
    found = Found(exact=[1], near=[2, 3])
    report = diversity.report(variety, sides, tokens, found, removed=False)
    (prepared / "diversity.json").write_text(json.dumps(report))
    many = [{"source": "talks.jsonl", "line": n, "reason": "weight 2"} for n in range(1, 31)]
    jsonl.write(prepared / "rejected.jsonl", many)
    shown = tool("show", prepared, "--rows", "0").stdout
    assert line_of(shown, "dropped: ad").split()[-2:] == ["5", "25.0%"]
    assert "duplicates: 1 within the training rows" in shown
    assert "across the split: 1 exact and 2 near (kept)" in shown
    assert "categories: 2, entropy 0.811 bits; news 75.0%, music 25.0%" in shown
    assert "creators" not in shown
    assert "warning: only 4 rows to train on" in shown
    assert "rejected: talks.jsonl, line 20: weight 2" in shown
    assert "talks.jsonl, line 21" not in shown
    assert "rejected: 10 more" in shown
    (prepared / "diversity.json").write_text("[")
    assert "diversity.json cannot be read" in tool("show", prepared).stdout


def test_a_ledger_that_does_not_add_up_and_no_manifest(tool: Any, prepared: Path) -> None:
    ledger = prepared / "ledger.json"
    ledger.write_text(ledger.read_text().replace('"words_trained": 10', '"words_trained": 9'))
    (prepared / "manifest.json").unlink()
    done = tool("show", prepared)
    assert "1 words are not accounted for" in done.stdout
    assert "is not finished: it has no manifest" in done.stdout
    (prepared / "train.jsonl").write_text("{\n")
    done = tool("show", prepared)
    assert done.returncode == 2
    assert "train.jsonl: line 1" in done.stderr


def test_run(tool: Any, run_folder: Path) -> None:
    done = tool("show", run_folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "bench-smollm2-0123abcd: running" in done.stdout
    assert line_of(done.stdout, "base").split() == ["base", "0", "3.0000", "+0.0%", "40.0%"]
    assert line_of(done.stdout, "epoch 1").split()[2:] == ["20", "2.4000", "-20.0%", "50.0%"]
    assert "last metrics: step 39, epoch 1.95, train_loss 2.125, tokens 123,456" in done.stdout
    assert "tokens_per_second 812.5" in done.stdout
    assert "checkpoints: step-000020, step-000040 (not finished)" in done.stdout


def test_a_runs_memory_is_shown_with_what_the_trial_found(tool: Any, run_folder: Path) -> None:
    assert "memory" not in tool("show", run_folder).stdout
    plan = {"micro_batch": 4, "packing": True, "checkpointed_blocks": 12, "offload": False}
    tried = [
        {"plan": plan, "fits": True, "peak_bytes": 3 << 29, "tokens_per_second": 3120.4},
        {"plan": {**plan, "micro_batch": 8}, "fits": False, "tokens_per_second": None},
    ]
    path = run_folder / "memory.json"
    path.write_text(json.dumps({"plan": {**plan, "mlp_tile": None}, "tried": []}))
    given = tool("show", run_folder).stdout
    assert "memory: lines in a pass 4, packed yes, blocks recomputed 12" in given
    assert "by trial" not in given
    path.write_text(json.dumps({"plan": plan, "tried": tried}))
    chosen = tool("show", run_folder).stdout
    assert "by trial 3,120 tokens/s, 1.5 GiB; fastest of 1 timed" in chosen
    path.write_text("{")
    assert "memory.json cannot be read" in tool("show", run_folder).stdout


def test_every_setting_of_a_plan_has_words() -> None:
    assert set(run.MEMORY) == {field.name for field in fields(MemoryPlan)}


def test_a_run_that_has_only_begun(tool: Any, run_folder: Path) -> None:
    for name in ("metrics.jsonl", "timing.jsonl"):
        (run_folder / name).unlink()
    (run_folder / "status.json").write_text('{"state": "succeeded"}')
    done = tool("show", run_folder)
    assert done.returncode == 0
    assert "held out: nothing measured yet" in done.stdout
    assert "no manifest: it is not finished" in done.stdout
    jsonl.append(run_folder / "metrics.jsonl", {"step": 1, "train_loss": 3.0})
    (run_folder / "status.json").write_text("{")
    assert "unknown: status.json" in tool("show", run_folder).stdout


def test_a_run_whose_process_is_gone_was_killed(tool: Any, run_folder: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    status = {"state": "running", "step": 7, "steps": 40, "host": socket.gethostname()}
    for process, killed in ((ended.pid, True), (os.getpid(), False)):
        (run_folder / "status.json").write_text(json.dumps({**status, "process": process}))
        assert ("killed after step 7 of 40" in tool("show", run_folder).stdout) is killed
    (run_folder / "status.json").write_text(
        json.dumps({**status, "process": ended.pid, "host": "elsewhere"})
    )
    assert "killed" not in tool("show", run_folder).stdout


def test_what_cannot_be_shown(tool: Any, corpus: Path, tmp_path: Path) -> None:
    for path, why in (
        ("nowhere", "is not there"),
        ("bench", "did you mean data/bench?"),
        (str(tmp_path), "is nothing that can be shown"),
        (str(corpus / "speakers.json"), "is a file"),
    ):
        done = tool("show", path)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
    assert "--card is for prepared sets" in tool("show", corpus, "--card", "l4").stderr


def test_rows_of_a_run(tool: Any, run_folder: Path) -> None:
    assert "--rows is for prepared sets" in tool("show", run_folder, "--rows", "1").stderr
