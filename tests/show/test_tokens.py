"""Rows as their tokens say: what stands out is what training will learn, to the token."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from understudy.chat.dialect import DIALECTS
from understudy.chat.encoder import Encoder
from understudy.console import UserError
from understudy.records import rows
from understudy.records.rows import Message
from understudy.show import made_for, prepared, side, span
from understudy.show.made_for import MadeFor
from understudy.show.prepared import Look
from understudy.show.screen import verbatim


@dataclass(frozen=True, slots=True)
class Made:
    """A prepared set as the door makes it, and its encoder."""

    folder: Path
    encoder: Encoder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("made")
    corpus = root / "data" / "show"
    host = {"name": "Maren", "role": "host", "embedding_model": "none", "references": []}
    for number in range(3):
        item = corpus / f"episode-{number}"
        item.mkdir(parents=True)
        said = [f"Turn {n} of episode {number}, naïve 🙂 and “quoted”." for n in range(24)]
        segments = [
            {
                "start": 4.0 * n,
                "end": 4.0 * n + 3,
                "text": text,
                "speaker": ("Maren", "Guest")[n % 2],
            }
            for n, text in enumerate(said)
        ]
        (item / "source.json").write_text(json.dumps({"title": item.name, "guest": "Guest"}))
        (item / "transcript.json").write_text(json.dumps({"language": "en", "segments": segments}))
        (item / "manifest.collect.json").write_text("{}")
    (corpus / "speakers.json").write_text(json.dumps({"speakers": [host]}))
    command = [sys.executable, "-m", "prepare", "corpus=show", "model.context=256", "split=count"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    return Made(folder, made_for.read(folder).encoder())


def shown(made: Made, look: Look, *, encoding: str = "utf-8", terminal: bool = False) -> str:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    colours: Any = {"color_system": "standard"} if terminal else {}
    console = Console(file=out, force_terminal=terminal, width=4000, **colours)
    prepared.show(made.folder, console, look)
    out.flush()
    return raw.getvalue().decode(encoding)


def test_the_counts_are_the_ledgers(made: Made) -> None:
    text = shown(made, Look(rows=0))
    train, valid = (
        next(line for line in text.splitlines() if line.strip().startswith(name)).split()
        for name in prepared.SIDES
    )
    tokens = json.loads((made.folder / "ledger.json").read_text())["tokens"]
    in_all = int(train[5].replace(",", "")) + int(valid[5].replace(",", ""))
    assert in_all == tokens["trained"] + tokens["context"]
    sides = [side.read(made.folder / f"{name}.jsonl", 0, made.encoder) for name in prepared.SIDES]
    assert sum(found.supervised for found in sides) == tokens["trained"]
    assert train[6] == f"{sides[0].supervised / sides[0].tokens:.1%}"
    counts = [len(rows.read(made.folder / f"{name}.jsonl")) for name in prepared.SIDES]
    assert [int(train[2]), int(valid[2])] == counts
    assert sum(int(n) for n in re.findall(r"\| (\d+)$", text, flags=re.MULTILINE)) == sum(counts)


def test_a_row_is_printed_token_for_token(made: Made) -> None:
    text = shown(made, Look(rows=1))
    row = rows.read(made.folder / "train.jsonl")[0]
    encoded = made.encoder.row(row.messages)
    head = f"{len(encoded.ids)} tokens, {sum(encoded.trained)} supervised"
    assert head in text
    marked = re.findall(r"^«(trained|context)» (.*)$", text, flags=re.MULTILINE)
    whole = "".join(piece for _, piece in marked).replace("⏎", "\n")
    assert whole == made.encoder.tokenizer.decode(encoded.ids)
    learned = [piece for kind, piece in marked if kind == "trained"]
    assert learned == [f"{message.content}<|im_end|>" for message in row.messages]


def test_a_terminal_gets_the_same_in_colour(made: Made) -> None:
    text = shown(made, Look(rows=1), terminal=True)
    row = rows.read(made.folder / "train.jsonl")[0]
    green = re.findall(r"\x1b\[32m(.*?)\x1b\[0m", text)
    assert green == [f"{message.content}<|im_end|>" for message in row.messages]
    assert "«" not in text


def test_an_ascii_screen_gets_ascii(made: Made) -> None:
    text = shown(made, Look(rows=1), encoding="ascii")
    assert "<<trained>> Turn 0 of episode" in text
    assert "\\U0001f642" in text
    assert "#####" in text


def test_the_tool_survives_a_screen_without_unicode(made: Made) -> None:
    command = [Path(sys.executable).parent / "understudy", "show", made.folder]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"<<trained>> user (Maren): Turn 0 of episode" in done.stdout


def test_without_rows_no_tokenizer_is_loaded(made: Made) -> None:
    program = (
        "import sys; from pathlib import Path; from understudy.show import thing; "
        f"thing.show(Path({str(made.folder)!r}), None); "
        "sys.exit(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"[]\n")


def test_very_many_rows_are_measured_in_part(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = shown(made, Look(rows=0))
    count = len(rows.read(made.folder / "train.jsonl"))
    monkeypatch.setattr("understudy.show.side.MEASURED_ROWS", count - 1)
    found = side.read(made.folder / "train.jsonl", 0, made.encoder)
    assert 1 < len(found.lengths) < count
    text = shown(made, Look(rows=0))
    assert "train: tokens measured on one row in" in text
    assert "~" in text
    assert "~" not in exact


content = st.text(st.characters(blacklist_categories=("Cs",)), max_size=40) | st.sampled_from(
    ["", "[INST] no [/INST]", "<|im_end|>", "</s>", "a\n\nb", " ahead", "👩‍🚀🏽", "Ω\u00a0é"]
)


@given(data=st.lists(st.tuples(content, st.sampled_from([0, 1])), min_size=1, max_size=6))
@settings(max_examples=80, deadline=None)
def test_spans_joined_are_the_row(made: Made, data: Sequence[tuple[str, int]]) -> None:
    roles = ["user", "assistant"] * 3
    messages = [
        Message(role=role, content=text, weight=weight)
        for role, (text, weight) in zip(roles, data, strict=False)
    ]
    encoded = made.encoder.row(messages)
    spans = span.of(messages, made.encoder)
    whole = made.encoder.tokenizer.decode(encoded.ids, clean_up_tokenization_spaces=False)
    assert "".join(one.text for one in spans) == whole
    assert sum(one.tokens for one in spans) == len(encoded.ids)
    assert sum(one.tokens for one in spans if one.trained) == sum(encoded.trained)
    assert all(a.trained != b.trained for a, b in pairwise(spans))


def test_what_would_steer_the_screen_is_escaped() -> None:
    assert verbatim("a\x1b[31m\u202eb\n  c") == "a\\x1b[31m\\u202eb\n  c"
    assert verbatim("👩\u200d🚀") == "👩\u200d🚀"


@pytest.mark.parametrize(
    ("base", "billions"),
    [
        ("mistralai/Mistral-7B-Instruct-v0.1", 7),
        ("package:smollm2_135m", 0.135),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1.5),
        ("meta-llama/Llama-2-7b-chat-hf", 7),
        ("microsoft/Phi-3-mini-4k-instruct", None),
        ("mistralai/Mixtral-8x7B-v0.1", None),
    ],
)
def test_a_models_size_is_told_by_its_name(base: str, billions: float | None) -> None:
    assert MadeFor(base=base, revision=None, context=1, template="").billions == billions


def test_a_template_of_another_day_is_refused() -> None:
    other = MadeFor(base="package:smollm2_135m", revision=None, context=64, template="0" * 64)
    with pytest.raises(UserError, match="prepare the set again"):
        other.encoder()


@pytest.fixture(scope="session")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Mistral v0.1's real vocabulary: sentencepiece, whose tokens by themselves lose a space."""
    import mistral_common
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("mistral")
    vocabulary = Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"
    shutil.copy(vocabulary, folder / "tokenizer.model")
    kind = {"tokenizer_class": "LlamaTokenizer", "legacy": True}
    specials = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**kind, **specials}))
    return Encoder(AutoTokenizer.from_pretrained(folder), DIALECTS["mistral_v1"])


def test_spans_of_a_sentencepiece_model(mistral: Encoder) -> None:
    said = ["Welcome back, naïve 🙂 one.", "Well, it's a lamp.", "A lamp?", "For ships."]
    talk = [
        Message(role=("user", "assistant")[n % 2], content=text, weight=int(n != 2))
        for n, text in enumerate(said)
    ]
    spans = span.of(talk, mistral)
    whole = mistral.tokenizer.decode(mistral.row(talk).ids, clean_up_tokenization_spaces=False)
    assert "".join(one.text for one in spans) == whole
    learned = "".join(one.text for one in spans if one.trained)
    read_only = "".join(one.text for one in spans if not one.trained)
    assert learned.count("[/INST]") == 1
    assert learned.count("</s>") == 2
    for n, text in enumerate(said):
        assert (text in learned, text in read_only) == (n != 2, n == 2)
