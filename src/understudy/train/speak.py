"""A sample from the model at each epoch's end, so that one can listen while it learns."""

from __future__ import annotations

from understudy.records.checkpoints import Progress
from understudy.records.rows import Message, Row
from understudy.train import rng
from understudy.train.journal import Doing
from understudy.train.training import Training


def speak(run: Training, at: Progress) -> None:
    """Greedy, from the first held-out opening, into the events; once an epoch."""
    import torch

    most = run.config.eval.speak_tokens
    opened = next((found for row in run.data.rows if (found := opening(row))), None)
    if not most or opened is None or at.step in run.journal.spoken or not run.processes.first:
        return
    run.journal.doing(Doing.speaking, at)
    prompt, answer = opened
    ids = run.encoder.prompt(prompt)[: run.config.model.context - 1]
    end_id = run.encoder.end_ids()[-1]
    was_training = run.model.training
    run.model.eval()
    with rng.given_back(), torch.no_grad(), run.precision.computing():
        out = run.model.generate(
            input_ids=torch.tensor([ids], device=run.model.device),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=run.model.device),
            do_sample=False,
            num_beams=1,
            max_new_tokens=min(most, run.config.model.context - len(ids)),
            eos_token_id=end_id,
            pad_token_id=end_id,
        )[0, len(ids) :].tolist()
    run.model.train(was_training)
    said = run.encoder.text(out)
    run.journal.spoke(
        at.step,
        f"epoch {at.epoch} says: {said}",
        prompt=prompt[-1].content,
        sample=said,
        reference=answer.content,
        stopped=end_id in out,
    )


def opening(row: Row) -> tuple[tuple[Message, ...], Message] | None:
    """What comes before a row's first assistant message, and that message; None without one."""
    for place, message in enumerate(row.messages):
        if message.role == "assistant" and place:
            return row.messages[:place], message
    return None
