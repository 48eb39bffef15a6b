"""The stage: audio becomes transcripts, each item by itself."""

from __future__ import annotations

import time
from collections import Counter

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.config import Config
from understudy.console import Bar, Exit, Outcome, UserError, progress, say, warn
from understudy.records import item as records
from understudy.records import voices
from understudy.records.voices import KnownVoice, Role
from understudy.transcribe import audio, embed, episode, extra
from understudy.transcribe import plan as plans
from understudy.transcribe.audio import Unusable
from understudy.transcribe.episode import Result
from understudy.transcribe.models import Models
from understudy.transcribe.plan import Job, Plan
from understudy.transcribe.quiet import quiet

FORMAT = 1
READS = ("asr", "diarizer", "voices.embedding")


def identity(config: Config, audio_sha256: str) -> Identity:
    """A transcript is made of the audio and of the settings of ASR, diariser and embedding."""
    settings = {
        "asr": config.asr,
        "diarizer": config.diarizer,
        "voices.embedding": config.voices.embedding,
    }
    assert tuple(settings) == READS
    return Identity(
        stage="transcribe", format=FORMAT, config=settings, inputs={"audio": audio_sha256}
    )


def run(config: Config) -> Outcome:
    """Transcribe every item that has audio and no transcript yet.

    Raises:
        UserError: no corpus, weights that cannot be had, or transcripts made with other settings.
    """
    corpus = config.corpus_folder
    items = records.items(corpus)
    if not items:
        raise UserError(
            f"there is no corpus {corpus}: run `python -m collect corpus={config.corpus} "
            "source.path=<folder>` first, or give corpus=<name of one in data/>."
        )
    embed.check(config.voices.embedding)
    register = _register(config)
    with artifacts.exclusive(corpus / ".transcribe"):
        plan = plans.make(items, lambda sha: identity(config, sha), fresh=config.fresh)
        if plan.todo:
            extra.check()
        failures = _work(plan, register, config) if plan.todo else {}
    _summary(plan, failures)
    return Outcome(corpus, _code(plan, failures))


def _code(plan: Plan, failures: dict[str, str]) -> Exit:
    """Done; in part where something failed; failed where nothing has a transcript."""
    if not failures:
        return Exit.DONE
    return Exit.IN_PART if plan.done or plan.imported else Exit.FAILED


def _register(config: Config) -> list[KnownVoice]:
    path = config.corpus_folder / "speakers.json"
    try:
        register = voices.read_register(path)
    except ValueError as error:
        raise UserError(f"{error}: mend the file or move it away.") from None
    known = {voice.embedding_model for voice in register}
    if register and config.voices.embedding not in known:
        raise UserError(
            f"{path} holds voices of {', '.join(sorted(known))}, which cannot be compared with "
            f"voices.embedding={config.voices.embedding}: enrol them again, or move the file away."
        )
    return register


def _work(plan: Plan, register: list[KnownVoice], config: Config) -> dict[str, str]:
    """Transcribe item after item; reasons by name for those that could not be."""
    failures: dict[str, str] = {}
    lengths = {job.item.name: audio.stated_seconds(job.media) for job in plan.todo}
    models = Models(config)
    before = len(plan.done)
    total = sum(lengths.values())
    started = time.monotonic()
    with quiet(), progress("transcribe", total, "s of audio") as bar:
        for number, job in enumerate(plan.todo, start=1):
            name = job.item.name
            at = bar.done
            try:
                _one(job, models, bar, register, config)
                plan.done.append(job.item)
            except Unusable as error:
                failures[name] = str(error)
                job.item.write_failure("transcribe", str(error))
                warn(f"{name}: {error}")
            rest = at + lengths[name] - bar.done
            speed = (bar.done + rest) / (time.monotonic() - started)
            note = f"{number}/{len(plan.todo)} items, {speed:.1f}x real time"
            bar.advance(rest, note=note)
    models.free()
    assert len(plan.done) + len(failures) == before + len(plan.todo)
    return failures


def _one(job: Job, models: Models, bar: Bar, register: list[KnownVoice], config: Config) -> None:
    started = time.monotonic()
    result = episode.transcribe(job, models, bar.advance)
    kept = episode.write(job, result)
    elapsed = time.monotonic() - started
    resolved = voices.resolve(result.voices, register, config.voices) if register else {}
    names = [
        resolved[label].name if label in resolved else label for label in result.transcript.speakers
    ]
    say(f"{job.item.name}: {_line(result, names)}, {result.seconds / elapsed:.1f}x real time")
    if kept is not None:
        warn(f"{job.item.name}: the transcript that was there is kept as {kept.name}")
    hosts = {known.name for known in register if known.role is Role.host}
    if hosts and not hosts & set(names):
        warn(f"{job.item.name}: the host ({', '.join(sorted(hosts))}) is not heard in it")


def _line(result: Result, names: list[str]) -> str:
    words = Counter[str | None]()
    for segment in result.transcript.segments:
        words[segment.speaker] += len(segment.words)
    parts = [
        f"{result.seconds:.0f} s",
        f"{words.total()} words",
        f"voices {', '.join(names) or 'none'}",
    ]
    return ", ".join((*parts, *result.notes))


def _summary(plan: Plan, failures: dict[str, str]) -> None:
    counts = [
        f"{len(plan.done)} transcribed",
        f"{len(plan.imported)} imported and kept" if plan.imported else "",
        f"{len(plan.silent)} without audio ({plans.names(plan.silent)})" if plan.silent else "",
        f"{len(failures)} failed" if failures else "",
    ]
    listed = ", ".join(count for count in counts if count)
    if not plan.todo:
        total = len(plan.done) + len(plan.imported)
        say(f"transcribe: all {total} done already ({listed})")
        return
    say(f"transcribe: {listed}")
    for name, reason in failures.items():
        say(f"  {name}: {reason}")
