"""A measured dry run: of all ways to lay a run into memory, the fastest that fits.

Candidates grow: rows by themselves, then packed; one line in a pass, then two, four, .. ; for each
of them as few blocks are recomputed as fit. What a candidate takes is measured on the heaviest
pass of the plan, how fast it is on passes drawn evenly from all lengths. Several processes measure
together and go by the worst of them, so that all decide alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from understudy.console import UserError, say
from understudy.train import isolation, longest, meter, recompute
from understudy.train.layout import Line, lay_out, pack, tokens
from understudy.train.memory import MemoryPlan, plainest
from understudy.train.plan import Step
from understudy.train.precision import Precision
from understudy.train.step import forward_backward
from understudy.train.training import Training

MOST_SECONDS = 60.0
"""The trial begins nothing new after so long."""
LEAST_SECONDS = 5.0
SHARE = 0.1
"""Nor after this share of the time that the run will take as the first candidate does it; but for
`LEAST_SECONDS` it may go on in any case."""
GAIN = 0.03
"""More lines in a pass are tried until they give less than this."""
PROBES = 5
"""Most plans that are measured to find how many blocks must be recomputed."""
SAMPLED_STEPS = 16
LEAST_PASSES, MOST_PASSES = 3, 12
SAMPLED_SECONDS = 4.0
"""Timed passes of a candidate come from so many steps, are so many, and take about so long."""
ROUND_SECONDS = 0.2
"""Shorter rounds of timed passes are run again, and the best one counts."""
ROUNDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A candidate and what it came to."""

    plan: MemoryPlan
    fits: bool
    peak_bytes: int | None
    """On the heaviest pass; None: there was not enough memory to tell."""
    tokens_per_second: float | None = None
    """Tokens of rows, padding left out; None: not timed."""


class Trial:
    """What is tried, and what it came to so far.

    Args:
        run: With an optimiser of its own whose state is there, and with gradients.
        room: Most bytes at the peak.
    """

    def __init__(self, run: Training, room: int) -> None:
        self.run = replace(run, precision=Precision(run.config.model.dtype, run.model.device.type))
        self.room = min(run.processes.gather(room))
        self.tried: list[Tried] = []
        self.blocks = len(recompute.blocks(run.model))
        self._began = time.monotonic()
        self._most = MOST_SECONDS
        meter.forget()
        self._rest = max(run.processes.gather(meter.held()))
        self._heaviest: dict[tuple[int, bool], list[longest.Pass]] = {}

    # --- which ---

    def choose(self) -> MemoryPlan:
        """The fastest plan that fits.

        Raises:
            UserError: none does; the message says what to lower.
        """
        for packing in self._packings():
            best = 0.0
            before: Tried | None = None
            for size in self._sizes(packing=packing):
                plan = replace(self._least_kept(), packing=packing, micro_batch=size)
                if self.tried and (self._late() or not self._may_fit(plan)):
                    break
                found = self._fewest_blocks(plan)
                if found is None:
                    break
                found = self._timed(found)
                assert found.tokens_per_second is not None
                if found.tokens_per_second < best * (1 + GAIN):
                    break
                best, before = found.tokens_per_second, found
            if before is None:
                break
        timed = [one for one in self.tried if one.tokens_per_second is not None]
        if not timed:
            timed = [self._timed(self._smallest())]
        return max(timed, key=lambda one: one.tokens_per_second or 0.0).plan

    def _packings(self) -> Iterator[bool]:
        fixed = self.run.config.memory.packing
        if fixed is not None:
            yield fixed
            return
        yield False
        if not any(len(line) > 1 for step in self._steps() for line in self._packed(step)):
            say("train: trial: packing is left out: no two rows of a step share a line")
        elif self.tried and self._late():
            say("train: trial: packing is left out: the time for trying is up")
        elif not self._apart():
            attention = self.run.config.memory.attention.value
            say(
                f"train: trial: packing is left out: with memory.attention={attention}, rows that "
                "share a line see each other"
            )
        else:
            yield True

    def _apart(self) -> bool:
        held = isolation.measure(self.run.model, self.run.precision).holds
        return all(self.run.processes.gather(held))

    def _sizes(self, *, packing: bool) -> Iterator[int]:
        """Lines in a pass: 1, 2, 4, .. and all that a step has."""
        fixed = self.run.config.memory.micro_batch
        if fixed is not None:
            yield fixed
            return
        if packing:
            most = max(len(self._packed(step)) for step in self._steps())
        else:
            most = max(len(step.rows) for step in self.run.steps)
        size = 1
        while size < most:
            yield size
            size *= 2
        yield most

    def _fewest_blocks(self, plan: MemoryPlan) -> Tried | None:
        """As few recomputed blocks as fit; None: it does not fit whatever is recomputed."""
        memory = self.run.config.memory
        if memory.checkpointing is not None or self.blocks == 0:
            found = self._measured(plan)
            return found if found.fits else None
        least = 1 if memory.offload else 0
        all_kept = replace(plan, checkpointed_blocks=least)
        expected = self._expected(all_kept)
        if expected is not None and expected <= self.room:
            found = self._measured(all_kept)
            if found.fits:
                return found
        return self._search(plan, least)

    def _search(self, plan: MemoryPlan, least: int) -> Tried | None:
        """Peaks grow about evenly with the blocks that are kept: measure, reckon, measure again."""
        fits = self._measured(plan)
        if not fits.fits or fits.peak_bytes is None:
            return None
        most = self.blocks - least
        low = below = (0, fits.peak_bytes)
        high: tuple[int, int | None] | None = None
        # A block that is recomputed is there whole while it is: no block takes more than this.
        block = max(1, fits.peak_bytes - self._rest)
        kept = most
        if fits.peak_bytes + most * block > self.room:
            kept = min(most, max(1, min(most // 4, (self.room - fits.peak_bytes) // block)))
        for _ in range(PROBES):
            if kept <= low[0] or self._late():
                break
            found = self._measured(replace(plan, checkpointed_blocks=self.blocks - kept))
            if found.fits and found.peak_bytes is not None:
                fits, below, low = found, low, (kept, found.peak_bytes)
            else:
                high = (kept, found.peak_bytes)
            kept = min(most, self._reckoned(below, low, high))
        return fits

    def _reckoned(
        self, below: tuple[int, int], low: tuple[int, int], high: tuple[int, int | None] | None
    ) -> int:
        """Most kept blocks that should fit, by kept blocks and peaks that were measured.

        Args:
            below: What fits, with fewer kept than `low`; or `low` itself.
            low: The most that is known to fit.
            high: The fewest that are known not to, its peak None where memory ran out; None: all
                that was measured fits.
        """
        kept, peak = low
        if high is None:
            each = (peak - below[1]) / (kept - below[0])
            return kept + int((self.room - peak) / max(1.0, each))
        if high[1] is None:
            return (kept + high[0]) // 2
        each = (high[1] - peak) / (high[0] - kept)
        return min(high[0] - 1, kept + int((self.room - peak) / max(1.0, each)))

    def _least_kept(self) -> MemoryPlan:
        """What config fixes, a line at a time, with every block recomputed that may be."""
        memory = self.run.config.memory
        plan = plainest(memory, self.blocks)
        return (
            plan
            if memory.checkpointing is not None
            else replace(plan, checkpointed_blocks=self.blocks)
        )

    def _smallest(self) -> Tried:
        """What is still there when all blocks are recomputed and one line is too much.

        Raises:
            UserError: it does not fit either.
        """
        import torch

        memory, plan = self.run.config.memory, self._least_kept()
        ways = []
        if memory.offload is None and plan.checkpointed_blocks and torch.cuda.is_available():
            plan = replace(plan, offload=True)
            ways.append(plan)
        may_tile = memory.mlp_tile is None and memory.offload is not False
        long = self._passes(plan)[0].tokens > longest.LEAST_TILED
        if may_tile and long and recompute.can_tile(self.run.model):
            plan = replace(plan, mlp_tile=longest.LEAST_TILED)
            ways.append(plan)
        for way in ways:
            found = self._measured(way)
            if found.fits:
                return found
        raise UserError(longest.too_long_to_learn(self.run, plan, self._passes(plan)[0]))

    # --- measured ---

    def _measured(self, plan: MemoryPlan) -> Tried:
        """The peak on the heaviest passes of a plan."""
        run = self.run
        began = time.monotonic()
        recompute.apply(run.model, plan)
        meter.forget()
        fitted = True
        try:
            for heavy in self._passes(plan):
                forward_backward(run, heavy.lines, heavy.labels)
                meter.wait()
        except RuntimeError as error:
            if not longest.is_out_of_memory(error):
                raise
            fitted = False
        run.optimizer.zero_grad(set_to_none=False)
        peak = max(run.processes.gather(meter.peak()))
        fitted = not run.processes.any(flag=not fitted)
        found = Tried(
            plan=plan,
            fits=fitted and peak <= self.room,
            peak_bytes=peak if fitted else None,
        )
        self.tried.append(found)
        if not found.fits:
            what = f"{peak / meter.GIB:.1f} GiB" if fitted else "out of memory"
            self._say(found, f"{what}: too much, {time.monotonic() - began:.1f} s")
        return found

    def _timed(self, tried: Tried) -> Tried:
        """The same candidate with its speed.

        Raises:
            UserError: a pass that is not the heaviest does not fit.
        """
        run, plan = self.run, tried.plan
        recompute.apply(run.model, plan)
        with longest.explained(longest.too_long_to_learn(run, plan, self._passes(plan)[0])):
            real, seconds = self._speed(self._sample(plan))
        run.optimizer.zero_grad(set_to_none=False)
        found = replace(tried, tokens_per_second=real / seconds)
        self.tried[self.tried.index(tried)] = found
        peak = (tried.peak_bytes or 0) / meter.GIB
        self._say(found, f"{found.tokens_per_second:,.0f} tokens/s, {peak:.1f} GiB")
        learned = sum(len(run.data.train[row].ids) for step in run.steps for row in step.rows)
        going = learned / real * seconds / run.processes.count
        self._most = min(self._most, max(LEAST_SECONDS, SHARE * going))
        return found

    def _speed(self, passes: Sequence[Sequence[Line]]) -> tuple[int, float]:
        """Tokens of these passes, and seconds for all of them."""
        run, best = self.run, float("inf")
        for _ in range(ROUNDS):
            began = time.monotonic()
            for lines in passes:
                forward_backward(run, lines, _supervised(lines))
            meter.wait()
            seconds = max(run.processes.gather(time.monotonic() - began))
            best = min(best, seconds)
            if seconds > ROUND_SECONDS:
                break
        return sum(tokens(line) for lines in passes for line in lines), best

    def _sample(self, plan: MemoryPlan) -> list[Sequence[Line]]:
        """Passes of some steps, drawn evenly from all lengths; few where each takes long."""
        run = self.run
        context = run.config.model.context
        every = [
            lines
            for step in self._steps()
            for lines in lay_out([run.data.train[row] for row in step.rows], plan, context)
        ]
        every.sort(key=lambda lines: len(lines) * max(map(tokens, lines)))
        middle = every[len(every) // 2]
        began = time.monotonic()
        forward_backward(run, middle, _supervised(middle))
        meter.wait()
        one = max(run.processes.gather(time.monotonic() - began))
        count = min(len(every), MOST_PASSES, max(LEAST_PASSES, int(SAMPLED_SECONDS / one)))
        return [every[int((place + 0.5) * len(every) / count)] for place in range(count)]

    def _steps(self) -> list[Step]:
        """Some steps of the first epoch, evenly apart."""
        first = [step for step in self.run.steps if step.epoch == self.run.steps[0].epoch]
        count = min(len(first), SAMPLED_STEPS)
        return [first[int((place + 0.5) * len(first) / count)] for place in range(count)]

    def _packed(self, step: Step) -> Sequence[Line]:
        rows = [self.run.data.train[row] for row in step.rows]
        config = self.run.config
        return pack(rows, config.memory.line_tokens or config.model.context)

    def _passes(self, plan: MemoryPlan) -> list[longest.Pass]:
        key = (plan.micro_batch, plan.packing)
        if key not in self._heaviest:
            run = self.run
            self._heaviest[key] = longest.heaviest(
                run.data.train, run.steps, plan, run.config.model.context
            )
        return self._heaviest[key]

    def _expected(self, plan: MemoryPlan) -> int | None:
        """Bytes at the peak, going by the last plan with as many blocks recomputed.

        None: there was none.
        """
        for one in reversed(self.tried):
            if one.peak_bytes and one.plan.checkpointed_blocks == plan.checkpointed_blocks:
                more = self._passes(plan)[0].tokens / self._passes(one.plan)[0].tokens
                return self._rest + int(more * (one.peak_bytes - self._rest))
        return None

    def _may_fit(self, plan: MemoryPlan) -> bool:
        """Whether more lines may fit, going by fewer.

        What cannot is not tried: running out of main memory is no error that can be caught.
        """
        expected = self._expected(plan)
        return expected is None or expected <= self.room

    def _late(self) -> bool:
        late = time.monotonic() - self._began > self._most
        return self.run.processes.gather(late)[0]

    def _say(self, tried: Tried, what: str) -> None:
        say(f"train: trial: {tried.plan.told(self.blocks)}: {what}")


def _supervised(lines: Sequence[Line]) -> int:
    return sum(row.supervised for line in lines for row in line)
