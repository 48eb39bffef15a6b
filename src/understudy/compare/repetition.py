"""How much texts repeat themselves and each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from understudy.compare.words import words


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of `n` tokens, in order; none where there are fewer."""
    assert n >= 1
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def distinct(texts: Iterable[str], n: int) -> float | None:
    """distinct-n of texts taken together: |different n-grams| / |n-grams|, 0 to 1.

    Li et al. 2016 (arXiv:1510.03055), with n-grams as divisor for every n, so that 1 always means
    that nothing was said twice. No n-gram runs from one text into the next. It falls as texts get
    longer: compare like with like. None where no text has `n` words.
    """
    found = [gram for text in texts for gram in ngrams(words(text), n)]
    return len(set(found)) / len(found) if found else None


def seq_rep(text: str, n: int = 4) -> float | None:
    """seq-rep-n of one text: 1 - |different n-grams| / |n-grams|, 0 to 1.

    Welleck et al. 2020 (arXiv:1908.04319). None where the text has fewer than `n` words.
    """
    found = ngrams(words(text), n)
    return 1 - len(set(found)) / len(found) if found else None


def mean_seq_rep(texts: Iterable[str], n: int = 4) -> float | None:
    """Mean of seq-rep-n over the texts that have one, each text counting once, as in its source."""
    values = [value for text in texts if (value := seq_rep(text, n)) is not None]
    return sum(values) / len(values) if values else None
