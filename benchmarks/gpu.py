"""What has to hold on a GPU, in one call of under 8 minutes, without a network: `make gpu`.

First the tests marked `gpu`. Then Mistral-7B's architecture with random weights, in 4 bits with
LoRA r=16 on all linear layers, held to 24 GiB: through the real door it trains rows of 4096 tokens,
saves, is killed, goes on by the same command, is asked to stop, and ends.

Each part has a time limit; the others go on where one fails. What there was no time for is said.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --rehearse     # the same on a CPU, with a tiny model
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree as ET

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"
REHEARSAL = "UNDERSTUDY_GPU_REHEARSAL"
"""Environment: the tests marked `gpu` run on the CPU."""

MINUTES = 7.5
TOLERANCE = 1e-3
"""Most by which the first step's loss may differ after a resume."""
STOP_SECONDS = 30.0
"""Longest time from SIGTERM to the end of the process."""
BUDGET_GIB = 24.0
WATCH_SECONDS = 0.02
DONE, FAILED, WRONG, IN_PART, STOPPED = 0, 1, 2, 3, 75


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large everything is."""

    shape: dict[str, int]
    context: int
    steps: int = 16
    rows_per_step: int = 2
    save_every: int = 4
    """Steps between checkpoints to resume from."""
    lr: float
    words: int
    tests: str
    """Which of pytest's markers are run."""
    slack: float = 1
    """How much longer than on a GPU a part may take."""


MISTRAL_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32768,
}
TINY = {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
FULL = Size(shape=MISTRAL_7B, context=4096, lr=1e-3, words=4000, tests="gpu")
REHEARSED = Size(
    shape=TINY, context=64, steps=12, lr=2e-2, words=300, tests="gpu and not slow", slack=4
)


class PartFailedError(Exception):
    """A part did not come out as it must; the message is for a person."""


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"gpu: {text}", file=sys.stderr, flush=True)


# --- parts and their time ---

Work = Callable[[float], dict[str, Any]]
"""A part: gets the seconds it may take, returns its figures."""


@dataclass(slots=True)
class Parts:
    """What was done, what failed, what was left out, within the time there is."""

    seconds: float
    changed: Callable[[list[dict[str, Any]]], None] = lambda _done: None
    """Called after each part."""
    began: float = field(default_factory=time.monotonic)
    done: list[dict[str, Any]] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.seconds - (time.monotonic() - self.began)

    def take(
        self,
        name: str,
        work: Work,
        *,
        least: float,
        most: float,
        needs: str | None = None,
    ) -> None:
        """Do a part, or say why not.

        Args:
            name: What it is called.
            work: What is done.
            least: With fewer seconds left it is not begun.
            most: Its time limit in seconds.
            needs: Name of a part without which it makes no sense.
        """
        if needs is not None and self.state(needs) != "passed":
            self._leave_out(name, f"{needs} did not pass")
            return
        if self.left < least:
            self._leave_out(name, f"{max(0, self.left):.0f} s left, {least:.0f} s needed")
            return
        limit = min(most, self.left)
        say(f"{name} (at most {limit:.0f} s)")
        began = time.monotonic()
        try:
            figures = {"state": "passed", **work(limit)}
        except (PartFailedError, OSError, ValueError, LookupError) as error:
            figures = {"state": "failed", "error": f"{error}" or type(error).__name__}
        seconds = round(time.monotonic() - began, 1)
        self.done.append({"name": name, "seconds": seconds, **figures})
        self.changed(self.done)
        say(f"{name}: {figures['state']}, {seconds} s {figures.get('error', '')}".rstrip())

    def _leave_out(self, name: str, why: str) -> None:
        self.done.append({"name": name, "seconds": 0.0, "state": "left out", "error": why})
        self.changed(self.done)
        say(f"{name}: LEFT OUT: {why}")

    def state(self, name: str) -> str:
        """How a part came out."""
        return next(str(part["state"]) for part in self.done if part["name"] == name)

    @property
    def code(self) -> int:
        """1: something failed; 3: something was left out for lack of time; else 0."""
        states = {part["state"] for part in self.done}
        return FAILED if "failed" in states else IN_PART if "left out" in states else DONE


# --- processes ---


def environment(**more: str) -> dict[str, str]:
    """Offline, and with a PYTHONPATH that holds from any folder."""
    paths = os.environ.get("PYTHONPATH", "")
    absolute = os.pathsep.join(str(Path(p).resolve()) for p in paths.split(os.pathsep) if p)
    known = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **({"PYTHONPATH": absolute} if absolute else {}), **known, **more}


class Child:
    """A process of ours: its stderr is passed on line by line, with the time of each kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.began = time.monotonic()
        self.process = process
        self.lines: list[tuple[float, str]] = []
        self.out: list[str] = []
        readers = ((self._read_out, process.stdout), (self._read_err, process.stderr))
        self._threads = [
            threading.Thread(target=read, args=(stream,), daemon=True) for read, stream in readers
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def python(cls, arguments: Sequence[str], folder: Path, **more: str) -> Child:
        """A new interpreter in a group of its own, so that what it starts ends with it."""
        return cls(
            subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )

    def _read_out(self, stream: IO[str]) -> None:
        self.out += [line.rstrip("\n") for line in stream]

    def _read_err(self, stream: IO[str]) -> None:
        for line in stream:
            self.lines.append((time.monotonic() - self.began, line.rstrip("\n")))
            print(f"  | {line.rstrip()}", file=sys.stderr, flush=True)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.began

    def second(self, words: str) -> float | None:
        """When a line with these words came, in seconds after the start."""
        return next((at for at, line in self.lines if words in line), None)

    def said(self, words: str) -> bool:
        """Whether a line with these words came."""
        return self.second(words) is not None

    def wait(self, limit: float) -> int:
        """Its exit code.

        Raises:
            PartFailedError: it has not ended when it is `limit` seconds old; it is killed.
        """
        try:
            self.process.wait(max(0.1, limit - self.age))
        except subprocess.TimeoutExpired:
            self.kill()
            raise PartFailedError(f"it did not end within {limit:.0f} s") from None
        self._finish()
        return self.process.returncode

    def must_end(self, code: int, limit: float) -> None:
        """Wait for it, and hold it to an exit code.

        Raises:
            PartFailedError: it ended otherwise, or not in time.
        """
        found = self.wait(limit)
        if found != code:
            last = " / ".join(line for _, line in self.lines[-3:])
            raise PartFailedError(f"it ended with {found}, not {code}: {last}")

    def kill(self) -> None:
        """End it and what it started, at once."""
        if self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._finish()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        if self.running:
            os.kill(self.process.pid, number)

    def _finish(self) -> None:
        # What it started may live on and hold the pipes: its end is enough.
        for thread in self._threads:
            thread.join(timeout=5)


def part_of_this_file(name: str, folder: Path, limit: float, *given: str) -> dict[str, Any]:
    """Run a function of this file in a process of its own, so that no GPU memory stays behind."""
    child = Child.python([__file__, "--part", name, *given], folder)
    try:
        child.must_end(DONE, limit)
    finally:
        child.kill()
    return dict(json.loads(child.out[-1]))


# --- the machine ---


def machine(rehearse: bool) -> dict[str, Any]:  # noqa: FBT001  # called with text from outside
    """What this runs on; matrix products and copies measured, for the other figures' scale."""
    names = ("understudy", "torch", "transformers", "peft", "bitsandbytes", "accelerate")
    found: dict[str, Any] = {
        "device": "cpu",
        "versions": {"python": platform.python_version(), **{n: installed(n) for n in names}},
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
        "bf16": True,
    }
    if rehearse:
        return found
    import torch

    if not torch.cuda.is_available():
        return found
    card = torch.cuda.get_device_properties(0)
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=False,
    ) if shutil.which("nvidia-smi") else None  # fmt: skip
    found |= {
        "device": card.name,
        "gib": round(card.total_memory / 2**30, 2),
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
        "hardware": f"{card.name}, {card.total_memory / 2**30:.0f} GiB, compute capability "
        f"{card.major}.{card.minor}, {found['hardware']}",
    }
    found["versions"]["cuda"] = torch.version.cuda
    found["versions"]["driver"] = driver.stdout.strip() if driver else None
    found["product_tflops"] = round(product_rate(found["bf16"]) / 1e12, 1)
    return found


def installed(name: str) -> str | None:
    """A package's version; None for one that lies on the path without being installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def product_rate(bf16: bool) -> float:  # noqa: FBT001
    """Floating point operations a second of a 4096-wide matrix product of random numbers."""
    import torch

    dtype = torch.bfloat16 if bf16 else torch.float16
    one, other = (torch.randn(4096, 4096, device="cuda", dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(8):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(10):
            torch.mm(one, other)
        end.record()
        torch.cuda.synchronize()
        rates.append(10 * 2 * 4096**3 / (start.elapsed_time(end) / 1000))
    return statistics.median(rates[2:])


# --- the tests ---


def run_tests(size: Size, folder: Path, limit: float, rehearse: bool) -> dict[str, Any]:  # noqa: FBT001
    """The tests marked `gpu`; none may fail and none may be skipped."""
    report = folder / "tests.xml"
    child = Child.python(
        [
            "-c",
            # Each test's name and outcome goes to stderr, where it is passed on as it comes.
            "import os, sys, pytest; os.dup2(2, 1); sys.exit(pytest.main(sys.argv[1:]))",
            *("-v", "-m", size.tests, "-p", "no:cacheprovider", "--durations=5"),
            *(f"--junitxml={report}", str(REPOSITORY / "tests" / "gpu")),
        ],
        REPOSITORY,
        **({REHEARSAL: "1"} if rehearse else {}),
    )
    try:
        code = child.wait(limit)
    finally:
        child.kill()
    if not report.exists():
        last = " / ".join(line for _, line in child.lines[-3:])
        raise PartFailedError(f"pytest ended with {code}: {last}")
    figures = outcomes(report)
    if code != DONE or figures["skipped"] or not figures["tests"]:
        bad = ", ".join(figures["failed"] + figures["skipped"]) or "no test was found"
        raise PartFailedError(f"{len(figures['failed'])} of {figures['tests']} failed: {bad}")
    return figures


def outcomes(report: Path) -> dict[str, Any]:
    """Which tests failed and which were skipped, from pytest's XML."""
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314  # pytest wrote it

    def having(*kinds: str) -> list[str]:
        return [
            str(case.get("name"))
            for case in cases
            if any(case.find(kind) is not None for kind in kinds)
        ]

    return {
        "tests": len(cases),
        "failed": having("failure", "error"),
        "skipped": having("skipped"),
    }


# --- the large model ---


def random_model(folder: Path, shape: str, rehearse: bool) -> dict[str, Any]:  # noqa: FBT001
    """Write the model folder and rows that fill its context."""
    from transformers import MistralConfig

    sys.path.append(str(REPOSITORY / "tests" / "support"))
    import made_up

    size = REHEARSED if rehearse else FULL
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    config = MistralConfig(
        **json.loads(shape),
        **ends,
        sliding_window=None,
        tie_word_embeddings=False,
        architectures=["MistralForCausalLM"],
        dtype="bfloat16",
    )
    vocabulary = made_up.words(size.words)
    encoder = made_up.tokenizer(vocabulary, config.vocab_size)
    began = time.monotonic()
    written = made_up.write_model(folder / "model", config, encoder, device(rehearse))
    seconds = time.monotonic() - began
    for name, count in (("train", size.steps * size.rows_per_step), ("valid", 2)):
        made_up.write_rows(folder / f"{name}.jsonl", encoder, vocabulary, count, size.context)
    return {"bytes": written, "write_seconds": round(seconds, 1)}


def device(rehearse: bool) -> str:  # noqa: FBT001
    """Where random numbers are drawn."""
    return "cpu" if rehearse else "cuda"


class Trial:
    """The large model through the door: killed, resumed, stopped, ended."""

    def __init__(self, size: Size, folder: Path, card: dict[str, Any]) -> None:
        self.size = size
        self.folder = folder
        self.budget = min(BUDGET_GIB, int(card.get("gib", BUDGET_GIB) * 10) / 10)
        self.arguments = [
            "+experiment=qlora_mistral",
            "corpus=gpu",
            f"root={folder}",
            "task=messages",
            f"task.rows={folder / 'train.jsonl'}",
            f"task.valid_rows={folder / 'valid.jsonl'}",
            f"model.base={folder / 'model'}",
            "model.name=mistral_7b_random",
            "model.dialect=chatml",
            f"model.context={size.context}",
            f"model.dtype={'bf16' if card['bf16'] else 'fp16'}",
            "adapter.r=16",
            f"optim.lr={size.lr}",
            f"optim.rows_per_step={size.rows_per_step}",
            "schedule.epochs=1",
            "schedule.warmup_steps=0",
            f"keep.resume_steps={size.save_every}",
            "eval.speak_tokens=8",
            f"memory.budget_gib={self.budget}",
        ]
        self.before: dict[int, dict[str, Any]] = {}
        """Steps of the killed process."""
        self.saved = 0
        """The step that a resume goes on from."""
        self.plan = b""

    @property
    def run(self) -> Path:
        """The run's folder.

        Raises:
            PartFailedError: there is none, or there are several.
        """
        found = list((self.folder / "runs" / "train").glob("*/"))
        if len(found) != 1:
            raise PartFailedError(f"{len(found)} run folders, not one")
        return found[0]

    def start(self) -> Child:
        """The door, as a person types it."""
        return Child.python(["-m", "train", *self.arguments], self.folder)

    def write(self, limit: float, *, rehearse: bool) -> dict[str, Any]:
        """Make model and rows, if there is room for them.

        Raises:
            PartFailedError: the disk is too small, or it took too long.
        """
        heads = self.size.shape["num_attention_heads"]
        share = self.size.shape["num_key_value_heads"] / heads
        wide, inner = self.size.shape["hidden_size"], self.size.shape["intermediate_size"]
        block = wide * wide * (2 + 2 * share) + 3 * wide * inner
        weights = self.size.shape["num_hidden_layers"] * block
        weights += 2 * self.size.shape["vocab_size"] * wide
        needed = 2 * weights + 2 * 2**30
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise PartFailedError(
                f"{self.folder} has {free / 2**30:.1f} GiB free and {needed / 2**30:.1f} are "
                "needed: set TMPDIR to a folder on a larger disk"
            )
        given = [json.dumps(self.size.shape), *(["rehearse"] if rehearse else [])]
        return part_of_this_file("model", self.folder, limit, *given)

    def train_and_kill(self, limit: float) -> dict[str, Any]:
        """Train past a checkpoint, and leave by SIGKILL.

        Raises:
            PartFailedError: it ended before, or was too slow.
        """
        child = self.start()
        saves = Saves(self.folder)
        try:
            self._past_a_checkpoint(child, saves, limit)
        finally:
            child.kill()
        self.before = noted(self.run)
        self.saved = max(saves.whole())
        self.plan = (self.run / "plan.jsonl").read_bytes()
        return {
            **load_times(child),
            **self.speed(),
            "budget_gib": self.budget,
            "killed_after_step": max(self.before),
            "saved_step": self.saved,
            "losses": [round(self.before[step]["train_loss"], 5) for step in sorted(self.before)],
            **saves.figures(),
        }

    def _past_a_checkpoint(self, child: Child, saves: Saves, limit: float) -> None:
        """Come back when a step behind the newest checkpoint is noted, the process standing still.

        Only then is there a loss that the resumed run must find again.
        """
        while child.running:
            if child.age > limit:
                raise PartFailedError(f"no step behind a checkpoint within {limit:.0f} s")
            saves.look()
            if self._behind(saves):
                child.send(signal.SIGSTOP)
                time.sleep(0.05)
                saves.look()
                if self._behind(saves):
                    return
                child.send(signal.SIGCONT)
            time.sleep(WATCH_SECONDS)
        child.must_end(-signal.SIGKILL, limit)

    def _behind(self, saves: Saves) -> bool:
        whole = saves.whole()
        return bool(whole) and max(noted(self.run), default=0) > max(whole)

    def resume_and_stop(self, limit: float) -> dict[str, Any]:
        """The same command goes on; then SIGTERM, and it has to be saved and gone in time.

        Raises:
            PartFailedError: other rows, another loss, another exit code, or too late.
        """
        child = self.start()
        saves = Saves(self.folder)
        try:
            first = self.saved + 1
            self._wait_for_step(child, saves, first + 1, limit)
            figures = {**load_times(child), **self._compare(first)}
            asked = time.monotonic()
            child.send(signal.SIGTERM)
            child.must_end(STOPPED, child.age + STOP_SECONDS)
            figures["stop_seconds"] = round(time.monotonic() - asked, 2)
        finally:
            child.kill()
        last, kept = max(noted(self.run)), max(saves.whole())
        state = json.loads((self.run / "status.json").read_text())["state"]
        if (kept, state) != (last, "queued"):
            raise PartFailedError(f"step {last} was done, {kept} saved, and it is {state}")
        figures |= {**self.speed(self.saved), "stopped_after_step": last}
        self.saved = kept
        return figures

    def _wait_for_step(self, child: Child, saves: Saves, step: int, limit: float) -> None:
        words = f"going on after step {self.saved} "
        while child.running and child.age < limit:
            saves.look()
            # Before it says so, the lines of the killed process are still there.
            if child.said(words) and max(noted(self.run), default=0) >= step:
                return
            time.sleep(WATCH_SECONDS)
        if child.running:
            raise PartFailedError(f"step {step} was not done within {limit:.0f} s")
        child.must_end(STOPPED, limit)
        raise PartFailedError("it stopped by itself")

    def _compare(self, first: int) -> dict[str, Any]:
        """The first step after the resume against the same step of the killed process."""
        was, now = self.before[first], noted(self.run)[first]
        if (self.run / "plan.jsonl").read_bytes() != self.plan or was["tokens"] != now["tokens"]:
            raise PartFailedError(f"step {first} has other rows than before the kill")
        apart = abs(was["train_loss"] - now["train_loss"])
        others = [self.before[step]["train_loss"] for step in range(1, first)]
        spread = max(abs(loss - now["train_loss"]) for loss in others)
        figures = {"resumed_at_step": first, "loss_apart": apart, "others_apart": spread}
        if not apart <= TOLERANCE:
            raise PartFailedError(
                f"step {first}: loss {now['train_loss']:.5f} after the resume, "
                f"{was['train_loss']:.5f} before the kill: more than {TOLERANCE:g} apart"
            )
        if not spread > 5 * TOLERANCE:
            raise PartFailedError(
                f"the steps before are at most {spread:.5f} apart from step {first}: that its loss "
                "is the same after the resume says nothing"
            )
        return figures

    def end(self, limit: float) -> dict[str, Any]:
        """The same command once more, to the end: held-out loss, a sample, exit 0.

        Raises:
            PartFailedError: it did not end well, or in time.
        """
        child = self.start()
        try:
            child.must_end(DONE, limit)
        finally:
            child.kill()
        if not child.said(f"going on after step {self.saved} "):
            raise PartFailedError(f"it did not go on after step {self.saved}")
        steps = sorted(noted(self.run))
        if steps != list(range(1, self.size.steps + 1)):
            raise PartFailedError(f"metrics.jsonl has steps {steps}")
        summary = json.loads((self.run / "summary.json").read_text())
        figures = {name: summary[name] for name in ("base_loss", "valid_loss")}
        return {**load_times(child), **self.speed(self.saved), **figures}

    def speed(self, after: int = 0) -> dict[str, Any]:
        """Learned tokens a second and the largest memory, from what the run noted.

        Args:
            after: The step behind which the process began: its own first step is slower.
        """
        found = whole_lines(self.run / "timing.jsonl")
        lines = [line for line in found if line["step"] > after]
        rates = [line["tokens_per_second"] for line in lines]
        if not rates:
            raise PartFailedError(f"timing.jsonl has no step after {after}")
        return {
            "tokens_per_second": round(statistics.median(rates[1:] or rates), 1),
            "peak_gib": round(max(line["peak_memory_bytes"] for line in lines) / 2**30, 2),
        }


class Saves:
    """Checkpoints as they appear: when begun, when whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun: dict[str, float] = {}
        self.seconds: list[float] = []
        self.bytes = 0

    def look(self) -> None:
        """Note what is new."""
        now = time.monotonic()
        for path in self._folders():
            if (path / "manifest.json").exists():
                began = self.begun.pop(path.name, None)
                if began is not None:
                    self.seconds.append(now - began)
                    # It may be removed at any time: only the newest stay.
                    with suppress(FileNotFoundError):
                        self.bytes = sum(file.stat().st_size for file in path.iterdir())
            else:
                self.begun.setdefault(path.name, now)

    def whole(self) -> list[int]:
        """Steps whose checkpoints are whole."""
        return sorted(
            int(path.name.removeprefix("step-"))
            for path in self._folders()
            if (path / "manifest.json").exists()
        )

    def figures(self) -> dict[str, Any]:
        """Seconds and bytes of a save; the time is good to about 20 ms."""
        if not self.seconds:
            return {"save_seconds": None, "save_bytes": None}
        return {
            "save_seconds": round(statistics.median(self.seconds), 2),
            "save_bytes": self.bytes,
        }

    def _folders(self) -> list[Path]:
        return list(self.folder.glob("runs/train/*/checkpoints/step-*"))


def noted(run: Path) -> dict[int, dict[str, Any]]:
    """Steps in `metrics.jsonl` by number."""
    return {line["step"]: line for line in whole_lines(run / "metrics.jsonl") if "tokens" in line}


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of a file that may be growing: one without its end is left for later."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def load_times(child: Child) -> dict[str, Any]:
    """When the door had come to loading, and how long loading took; None where it did not say."""
    began, ended = child.second("train: loading"), child.second("parameters are trained")
    known = began is not None and ended is not None
    return {
        "seconds_to_loading": None if began is None else round(began, 1),
        "load_seconds": round(ended - began, 2) if known else None,  # type: ignore[operator]
    }


# --- all of it ---


def main() -> None:
    """Do all parts, write the result, print it as the last line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with a tiny model")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time for everything")
    parser.add_argument("--results", type=Path, help="folder for the result's file")
    parser.add_argument("--without-tests", action="store_true", help="leave the tests out")
    parser.add_argument("--commit", help="what to note as commit where git cannot be asked")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(one_part(*given.part)))
        return
    # By an exception, so that what was started is ended too.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(STOPPED))
    with tempfile.TemporaryDirectory(prefix="understudy-gpu-") as folder:
        sys.exit(measure(given, Path(folder)))


def one_part(name: str, *given: str) -> dict[str, Any]:
    """What a process of its own is asked for."""
    rehearse = given[-1:] == ("rehearse",)
    return machine(rehearse) if name == "machine" else random_model(Path.cwd(), given[0], rehearse)


def measure(given: argparse.Namespace, folder: Path) -> int:
    """All parts in their order; returns the exit code."""
    began = time.monotonic()
    size = REHEARSED if given.rehearse else FULL
    try:
        card = part_of_this_file("machine", folder, 120, *(["rehearse"] if given.rehearse else []))
    except PartFailedError as error:
        say(f"torch cannot be tried: {error}. Install the project first: bash scripts/gpu_setup.sh")
        return WRONG
    if card["device"] == "cpu" and not given.rehearse:
        say(
            "no CUDA device is seen here, and this measures one. To try the same on the CPU with a "
            "tiny model: python benchmarks/gpu.py --rehearse"
        )
        return WRONG
    say(f"{card['hardware']}; {given.minutes:g} minutes")
    card["commit"] = given.commit or commit()
    result = Result(size, card, given.results or (None if given.rehearse else RESULTS))
    parts = Parts(60 * given.minutes, result.write, began)
    do_all(parts, Trial(size, folder, card), given)
    left = [part["name"] for part in parts.done if part["state"] == "left out"]
    if left:
        say(f"LEFT OUT: {', '.join(left)}")
    if result.file is not None:
        say(f"written: {result.file}")
    print(json.dumps(result.record(parts.done)), flush=True)
    return parts.code


def do_all(parts: Parts, trial: Trial, given: argparse.Namespace) -> None:
    """The parts, each with the seconds it needs at least and may take at most."""

    def tests(limit: float) -> dict[str, Any]:
        return run_tests(trial.size, trial.folder, limit, given.rehearse)

    def weights(limit: float) -> dict[str, Any]:
        return trial.write(limit, rehearse=given.rehearse)

    def take(name: str, work: Work, least: float, most: float, needs: str | None = None) -> None:
        parts.take(name, work, least=least, most=most * trial.size.slack, needs=needs)

    if given.without_tests:
        say("tests: LEFT OUT: not asked for")
    else:
        take("tests", tests, 60, 150)
    take("weights", weights, 30, 100)
    take("train and kill", trial.train_and_kill, 60, 150, "weights")
    take("resume and stop", trial.resume_and_stop, 40, 110, "train and kill")
    take("end", trial.end, 40, 110, "resume and stop")


class Result:
    """What is written and printed."""

    def __init__(self, size: Size, card: dict[str, Any], folder: Path | None) -> None:
        self.size = size
        self.card = card
        self.file: Path | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            device = "-".join(card["device"].lower().split())
            self.file = folder / f"gpu-{device}-{datetime.now(UTC):%Y-%m-%d}.json"

    def write(self, parts: list[dict[str, Any]]) -> None:
        """Replace the file by what is known so far: a call that is cut short leaves that."""
        if self.file is not None:
            self.file.write_text(json.dumps(self.record(parts), indent=1) + "\n", encoding="utf-8")

    def record(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """The result as JSON."""
        rates = [part["tokens_per_second"] for part in parts if "tokens_per_second" in part]
        size = self.size
        shape = ", ".join(f"{name} {value}" for name, value in size.shape.items())
        return {
            "name": "gpu",
            "unit": "learned tokens/s",
            "ours": rates[0] if rates else None,
            "conditions": f"Mistral architecture ({shape}), random weights, NF4 with double "
            f"quantisation, LoRA r=16 on all linear layers, {size.rows_per_step} rows of "
            f"{size.context} tokens a step, one a pass, checkpointing, 8-bit AdamW, at most "
            f"{BUDGET_GIB:g} GiB; median over the steps of one process but its first",
            "seconds": round(sum(part["seconds"] for part in parts), 1),
            "parts": parts,
            **self.card,
        }


def commit() -> str | None:
    """The commit that this is, if git knows."""
    if not shutil.which("git"):
        return None
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


if __name__ == "__main__":
    main()
