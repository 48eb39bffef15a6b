"""A tokenizer for every dialect: the real ones where they can be had, stand-ins elsewhere.

Byte-level: SmolLM2's real tokenizer. Sentencepiece: the real vocabularies that ship with
mistral-common. A dialect whose own vocabulary is not at hand gets its control tokens added to both
of them as special tokens.
"""

from __future__ import annotations

import copy
import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chat_templates import TEMPLATES

from understudy.chat.dialect import DIALECTS
from understudy.chat.encoder import Encoder

V1 = "tokenizer.model.v1"
V3 = "mistral_instruct_tokenizer_240323.model.v3"
ENDS = {
    "base": ("<s>", "</s>"),
    "gemma": ("<bos>", "<eos>"),
    "llama2": ("<s>", "</s>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "phi": ("<s>", "<|endoftext|>"),
    "zephyr": ("<s>", "</s>"),
}
"""Start and end token of the stand-ins."""

CASES = [
    *((name, base) for name in sorted(TEMPLATES) for base in ("bytes", "pieces", "hub")),
    ("mistral_v1", V1),
    ("mistral_v3", V3),
]
"""Every dialect with every kind of tokenizer it is tried on."""


@cache
def sentencepiece(file: str, *, scheme: str = "always") -> Any:
    """A real vocabulary of mistral-common as a fast tokenizer.

    The merges are put in the order of sentencepiece's own scores, as in the models'
    `tokenizer.json`: transformers goes by the order of the pieces where it has only
    `tokenizer.model`, and then reads runs of spaces differently.

    Args:
        file: Its name in the package.
        scheme: Where a text gets its space: `always`, the `first` text of a string only, or as
            the hub's files have it (`hub`), by a normalizer.
    """
    import mistral_common
    from tokenizers import Tokenizer, normalizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    vocabulary = Path(mistral_common.__file__).parent / "data" / file
    specials = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": scheme != "first"}
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(vocabulary, folder / "tokenizer.model")
        (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **specials}))
        made = AutoTokenizer.from_pretrained(folder)
    record = json.loads(made.backend_tokenizer.to_str())
    record["model"]["merges"] = merges(vocabulary)
    backend = Tokenizer.from_str(json.dumps(record))
    if scheme == "hub":
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        backend.normalizer = normalizers.Sequence(steps)
        backend.pre_tokenizer = None
    return PreTrainedTokenizerFast(tokenizer_object=backend, **specials)


def merges(vocabulary: Path) -> list[list[str]]:
    """The merges of a sentencepiece vocabulary, best score first."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(vocabulary))
    pieces = {model.id_to_piece(i): i for i in range(model.vocab_size())}
    found = []
    for piece, number in pieces.items():
        if model.is_control(number) or model.is_byte(number):
            continue
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [pair for pair in halves if pair[0] in pieces and pair[1] in pieces]
        known.sort(key=lambda pair: (pieces[pair[0]], pieces[pair[1]]))
        found += [(model.get_score(number), list(pair)) for pair in known]
    found.sort(key=lambda entry: -entry[0])
    return [pair for _, pair in found]


@cache
def bytelevel() -> Any:
    """SmolLM2's real tokenizer."""
    from transformers import AutoTokenizer

    from understudy.models import embedded

    return AutoTokenizer.from_pretrained(embedded.folder("smollm2_135m"))


def stand_in(name: str, tokenizer: Any, **flags: bool) -> Any:
    """A copy of the tokenizer that knows the dialect's control tokens and template."""
    from transformers import AddedToken

    tokenizer = copy.deepcopy(tokenizer)
    bos, eos = ENDS.get(name, (None, None))
    controls = [token for token in DIALECTS[name].controls if not token.startswith("{")]
    added = [AddedToken(token, special=True, normalized=False, **flags) for token in controls]
    tokenizer.add_special_tokens({"additional_special_tokens": added})
    if bos:
        tokenizer.add_special_tokens({"bos_token": bos, "eos_token": eos})
    tokenizer.chat_template = TEMPLATES.get(name)
    return tokenizer


@cache
def encoder_for(name: str, base: str) -> Encoder:
    """The dialect on one of its tokenizers."""
    if base in (V1, V3):
        return Encoder(sentencepiece(base), DIALECTS[name])
    if base == "bytes":
        return Encoder(stand_in(name, bytelevel()), DIALECTS[name])
    scheme = "hub" if base == "hub" else "always"
    return Encoder(stand_in(name, sentencepiece(V1, scheme=scheme)), DIALECTS[name])
