"""Prepare against `datasets.map` over `apply_chat_template`, on made-up talk of any length.

Ours is the whole stage, to a sealed set: reading, cutting, counting, the ledger, duplicates, files
with hashes. From `talk` it starts at transcripts on disk, and the peer gets our finished rows; from
`rows` both start at one JSONL file of finished rows. The peer only tokenises. Both have their
libraries and tokenizer loaded, in a process of their own, in turn on the same machine.

    python benchmarks/prepare.py [--quick] [--hours 100 1000] [--repeat 3]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from surroundings import surroundings

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "prepare.json"
WORDS_AN_HOUR = 10_000
WORDS_A_TURN = 55
CONTEXT = 1024
HOST, GUEST = "Ada", "Ben"
PEER = "datasets.map over apply_chat_template"


def make_corpus(root: Path, hours: int) -> Path:
    """One-hour episodes of two voices in English-like words, drawn as unevenly as in talk."""
    folder = root / "data" / f"talk{hours}"
    words = vocabulary()
    weights = list(accumulate(1 / (rank + 2) for rank in range(len(words))))
    for number in range(hours):
        draw = random.Random(number)  # noqa: S311  # made-up talk
        item = folder / f"hour-{number:05}"
        item.mkdir(parents=True)
        segments, said = [], 0
        while said < WORDS_AN_HOUR:
            length = max(3, int(draw.expovariate(1 / WORDS_A_TURN)))
            chosen = draw.choices(words, cum_weights=weights, k=length)
            at = said * 0.36
            segments.append(
                {
                    "start": at,
                    "end": at + length * 0.36,
                    "text": sentence(chosen),
                    "speaker": (HOST, GUEST)[len(segments) % 2],
                }
            )
            said += length
        (item / "transcript.json").write_text(json.dumps({"language": "en", "segments": segments}))
        (item / "source.json").write_text(json.dumps({"title": item.name, "guest": GUEST}))
        (item / "manifest.collect.json").write_text("{}")
    voices = [{"name": HOST, "role": "host", "embedding_model": "none", "references": []}]
    (folder / "speakers.json").write_text(json.dumps({"speakers": voices}))
    return folder


def vocabulary() -> list[str]:
    """The words of the project's own documents, most common first."""
    from collections import Counter

    texts = [
        path.read_text(encoding="utf-8")
        for path in sorted((HERE.parent / "samples").rglob("*.json"))
    ]
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word in text.split() if word.strip(".,?!").isalpha())
    return [word for word, _ in counts.most_common()]


def sentence(words: list[str]) -> str:
    """Words with a full stop after every twelfth."""
    pieces = [words[start : start + 12] for start in range(0, len(words), 12)]
    return " ".join(f"{' '.join(piece)}." for piece in pieces)


def ours(root: Path, hours: int, rows: str) -> dict[str, Any]:
    """Prepare a corpus, or a file of rows if `rows` names one; all is loaded before the clock."""
    import datasketch
    from hydra import compose, initialize_config_module

    from understudy.console import say
    from understudy.door import register_schema, to_config
    from understudy.models.tokenizer import load_encoder
    from understudy.prepare import stage

    say(f"datasketch {datasketch.__version__} is loaded")
    register_schema()
    arguments = [f"corpus=talk{hours}", f"root={root}", f"model.context={CONTEXT}", "fresh=true"]
    if rows:
        arguments += ["task=messages", f"task.rows={rows}", "task.train_users=true"]
    with initialize_config_module("understudy.conf", version_base="1.3"):
        config = to_config(compose("config", overrides=arguments))
    load_encoder(config.model).counts([])
    before = peak()
    began = time.perf_counter()
    made = stage.run(config).path
    seconds = time.perf_counter() - began
    ledger = json.loads((made / "ledger.json").read_text())
    tokens = sum(ledger["tokens"].values())
    return {
        "seconds": seconds,
        "tokens": tokens,
        "words": ledger["words_in"],
        "before": before,
        "peak": peak(),
        "made": str(made),
    }


def peer(made: Path) -> dict[str, Any]:
    """Tokenise the rows of a prepared set as most people do."""
    import datasets
    from transformers import AutoTokenizer

    from understudy.models import embedded

    datasets.disable_progress_bars()
    datasets.disable_caching()
    tokenizer = AutoTokenizer.from_pretrained(embedded.folder("smollm2_135m"))

    def tokenise(batch: dict[str, Any]) -> dict[str, Any]:
        ids = tokenizer.apply_chat_template(batch["messages"], tokenize=True)["input_ids"]
        return {"input_ids": ids, "length": [len(row) for row in ids]}

    before = peak()
    files = [str(made / f"{side}.jsonl") for side in ("train", "valid")]
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        rows = datasets.load_dataset("json", data_files=files, split="train", cache_dir=cache)
        done = rows.map(tokenise, batched=True, remove_columns=rows.column_names)
        seconds = time.perf_counter() - began
        tokens = sum(done["length"])
    return {"seconds": seconds, "tokens": tokens, "before": before, "peak": peak()}


def peak() -> int:
    """Largest memory this process held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def alone(*arguments: object) -> dict[str, Any]:
    """Run a part of this file in a process of its own."""
    command = [sys.executable, __file__, "--part", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def cases_of(root: Path, hours: int, repeat: int) -> list[dict[str, Any]]:
    """Both parties on one corpus, in turn: from its transcripts, then from its rows."""
    corpus = make_corpus(root, hours)
    rows = root / f"rows{hours}.jsonl"
    talk = [pair(root, hours, "") for _ in range(repeat)]
    with rows.open("wb") as file:
        for side in ("train", "valid"):
            file.write((Path(talk[-1][0]["made"]) / f"{side}.jsonl").read_bytes())
    shutil.rmtree(corpus)
    shutil.rmtree(root / "runs")
    again = [pair(root, hours, str(rows)) for _ in range(repeat)]
    shutil.rmtree(root / "runs")
    rows.unlink()
    return [summary("talk", hours, talk), summary("rows", hours, again)]


def pair(root: Path, hours: int, rows: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ours, then the peer on the same rows."""
    mine = alone("ours", root, hours, rows)
    return mine, alone("peer", mine["made"])


def summary(
    kind: str, hours: int, runs: list[tuple[dict[str, Any], dict[str, Any]]]
) -> dict[str, Any]:
    """One case of the result: medians over the runs."""
    mine, peers = [run[0] for run in runs], [run[1] for run in runs]
    rates = [
        statistics.median(run["tokens"] / run["seconds"] for run in found)
        for found in (mine, peers)
    ]
    words, tokens = mine[-1]["words"], mine[-1]["tokens"]
    made = {
        "name": f"prepare {hours:,} hours from {kind}",
        "unit": "tokens/s",
        "ours": round(rates[0]),
        "peer": round(rates[1]),
        "peer_name": PEER,
        "ratio": round(rates[0] / rates[1], 3),
        "conditions": f"{hours:,} hours of talk, {words:,} words, {tokens:,} tokens, "
        f"context {CONTEXT}, median of {len(runs)}, alternating, start-up left out",
        "kind": kind,
        "hours": hours,
        "seconds": round(statistics.median(run["seconds"] for run in mine), 2),
        "peer_seconds": round(statistics.median(run["seconds"] for run in peers), 2),
        "peak_bytes": max(run["peak"] for run in mine),
        "growth_bytes": max(run["peak"] - run["before"] for run in mine),
        "peer_peak_bytes": max(run["peak"] for run in peers),
        "tokens": [tokens, peers[-1]["tokens"]],
        "load": os.getloadavg()[0],
    }
    print(json.dumps(made), file=sys.stderr)
    return made


def main() -> None:
    """Run the cases, write the result, print it as the last line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 and 1,000 hours only")
    parser.add_argument("--hours", type=int, nargs="+", help="other sizes")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        name, place, *rest = given.part
        found = ours(Path(place), int(rest[0]), rest[1]) if name == "ours" else peer(Path(place))
        print(json.dumps(found))
        return
    sizes = given.hours or ([100, 1000] if given.quick else [100, 1000, 10_000])
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for hours in sizes:
            once = hours > ONCE or (given.quick and hours > QUICK)
            cases += cases_of(Path(folder), hours, 1 if once else given.repeat)
    worst = min(cases, key=lambda one: float(one["ratio"]))
    result = {**{key: worst[key] for key in KEYS}, "name": "prepare", "cases": cases}
    result["growth"] = [
        {
            "kind": kind,
            "hours": [small["hours"], large["hours"]],
            "times_the_seconds": round(large["seconds"] / small["seconds"], 2),
            "times_the_peak": round(large["peak_bytes"] / small["peak_bytes"], 2),
        }
        for kind in ("talk", "rows")
        for small, large in pairwise(one for one in cases if one["kind"] == kind)
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**result, **surroundings(*PACKAGES)}, indent=1) + "\n")
    print(json.dumps(result))


QUICK, ONCE = 100, 1000
"""Hours above which a case is run once only: with --quick, and without."""
PACKAGES = ("understudy", "tokenizers", "transformers", "datasets", "datasketch")
KEYS = ("unit", "ours", "peer", "peer_name", "ratio", "conditions")


if __name__ == "__main__":
    main()
