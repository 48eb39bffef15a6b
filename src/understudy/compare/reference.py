"""How near texts come to what was really said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BLEU_TOKENIZER = "13a"


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearness:
    """Overlap of texts with one reference each, over the whole group, 0 to 100."""

    texts: int
    """How many texts had a reference."""
    bleu: float
    """BLEU-4, tokenizer 13a, case kept (Papineni et al. 2002; Post 2018, arXiv:1804.08771)."""
    chrf: float
    """chrF2: F-score of character 1- to 6-grams, recall counting double (Popović 2015)."""


def nearness(texts: Sequence[str], references: Sequence[str]) -> Nearness | None:
    """BLEU and chrF of `texts` against `references`, computed by sacrebleu; None without texts."""
    assert len(texts) == len(references)
    if not texts:
        return None
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    answers = [list(references)]
    return Nearness(
        texts=len(texts),
        bleu=float(BLEU(tokenize=BLEU_TOKENIZER).corpus_score(list(texts), answers).score),
        chrf=float(CHRF().corpus_score(list(texts), answers).score),
    )
