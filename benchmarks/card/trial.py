"""The large model through the door: killed, resumed, stopped, ended."""

from __future__ import annotations

import json
import shutil
import signal
import statistics
import time
from pathlib import Path
from typing import Any

from card.child import Child, apart
from card.codes import DONE, STOPPED
from card.notes import noted, whole_lines
from card.parts import PartFailedError
from card.saves import Saves
from card.size import BUDGET_GIB, Size

TOLERANCE = 1e-3
"""Most by which the first step's loss may differ after a resume."""
STOP_SECONDS = 30.0
"""Longest time from SIGTERM to the end of the process."""
WATCH_SECONDS = 0.02


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
        return apart("model", self.folder, limit, *given)

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


def load_times(child: Child) -> dict[str, Any]:
    """When the door had come to loading, and how long loading took; None where it did not say."""
    began, ended = child.second("train: loading"), child.second("parameters are trained")
    known = began is not None and ended is not None
    return {
        "seconds_to_loading": None if began is None else round(began, 1),
        "load_seconds": round(ended - began, 2) if known else None,  # type: ignore[operator]
    }
