"""A sample from the model at each epoch's end, so that one can listen while it learns."""

from __future__ import annotations

from understudy.records.checkpoints import Progress
from understudy.records.rows import Message, Row
from understudy.train import rng
from understudy.train.journal import Doing
from understudy.train.training import Training

NOTHING = "no sample: no held-out row has something to answer that leaves room for one"


def speak(run: Training, at: Progress) -> None:
    """Greedy, from the first held-out opening, into the events; once an epoch."""
    most = run.config.eval.speak_tokens
    if not most or at.step in run.journal.spoken or not run.processes.first:
        return
    found = _first_opening(run)
    if found is None:
        run.journal.message(NOTHING, step=at.step)
        return
    run.journal.doing(Doing.speaking, at)
    prompt, ids, answer = found
    out = _continued(run, ids, min(most, run.config.model.context - len(ids)))
    said = run.encoder.text(out)
    run.journal.spoke(
        at.step,
        f"epoch {at.epoch} says: {said}",
        prompt=prompt[-1].content,
        sample=said,
        reference=answer.content,
        stopped=run.encoder.end_ids()[-1] in out,
    )


def _first_opening(run: Training) -> tuple[tuple[Message, ...], list[int], Message] | None:
    """The first held-out opening that leaves room for an answer: messages, ids, the answer."""
    for row in run.data.rows:
        opened = opening(row)
        if opened is None:
            continue
        ids = run.encoder.prompt(opened[0])
        if len(ids) < run.config.model.context:
            return opened[0], ids, opened[1]
    return None


def _continued(run: Training, ids: list[int], most: int) -> list[int]:
    """Up to `most` tokens, the likeliest one each time; whatever the base's own settings are."""
    import torch
    from transformers import GenerationConfig

    end_id = run.encoder.end_ids()[-1]
    greedy = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=most,
        eos_token_id=end_id,
        pad_token_id=end_id,
    )
    model = run.model
    was_training = model.training
    model.eval()
    try:
        with rng.given_back(), torch.no_grad(), run.precision.computing():
            out = model.generate(
                input_ids=torch.tensor([ids], device=model.device),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=model.device),
                generation_config=greedy,
            )
    finally:
        model.train(was_training)
    new: list[int] = out[0, len(ids) :].tolist()
    return new


def opening(row: Row) -> tuple[tuple[Message, ...], Message] | None:
    """What comes before a row's first assistant message, and that message; None without one."""
    for place, message in enumerate(row.messages):
        if message.role == "assistant" and place:
            return row.messages[:place], message
    return None
