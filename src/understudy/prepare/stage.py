"""The stage: a corpus becomes a prepared set, every word accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from understudy import artifacts, tasks
from understudy.artifacts import Identity
from understudy.chat.dialect import find as find_dialect
from understudy.config import Config
from understudy.console import Exit, Outcome, UserError, progress, say, warn
from understudy.prepare import inputs as corpus
from understudy.prepare.rows import Cutter
from understudy.prepare.split import held_out
from understudy.records import jsonl, voices
from understudy.records.conversation import Conversation
from understudy.records.item import Item, Source
from understudy.records.ledger import ItemEntry, Ledger
from understudy.records.rows import Row
from understudy.records.turns import read_turns

FORMAT = 1
READS = ("task", "split", "voices")


@dataclass(slots=True)
class PreparedSet:
    """What is being made, before it is written."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {"train": [], "valid": []})
    ledger: Ledger = field(default_factory=Ledger)
    rejected: list[dict[str, str]] = field(default_factory=list)


def identity(config: Config, inputs: Mapping[str, str]) -> Identity:
    """A prepared set is made of task, split, tokenizer, template, context and transcripts."""
    model = config.model
    try:
        template = find_dialect(model.dialect).hash
    except ValueError as error:
        raise UserError(str(error)) from None
    return Identity(
        stage="prepare",
        format=FORMAT,
        config={
            "corpus": config.corpus,
            "tokenizer": f"{model.base}@{model.revision or 'main'}",
            "context": model.context,
            **{name: getattr(config, name) for name in READS},
        },
        inputs={**inputs, "template": template},
    )


def locate(config: Config) -> tuple[Identity, Path]:
    """Identity and folder of the set that this config makes.

    Raises:
        UserError: there is no corpus, or it is not transcribed.
    """
    made_of = identity(config, corpus.find(config).hashes())
    return made_of, made_of.folder(config.paths.runs, f"{config.corpus}-{config.task.name}")


def run(config: Config) -> Outcome:
    """Make the prepared set, unless it is made already.

    Raises:
        UserError: nothing to prepare, or nothing usable in it.
    """
    task = tasks.load(config.task.name)
    found = corpus.find(config)
    made_of, folder = locate(config)
    manifest = folder / "manifest.json"
    with artifacts.exclusive(folder):
        if not config.fresh and artifacts.is_done(manifest, made_of):
            rejected = jsonl.read_whole(folder / "rejected.jsonl")
            say(f"prepare: done already: {folder}")
            return _outcome(folder, rejected)
        artifacts.clear(folder)
        prepared = _prepare(config, found, task.conversation)
        _write(folder, prepared)
        artifacts.seal(manifest, made_of, sorted(folder.glob("*.json*")))
    _tell(prepared)
    return _outcome(folder, prepared.rejected)


def _outcome(folder: Path, rejected: list[dict[str, str]]) -> Outcome:
    for entry in rejected:
        warn(f"{entry['source']} is left out: {entry['reason']}")
    return Outcome(folder, Exit.IN_PART if rejected else Exit.DONE)


def _prepare(config: Config, found: corpus.Inputs, conversation: tasks.Converse) -> PreparedSet:
    from understudy.models.tokenizer import load_encoder

    register = voices.read_register(found.register)
    prepared = PreparedSet()
    for name, reason in found.failed.items():
        prepared.rejected.append({"source": name, "reason": f"transcribe: {reason}"})
    usable: dict[str, tuple[Source, Conversation, int]] = {}
    for item in found.items:
        try:
            usable[item.name] = _converse(item, register, config, conversation)
        except ValueError as error:
            prepared.rejected.append({"source": item.name, "reason": str(error)})
    if not usable:
        reasons = "\n".join(
            f"  {entry['source']}: {entry['reason']}" for entry in prepared.rejected
        )
        raise UserError(f"no item of {config.corpus} can be used:\n{reasons}")
    valid = held_out(sorted(usable), config.split)
    cutter = Cutter(load_encoder(config.model), config.model.context)
    with progress("prepare", len(usable), "items") as bar:
        for name, (source, talk, words_in) in usable.items():
            entry = ItemEntry(words_in=words_in, split="valid" if name in valid else "train")
            prepared.ledger.items[name] = entry
            rows = cutter.rows(talk, entry, prepared.ledger)
            meta = {"corpus": config.corpus, "item": name}
            prepared.rows[entry.split] += [cutter.row(r, talk, source, meta) for r in rows]
            bar.advance(note=name)
    if not prepared.rows["train"]:
        raise UserError(
            f"no row fits model.context={config.model.context} tokens: raise it, or check the "
            "transcripts."
        )
    return prepared


def _converse(
    item: Item, register: list[voices.KnownVoice], config: Config, conversation: tasks.Converse
) -> tuple[Source, Conversation, int]:
    turns = read_turns(item, register, config.voices)
    source = item.source()
    return source, conversation(turns, source, config.task), sum(turn.words for turn in turns)


def _write(folder: Path, prepared: PreparedSet) -> None:
    for side, rows in prepared.rows.items():
        jsonl.write(folder / f"{side}.jsonl", rows)
    jsonl.write(folder / "rejected.jsonl", prepared.rejected)
    prepared.ledger.write(folder / "ledger.json")


def _tell(prepared: PreparedSet) -> None:
    total = prepared.ledger.total()
    rows = prepared.rows
    say(
        f"prepare: {len(rows['train'])} rows to train, {len(rows['valid'])} held out; "
        f"{total.words_in:,} words in = {total.words_trained:,} trained + "
        f"{total.words_context:,} context + {total.words_dropped.total():,} dropped"
    )
    for reason, words in total.words_dropped.items():
        say(f"  dropped: {words:,} words: {reason}")
