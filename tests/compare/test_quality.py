from __future__ import annotations

import math

import pytest

from understudy.compare import headline, quality
from understudy.compare.headline import Verdict
from understudy.compare.quality import HeldOut, Score


def score(checkpoint: str, loss: float, tokens: int, **changes: object) -> Score:
    values = {
        "checkpoint": checkpoint,
        "step": 0 if checkpoint == "base" else 10 * int(checkpoint[-1]),
        "item": "ep1",
        "speaker": "Mara",
        "loss": loss,
        "correct": tokens / 2,
        "tokens": tokens,
        **changes,
    }
    return Score(**values)  # type: ignore[arg-type]


def held(*scores: Score) -> HeldOut:
    found = quality.held_out(scores)
    assert found is not None
    return found


def test_sums_are_pooled_over_tokens_not_averaged() -> None:
    found = held(
        score("base", 300.0, 100, item="long"),
        score("base", 10.0, 10, item="short"),
    )
    assert found.base is not None
    assert found.base.loss == pytest.approx(310 / 110)  # the mean of means would be 2.0
    assert found.base.accuracy == pytest.approx(0.5)
    assert found.base.perplexity == pytest.approx(math.exp(310 / 110))
    assert found.by_item["short"]["base"].loss == pytest.approx(1.0)


def test_the_best_is_the_lowest_and_the_last_is_the_last() -> None:
    found = held(score("base", 30, 10), score("epoch2", 24, 10), score("epoch1", 20, 10))
    assert list(found.checkpoints) == ["base", "epoch1", "epoch2"]
    assert (found.best, found.last) == ("epoch1", "epoch2")
    assert found.change == pytest.approx(-1 / 3)
    assert any("past epoch1 did not help" in line for line in headline.remarks(found))


def test_a_checkpoint_scored_on_other_tokens_is_not_compared() -> None:
    found = held(score("base", 30, 10), score("epoch1", 10, 9), score("epoch2", 29, 10))
    assert found.incomparable == ("epoch1",)
    assert found.best == "epoch2"


def test_the_headline_says_better_worse_and_same() -> None:
    base = score("base", 261, 100)
    better = held(base, score("epoch1", 202, 100))
    worse = held(base, score("epoch1", 290, 100))
    same = held(base, score("epoch1", 260, 100))
    plain = headline.headline(better).replace("\N{NO-BREAK SPACE}", " ").replace("\u202f", " ")
    assert plain == "Held-out loss 2.61 → 2.02: 22.6 % lower than the base model."
    assert "higher than the base model" in headline.headline(worse)
    assert "Training made the model worse" in headline.remarks(worse)[0]
    assert "no real difference" in headline.headline(same)
    verdicts = [headline.verdict(h) for h in (better, worse, same, None)]
    assert verdicts == [Verdict.better, Verdict.worse, Verdict.same, Verdict.unknown]


def test_without_a_pair_there_is_no_answer() -> None:
    assert "no figure" in headline.headline(None)
    assert "no comparison yet" in headline.headline(held(score("base", 26, 10)))
    assert "no comparison yet" in headline.headline(held(score("epoch1", 26, 10)))


def test_metrics_stand_in_for_missing_scores() -> None:
    lines = [
        {"step": 0, "full_valid_loss": 2.6},
        {"step": 10, "train_loss": 9.9},
        {"step": 20, "full_valid_loss": 2.0, "full_valid_mean_token_accuracy": 0.5},
        {"step": 30, "full_valid_loss": 2.1},
    ]
    found = quality.from_metrics(lines)
    assert found is not None
    assert (found.best, found.last) == ("step 20", "step 30")
    assert quality.from_metrics(lines[1:2]) is None


def test_a_huge_loss_does_not_overflow() -> None:
    assert math.isfinite(quality.Quality(loss=1e9).perplexity)
