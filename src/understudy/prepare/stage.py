"""The stage: items and rows become a prepared set, every word accounted for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy import artifacts, tasks
from understudy.artifacts import Identity
from understudy.config import Config
from understudy.console import Bar, Exit, Outcome, UserError, progress, say, warn
from understudy.prepare import inputs as sources
from understudy.prepare.assemble import Assembly
from understudy.prepare.cut import Cut
from understudy.prepare.fit import Fitted, Fitter
from understudy.prepare.inputs import Inputs
from understudy.prepare.read import Read, Rejected, read
from understudy.prepare.spool import Kind, Size, Spool
from understudy.records import jsonl
from understudy.records.conversation import Conversation
from understudy.records.ledger import Entry, ItemEntry, Ledger
from understudy.records.rows import Message, Meta, Row
from understudy.tasks import Task

FORMAT = 3
READS = ("split", "voices")
BATCH_WORDS = 100_000
"""Words read before they are counted together: enough to keep every core busy."""
BATCH_TALKS = 2_000
SHOWN = 20
"""Rejected items and lines that are named on the screen; all are in `rejected.jsonl`."""


def identity(config: Config, inputs: Mapping[str, str]) -> Identity:
    """A prepared set is made of task, split, tokenizer, template, context and sources."""
    from understudy.models import tokenizer, weights

    model = config.model
    template = tokenizer.dialect(model).hash
    task = artifacts.record(config.task)
    for key in ("rows", "valid_rows"):
        # What is in the files counts, not where they lie.
        task[key] = task[key] and Path(task[key]).name
    several = {"corpora": dict(config.weights)} if config.weights else {}
    return Identity(
        stage="prepare",
        format=FORMAT,
        config={
            "corpus": config.corpus,
            **several,
            "context": model.context,
            "task": task,
            **{name: getattr(config, name) for name in READS},
        },
        inputs={
            **inputs,
            "template": template,
            "tokenizer": weights.tokenizer_identity(model),
        },
    )


def locate(config: Config) -> tuple[Identity, Path]:
    """Identity and folder of the set that this config makes.

    Raises:
        UserError: there is nothing to prepare it from, or it is not transcribed.
    """
    return _located(config, sources.find(config, tasks.find(config.task.name)))


def _located(config: Config, inputs: Inputs) -> tuple[Identity, Path]:
    made_of = identity(config, inputs.hashes())
    return made_of, made_of.folder(config.paths.runs, f"{config.corpus}-{config.task.name}")


def is_made(folder: Path, made_of: Identity) -> bool:
    """Whether the set is there, with the files that were made.

    Raises:
        UserError: a file of it was changed; the message names it, and what to do instead.
    """
    manifest = artifacts.read_manifest(folder / "manifest.json")
    if manifest is None or manifest.identity.hash != made_of.hash:
        return False
    fault = artifacts.damage(folder / "manifest.json", manifest)
    if fault is not None:
        raise UserError(
            f"the prepared set was changed after it was made ({fault}), and nothing is overwritten "
            "unasked. Put the file back; to have the set made again, run python -m prepare with "
            "the same arguments and fresh=true; to learn from rows of your own, give them with "
            "task=messages task.rows=<file>."
        )
    return True


def run(config: Config) -> Outcome:
    """Make the prepared set, unless it is made already.

    Raises:
        UserError: nothing to prepare, nothing usable in it, too much of it is dropped, or it was
            changed after it was made.
    """
    task = tasks.find(config.task.name)
    inputs = sources.find(config, task)
    made_of, folder = _located(config, inputs)
    manifest = folder / "manifest.json"
    with artifacts.exclusive(folder, wait=True):
        if not config.fresh and is_made(folder, made_of):
            found = json.loads((folder / "ledger.json").read_text(encoding="utf-8"))
            check_dropped(found["words_in"], found["unasked"], config.max_dropped_share)
            say(f"prepare: done already: {folder}")
        else:
            artifacts.clear(folder)
            Making(config, task, inputs, folder).make()
            artifacts.seal(manifest, made_of, sorted(folder.glob("*.json*")))
        return _outcome(folder)


def _outcome(folder: Path) -> Outcome:
    rejected = jsonl.read_whole(folder / "rejected.jsonl")
    for entry in rejected[:SHOWN]:
        line = f" line {entry['line']}" if "line" in entry else ""
        warn(f"{entry['source']}{line} is left out: {entry['reason']}")
    if len(rejected) > SHOWN:
        more = len(rejected) - SHOWN
        warn(f"{more:,} more are left out: see {folder / 'rejected.jsonl'}")
    return Outcome(folder, Exit.IN_PART if rejected else Exit.DONE)


def check_dropped(words_in: int, unasked: Mapping[str, int], most: float) -> None:
    """Refuse a set that lost too many words.

    Raises:
        UserError: naming the reasons and their shares.
    """
    dropped = sum(unasked.values())
    if not words_in or dropped <= most * words_in:
        return
    reasons = "".join(
        f"\n  {words / words_in:.1%} ({words:,} words): {reason}"
        for reason, words in Counter(unasked).most_common()
    )
    raise UserError(
        f"{dropped / words_in:.1%} of the words would be dropped though nothing asks for it, more "
        f"than max_dropped_share={most:g}:{reasons}\nRaise model.context, mend the source, or "
        "allow it with a higher max_dropped_share."
    )


@dataclass(slots=True)
class Making:
    """A prepared set in the making."""

    config: Config
    task: Task
    inputs: Inputs
    folder: Path
    ledger: Ledger = field(default_factory=Ledger)
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    """Why the first items and lines cannot be used."""
    sides: dict[str, str] = field(default_factory=dict)
    """`train` or `valid` for the items whose source says so."""

    def make(self) -> None:
        """Read, fit, split, write; then say what became of it.

        Raises:
            UserError: nothing usable, or too much of it is dropped.
        """
        spool = Spool(self.folder)
        try:
            self._spool(spool)
            total = self.ledger.total()
            most = self.config.max_dropped_share
            check_dropped(total.words_in, total.unasked, most)
            if not len(spool):
                raise UserError(
                    f"no row fits model.context={self.config.model.context} tokens: raise it, or "
                    "check what is to be learned."
                )
            diversity = self._assemble(spool)
        finally:
            spool.close()
        self.ledger.write(self.folder / "ledger.json")
        artifacts.write_json(self.folder / "diversity.json", diversity)
        # The identity knows the tokenizer by its content: this is where it is to be had again.
        model = {"base": self.config.model.base, "revision": self.config.model.revision}
        artifacts.write_json(self.folder / "made_for.json", model)
        self._tell(diversity)

    def _spool(self, spool: Spool) -> None:
        from understudy.models.tokenizer import load_encoder

        model = self.config.model
        fitter = Fitter(load_encoder(model), model.context, self.config.task)
        with (
            (self.folder / "rejected.jsonl").open("w", encoding="utf-8") as rejected,
            progress("prepare", self._pieces(), "items") as bar,
        ):
            for batch, fitted in fitting(batches(self._usable(rejected, bar)), fitter):
                following = iter(fitted)
                for found in batch:
                    self._enter(found, [next(following) for _ in found.talks], spool)
        self.ledger.notes += fitter.notes
        if not self.ledger.items:
            reasons = "\n".join(f"  {reason}" for reason in self.reasons)
            raise UserError(f"nothing of {self.config.corpus} can be used:\n{reasons}")

    def _pieces(self) -> int:
        """Items, and lines of row files, as far as that can be told beforehand."""
        lines = sum(sum(1 for _ in jsonl.lines(rows.path)) for rows in self.inputs.files)
        failed = sum(len(corpus.failed) for corpus in self.inputs.corpora)
        return self.inputs.items + failed + lines

    def _usable(self, rejected: Any, bar: Bar) -> Iterator[Read]:  # noqa: ANN401  # a text file
        for found in read(self.config, self.task, self.inputs):
            bar.advance()
            if isinstance(found, Read):
                yield found
                continue
            rejected.write(jsonl.line(found.record()))
            self.rejected += 1
            if len(self.reasons) < SHOWN:
                self.reasons.append(_named(found))

    def _enter(self, found: Read, fitted: list[Fitted], spool: Spool) -> None:
        """Put an item's rows into the spool and its words into the ledger."""
        name = self._name(found)
        if name in self.ledger.items:
            entry = self.ledger.items[name]
        else:
            entry = self.ledger.items[name] = ItemEntry()
        spool.begin(name)
        for talk, fit in zip(found.talks, fitted, strict=True):
            if talk.side is not None:
                self.sides.setdefault(name, talk.side)
            entry.words_in += fit.words_in
            entry.words_dropped.update(fit.asked)
            entry.words_dropped.update(fit.unasked)
            entry.unasked.update(fit.unasked)
            entry.notes.update(fit.notes)
            kind = Kind(found.corpus, talk.category, talk.creator)
            for cut, overhead in zip(fit.rows, fit.overheads, strict=True):
                spool.add(_row(cut, talk, found), kind, _size(cut, overhead, entry))

    def _name(self, found: Read) -> str:
        """The item's name in the ledger: two corpora may have items of one name."""
        several = len(self.config.weights) > 1
        return f"{found.corpus}/{found.item}" if several else found.item

    def _assemble(self, spool: Spool) -> dict[str, Any]:
        assembly = Assembly(self.config, spool, self.ledger)
        assembly.split(self.sides)
        duplicates, variety = assembly.compare()
        assembly.weigh()
        tokens = assembly.write(self.folder)
        if not tokens["train"]:
            raise UserError(
                "nothing is left to train on: every row is held out or taken out. Hold out fewer "
                "items (split.valid_items), or keep duplicates (split.duplicates=report)."
            )
        return assembly.diversity(duplicates, variety, tokens)

    def _tell(self, diversity: Mapping[str, Any]) -> None:
        total = self.ledger.total()
        rows = diversity["rows"]
        say(
            f"prepare: {rows['train']:,} rows to train, {rows['valid']:,} held out; "
            f"{total.words_in:,} words in = {total.words_trained:,} trained + "
            f"{total.words_context:,} context + {total.words_dropped.total():,} dropped"
        )
        _tell_counts(total)
        for warning in diversity["warnings"]:
            warn(warning)


def _tell_counts(total: Entry) -> None:
    for reason, words in total.words_dropped.most_common():
        unasked = "" if reason not in total.unasked else ", unasked"
        say(f"  dropped: {words:,} words: {reason}{unasked}")
    for what, count in total.notes.most_common():
        say(f"  {count:,} {what}")


def batches(found: Iterable[Read]) -> Iterator[list[Read]]:
    """Group what is read into batches of about `BATCH_WORDS` words."""
    batch: list[Read] = []
    words = talks = 0
    for piece in found:
        batch.append(piece)
        # Six characters are about a word; counting words here would be the third time.
        words += sum(len(s.message.content) for t in piece.talks for s in t.spoken) // 6
        talks += len(piece.talks)
        if words >= BATCH_WORDS or talks >= BATCH_TALKS:
            yield batch
            batch, words, talks = [], 0, 0
    if batch:
        yield batch


def fitting(
    read_in: Iterable[list[Read]], fitter: Fitter
) -> Iterator[tuple[list[Read], list[Fitted]]]:
    """Each batch with its rows. One batch is tokenised while the next is read.

    The tokenizer leaves Python free meanwhile. It belongs to one thread alone: nobody else may use
    the encoder before the last batch is out.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    with ThreadPoolExecutor(1) as worker:
        waiting: tuple[list[Read], Future[list[Fitted]]] | None = None
        for batch in read_in:
            job = worker.submit(fitter.fit, [talk for found in batch for talk in found.talks])
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = batch, job
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _named(rejected: Rejected) -> str:
    line = "" if rejected.line is None else f" line {rejected.line}"
    return f"{rejected.source}{line}: {rejected.reason}"


def _row(cut: Cut, talk: Conversation, found: Read) -> Row:
    """The messages of a row, with the system message in front and where they come from."""
    spoken = [message.spoken for message in cut.messages]
    system = [Message(role="system", content=talk.system, weight=0)] if talk.system else []
    own = spoken[cut.carried :] or spoken
    return Row(
        messages=(*system, *(one.message for one in spoken)),
        meta=Meta(
            corpus=found.corpus,
            item=found.item,
            category=talk.category,
            licence=talk.licence,
            start=own[0].start,
            end=own[-1].end,
            speakers=talk.speakers,
            creator=talk.creator,
            cut=cut.cut,
            carried=cut.carried,
        ),
    )


def _size(cut: Cut, overhead: int, entry: ItemEntry) -> Size:
    """What a row counts for; its words are entered."""
    trained = sum(m.words for m in cut.messages if m.spoken.message.weight)
    context = sum(m.words for m in cut.messages if not m.spoken.message.weight)
    entry.words_trained += trained
    entry.words_context += context
    return Size(
        tokens=cut.tokens + overhead,
        trained=sum(message.trained for message in cut.messages),
        words_trained=trained,
        words_context=context,
    )
