"""One item: from its audio file to transcript, voices and manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from understudy import artifacts
from understudy.artifacts import Manifest
from understudy.records import transcript as transcripts
from understudy.records import voices as voice_records
from understudy.records.item import Item
from understudy.records.transcript import Transcript
from understudy.records.voices import ItemVoices
from understudy.transcribe import assign, audio, gaps
from understudy.transcribe.audio import Audio, Unusable
from understudy.transcribe.embed import item_voices
from understudy.transcribe.models import Models
from understudy.transcribe.plan import Job

Advance = Callable[[float], None]
"""Told how many more seconds of audio are behind us; hearing them is half of the way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was heard in one item, and what was doubtful in it."""

    seconds: float
    transcript: Transcript
    voices: ItemVoices
    notes: tuple[str, ...]
    """Fallbacks with counts, for the person."""


def transcribe(job: Job, models: Models, advance: Advance) -> Result:
    """Hear, diarise and embed one item; nothing is written.

    Raises:
        Unusable: the item cannot be transcribed; the message says why.
    """
    recording = audio.decode(job.media)
    try:
        return _transcribe(recording, models, advance)
    except RuntimeError as error:
        # CTranslate2 and torch raise nothing more special: out of memory, a broken tensor.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unusable(f"{job.media.name}: a model failed on it ({reason})") from error


def _transcribe(recording: Audio, models: Models, advance: Advance) -> Result:
    samples, seconds = recording.samples, recording.seconds
    heard = models.recogniser.hear(samples, _half(advance, seconds))
    if not heard.words:
        raise Unusable(f"no speech was found in its {seconds:.0f} s")
    diarization = models.diarizer.diarize(samples)
    words, capped = assign.cap_all(heard.words)
    filled = gaps.fill(words, diarization.exclusive, samples, models.recogniser)
    assigned = assign.assign(filled.words, diarization.exclusive)
    parts = assign.segments(assigned.words, heard.separator)
    assert sum(len(part.words) for part in parts) == len(heard.words) + filled.found
    notes = (
        _note(recording.damaged, "damaged packets left out"),
        _note(filled.found, "words found in a second hearing"),
        _note(round(filled.silent_seconds), "s of voice without words"),
        _note(capped, "overlong words shortened"),
        _note(assigned.nearest, "words given to the nearest voice"),
        _note(assigned.untimed, "words without times"),
        _note(assigned.steadied, "words of a flicker given to the sentence's voice"),
        "" if diarization.exclusive else "no voice was found: its words have no speaker",
    )
    return Result(
        seconds=seconds,
        transcript=Transcript(segments=parts, language=heard.language),
        voices=item_voices(samples, assign.turns(parts), models.embedder),
        notes=tuple(note for note in notes if note),
    )


def _half(advance: Advance, seconds: float) -> Advance:
    """Turn "heard up to" into "half of this is behind us"."""
    reached = 0.0

    def up_to(second: float) -> None:
        nonlocal reached
        second = min(max(second, reached), seconds)
        advance((second - reached) / 2)
        reached = second

    return up_to


def _note(count: int, what: str) -> str:
    return f"{count} {what}" if count else ""


def write(job: Job, result: Result) -> Path | None:
    """Write transcript and voices, the manifest last.

    Returns:
        Where an older transcript was kept, if there was one that says something else.
    """
    item = job.item
    new = item.transcript_file.with_name(f".{item.transcript_file.name}.new")
    transcripts.write(new, result.transcript)
    kept = _keep(item, job.before, new)
    item.manifest_file("transcribe").unlink(missing_ok=True)
    voice_records.write_item_voices(item.voices_file, result.voices)
    new.replace(item.transcript_file)
    files = [item.transcript_file, item.voices_file]
    artifacts.seal(item.manifest_file("transcribe"), job.identity, files)
    item.clear_failure("transcribe")
    return kept


def _keep(item: Item, before: Manifest | None, new: Path) -> Path | None:
    """Copy an older transcript aside, unless it is the same: a person may have worked with it."""
    old = item.transcript_file
    if not old.exists() or old.read_bytes() == new.read_bytes():
        return None
    name = before.identity.hash[:8] if before else artifacts.sha256_file(old)[:8]
    kept = old.with_name(f"transcript.{name}.json")
    if kept.exists() and kept.read_bytes() != old.read_bytes():
        kept = old.with_name(f"transcript.{name}-{artifacts.sha256_file(old)[:8]}.json")
    artifacts.write_atomic(kept, old.read_bytes())
    return kept
