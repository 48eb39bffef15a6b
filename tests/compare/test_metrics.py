from __future__ import annotations

import pytest
import sacrebleu

from understudy.compare import length, reference, repetition
from understudy.compare.words import words


def test_words_fold_case_keep_apostrophes_and_drop_punctuation() -> None:
    text = "Don\u2019t — stop, DON'T! Ça va 2x?"
    assert words(text) == ["don\u2019t", "stop", "don't", "ça", "va", "2x"]


def test_distinct_counts_across_texts_but_makes_no_ngram_across_them() -> None:
    # 6 words, 4 different; pairs: (a b) (b a) | (b c) (c d): 4 of 4 different.
    assert repetition.distinct(["a b a", "b c d"], 1) == pytest.approx(4 / 6)
    assert repetition.distinct(["a b a", "b c d"], 2) == 1.0
    assert repetition.distinct(["a b", "a b"], 2) == 0.5
    assert repetition.distinct(["a", ""], 2) is None


def test_seq_rep_4_known_answers() -> None:
    assert repetition.seq_rep("one two three four five six") == 0
    # Eight times the same word: five 4-grams, one different.
    assert repetition.seq_rep("la " * 8) == pytest.approx(1 - 1 / 5)
    # abcdabcd: abcd bcda cdab dabc abcd, one of five seen before.
    assert repetition.seq_rep("a b c d a b c d") == pytest.approx(1 / 5)
    assert repetition.seq_rep("too short here") is None


def test_mean_seq_rep_leaves_out_texts_without_a_four_gram() -> None:
    assert repetition.mean_seq_rep(["la " * 8, "one two three four", "no"]) == pytest.approx(0.4)
    assert repetition.mean_seq_rep(["no"]) is None


def test_bleu_and_chrf_equal_sacrebleu() -> None:
    texts = ["The lamp turned all night.", "I dry them on paper, mostly."]
    answers = ["The lamp turned, and turned, all night.", "Now I dry them on baking paper."]
    found = reference.nearness(texts, answers)
    assert found is not None
    expected_bleu = sacrebleu.corpus_bleu(texts, [answers], tokenize="13a").score
    assert found.bleu == pytest.approx(expected_bleu)
    assert found.chrf == pytest.approx(sacrebleu.corpus_chrf(texts, [answers]).score)
    assert 0 < found.bleu < 100


def test_bleu_and_chrf_of_the_reference_itself_are_100_and_of_nothing_0() -> None:
    text = "The lamp turned on a bath of mercury."
    same, nothing = reference.nearness([text], [text]), reference.nearness([""], [text])
    assert same is not None
    assert same.bleu == pytest.approx(100)
    assert same.chrf == pytest.approx(100)
    assert nothing is not None
    assert nothing.bleu == nothing.chrf == 0
    assert reference.nearness([], []) is None


def test_length_and_ending() -> None:
    assert length.mean_words(["one two", "three  four five\nsix"]) == 3
    assert length.ended_share(["stop", "length", "stop", "stop"]) == 0.75
    assert length.mean_words([]) is None
    assert length.ended_share([]) is None
