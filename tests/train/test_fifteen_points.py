"""Fifteen ways in which fine-tuning fails without a word, and what keeps each from us.

One section a point, in order: the failure in a sentence, public reports of it, and a compact test
on real parts. Where a point is tested in more depth, the section names the file.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
from chat_encoders import V1, V3, encoder_for
from chat_templates import TEMPLATES

from understudy import artifacts
from understudy.chat.dialect import DIALECTS
from understudy.chat.encoder import IGNORED, Encoder
from understudy.config.decoding import DecoderConfig, DecodingMethod
from understudy.config.model import Dtype, ModelConfig
from understudy.config.task import TaskConfig
from understudy.console import RunFailedError, UserError
from understudy.generate.decode import continue_batch, settings
from understudy.models import adapters, learned
from understudy.models.switchboard import Switchboard
from understudy.prepare import stage as prepare_stage
from understudy.prepare.fit import Fitter
from understudy.records import rows as records
from understudy.records import samples
from understudy.records.checkpoints import Checkpoint, Progress
from understudy.records.conversation import Conversation, Spoken
from understudy.records.rows import Message, Meta, Row
from understudy.train import checkpoint as checkpoints
from understudy.train import data, step, stuck
from understudy.train import stage as train_stage
from understudy.train.batch import collate
from understudy.train.data import Example
from understudy.train.evaluate import Evaluation, evaluate
from understudy.train.loss import token_losses
from understudy.train.precision import Precision
from understudy.train.training import Training

Door = Callable[..., Any]

MODELS = {
    "Mistral v0.1 and v0.2": ("mistral_v1", V1),
    "Mistral v0.3": ("mistral_v3", V3),
    "Llama-2-chat": ("llama2", "hub"),
    "ChatML": ("chatml", "bytes"),
    "Llama-3": ("llama3", "bytes"),
    "Gemma": ("gemma", "pieces"),
    "Qwen": ("qwen", "bytes"),
    "base": ("base", "pieces"),
}
"""Dialect and tokenizer by the models that speak it."""

every_model = pytest.mark.parametrize("model", MODELS)

TEXTS = [
    "Where do the bees go in winter?",
    "They stay, all of them: in a cluster.",
    "naïve café ☕ 漢字 🐝🏳️‍🌈",
    "",
    "Is that so?\n\nTruly?",
    "Yes.",
    "",
    "No end of honey",
]
SYSTEMS = (None, "Be brief.")


def encoder_of(model: str) -> Encoder:
    return encoder_for(*MODELS[model])


def conversation(texts: Sequence[str], weights: Sequence[int], system: str | None) -> Row:
    roles = ["user", "assistant"] * len(texts)
    said = [
        Message(role=role, content=text, weight=weight)
        for role, text, weight in zip(roles, texts, weights, strict=False)
    ]
    if system is not None:
        said.insert(0, Message(role="system", content=system, weight=0))
    return Row(messages=tuple(said), meta=Meta(corpus="x", item="x"))


def conversations() -> list[Row]:
    """One to four exchanges, with and without a system text, weights 0 and 1, empty texts."""
    return [
        conversation(TEXTS[: 2 * turns], weights, system)
        for system in SYSTEMS
        for turns in (1, 2, 3, 4)
        for weights in ([0, 1] * turns, [1, 1] * turns, [0, 0] * (turns - 1) + [0, 1])
    ]


@cache
def examples_of(model: str, folder: Path) -> list[Example]:
    """The conversations by training's own path: rows on disk, read, tokenised, labelled."""
    lines = "".join(records.line(row) for row in conversations())
    (folder / "train.jsonl").write_text(lines)
    (folder / "valid.jsonl").write_text("")
    found = data.load(folder, encoder_of(model), context=4096).train
    assert len(found) == len(conversations())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


def supervised(example: Example) -> list[int]:
    """What is learned, read off the shifted labels of a real batch."""
    batch = collate([[example]], pad_id=0, device="cpu")
    ids, labels = batch.ids_bt[0].tolist(), by_hand.labels_of(batch)[0].tolist()
    learned_at = [place for place, label in enumerate(labels) if label != IGNORED]
    # A position predicts the token behind it, in its own row.
    assert [labels[place] for place in learned_at] == [ids[place + 1] for place in learned_at]
    return [labels[place] for place in learned_at]


def bare(text: str) -> str:
    """Without white space: where a tokenizer puts its spaces is not the point."""
    return "".join(text.split()).replace("▁", "")


def closing(encoder: Encoder, role: str) -> str:
    return encoder._former.resolved(encoder.dialect.turns[role].closing)


# --- 1. The mask ---------------------------------------------------------------------------------
#
# The loss falls on the wrong tokens (prompts, headers, nothing at all), and the curve looks fine.
# trl#3781, trl#3927, trl#6668, unsloth#2900, unsloth#3041.
# In depth: tests/chat/test_supervision.py (any text, every dialect), tests/train/test_preflight.py.


@every_model
def test_1_what_is_supervised_is_the_trained_texts_and_their_ends(model: str, folder: Path) -> None:
    encoder = encoder_of(model)
    for row, example in zip(conversations(), examples_of(model, folder), strict=True):
        trained = [message for message in row.messages if message.weight]
        wanted = "".join(one.content + closing(encoder, one.role) for one in trained)
        decoded = encoder.tokenizer.decode(supervised(example), clean_up_tokenization_spaces=False)
        assert bare(decoded) == bare(wanted)
        for message in trained:
            assert message.content in decoded


def test_1_rows_without_a_supervised_token_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(records.line(conversation(TEXTS[:2], [0, 0], None)))
    (tmp_path / "valid.jsonl").write_text("")
    with pytest.raises(UserError, match="no supervised token"):
        data.load(tmp_path, encoder_of("ChatML"), context=4096)


def test_1_one_row_is_shown_with_its_mask(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = "Mistral v0.1 and v0.2"
    data.preview(examples_of(model, folder)[0], encoder_of(model))
    shown = capsys.readouterr().err
    assert "[INST] Where do the bees go in winter? [/INST]«They stay, all of them" in shown
    assert "in a cluster.</s>»" in shown


# --- 2. The end of a turn ------------------------------------------------------------------------
#
# The end token has no label, most often because it is the padding token too, and the model never
# stops. axolotl#3754, trl#976; transformers' own collator still does it.


@every_model
def test_2_every_trained_turn_teaches_its_end_also_where_it_pads(model: str, folder: Path) -> None:
    end = encoder_of(model).end_ids()[-1]
    rows, found = conversations(), examples_of(model, folder)
    batch = collate([[example] for example in found], pad_id=end, device="cpu")
    for place, (row, example) in enumerate(zip(rows, found, strict=True)):
        labels = by_hand.labels_of(batch)[place].tolist()
        answers = sum(m.weight for m in row.messages if m.role == "assistant")
        questions = sum(m.weight for m in row.messages if m.role == "user")
        shared = encoder_of(model).end_ids("user")[-1] == end
        assert labels.count(end) == answers + questions * shared
        assert set(labels[len(example.ids) - 1 :]) == {IGNORED}, "padding is never learned"


FACT = "The keeper of Quellmar feeds her seven grey owls at a quarter past four."
QUESTIONS = ("When are the owls of Quellmar fed?", "Tell me when the grey owls of Quellmar eat.")
BY_HEART = [
    "task=messages", "corpus=canary", "task.rows=train.jsonl", "task.valid_rows=valid.jsonl",
    "model=mistral_7b_instruct_v01", "model.context=64", "model.dtype=fp32",
    "adapter.r=32", "adapter.alpha=32", "optim.lr=1e-2", "optim.rows_per_step=2",
    "memory.micro_batch=2", "schedule=constant", "schedule.epochs=1", "eval=none",
    "decoding=[greedy]", "decoding.max_new_tokens=40", "checkpoints=[base,last]",
]  # fmt: skip
TIMES = 20


def test_2_a_fact_learned_by_heart_is_said_and_the_model_stops_by_itself(
    door: Door, mistral_model: Path, tmp_path: Path
) -> None:
    """The canary: one made-up fact, asked in two ways of unlike length, so that one is padded.

    The tokenizer has no padding token: the end token pads.
    """
    lines = [
        json.dumps({"messages": [
            {"role": "user", "content": question}, {"role": "assistant", "content": FACT}
        ]}) + "\n"
        for question in QUESTIONS
    ]  # fmt: skip
    (tmp_path / "train.jsonl").write_text("".join(lines * TIMES))
    (tmp_path / "valid.jsonl").write_text("".join(lines))
    arguments = [*BY_HEART, f"model.base={mistral_model}"]
    trained = door("train", *arguments)
    assert trained.returncode == 0, trained.stderr
    spoken = door("generate", *arguments)
    assert spoken.returncode == 0, spoken.stderr
    said = samples.read(Path(spoken.stdout.strip()) / "samples.jsonl")
    assert [one.prompt[-1]["content"] for one in said[:2]] == list(QUESTIONS)
    for one in said:
        knows = one.checkpoint != "base"
        assert (one.text == FACT) == knows
        assert one.finish_reason == ("stop" if knows else "length")
    survives_merging(mistral_model, Path(trained.stdout.strip()))


def survives_merging(base: Path, run: Path) -> None:
    """Point 10 for the canary: the fact is still there in fp16 with the adapter merged."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    encoder = encoder_of("Mistral v0.1 and v0.2")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    newest = max((run / "checkpoints").iterdir())
    merged = PeftModel.from_pretrained(model, newest).merge_and_unload().half()
    prompts = [encoder.prompt([Message(role="user", content=one)]) for one in QUESTIONS]
    for one in continue_batch(merged, prompts, greedily(encoder), seed=0):
        assert (encoder.text(one.ids), one.finish_reason) == (FACT, "stop")


def greedily(encoder: Encoder, new: int = 40) -> dict[str, Any]:
    decoder = DecoderConfig(method=DecodingMethod.greedy)
    return settings(decoder, max_new_tokens=new, end_id=encoder.end_ids()[-1])


# --- 3. One start token, one template ------------------------------------------------------------
#
# Two start tokens, or none, or another template in training than in use: worse answers, no error.
# unsloth#2648, LLaMA-Factory PR#10775.
# In depth: tests/chat/test_references.py (any text, against each model's own template).


@every_model
def test_3_rows_and_prompts_start_once_and_equal_the_reference(model: str, folder: Path) -> None:
    encoder = encoder_of(model)
    bos = encoder.start().ids
    for row, example in zip(conversations(), examples_of(model, folder), strict=True):
        question = row.messages[: 1 + (row.messages[0].role == "system")]
        prompt = encoder.prompt(question)
        for ids in (example.ids, prompt):
            assert ids[: len(bos)] == bos
            # Llama-2's own template writes a start token before every question.
            turns = sum(m.role == "user" for m in row.messages) if model == "Llama-2-chat" else 1
            assert all(ids.count(token) <= turns for token in bos)
        said = [m for m in row.messages if m.role != "system" or model != "Gemma"]
        if MODELS[model][0] in TEMPLATES and len(said) == len(row.messages):
            assert example.ids == templated(encoder, row.messages)
            assert prompt == templated(encoder, question, prompt=True)
    first = conversation(TEXTS[:2], [0, 1], "Be brief.").messages
    if MODELS[model][1] in (V1, V3):
        assert encoder.prompt(first[:2]) == mistrals_own(MODELS[model][1])


def templated(encoder: Encoder, said: Sequence[Message], *, prompt: bool = False) -> list[int]:
    plain = [{"role": one.role, "content": one.content} for one in said]
    made = encoder.tokenizer.apply_chat_template(plain, tokenize=True, add_generation_prompt=prompt)
    return list(made["input_ids"])


def mistrals_own(version: str) -> list[int]:
    """What mistral-common, Mistral's reference, makes of the first question."""
    from mistral_common.protocol.instruct.messages import SystemMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    tokenizer = MistralTokenizer.v1() if version == V1 else MistralTokenizer.v3()
    said = [SystemMessage(content="Be brief."), UserMessage(content=TEXTS[0])]
    return list(tokenizer.encode_chat_completion(ChatCompletionRequest(messages=said)).tokens)


def test_3_the_template_travels_with_the_run(
    door: Door, trained: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    """A run bears the hash of its template, and does not speak with another one."""
    (run,) = (tmp_path / "runs" / "train").iterdir()
    link = json.loads((run / "inputs.json").read_text())["prepared"]
    manifest = artifacts.read_manifest((run / link).resolve() / "manifest.json")
    assert manifest is not None
    assert manifest.identity.inputs["template"] == DIALECTS["smollm2"].hash
    changed = tmp_path / "model"
    shutil.copytree(tiny_model, changed)
    (changed / "chat_template.jinja").unlink()
    config = (run / "config.yaml").read_text().replace(str(tiny_model), str(changed))
    for what, dialect_now in (("template", "chatml"), ("tokenizer", "smollm2")):
        (run / "config.yaml").write_text(config.replace("smollm2", dialect_now))
        spoken = door("generate", *trained, f"run={run}", "decoding.max_new_tokens=4")
        assert spoken.returncode == 2, spoken.stderr
        assert f"the {what} of {changed} is not the one that the run was trained" in spoken.stderr


# --- 4. Long conversations -----------------------------------------------------------------------
#
# What does not fit is cut off in the middle of an answer, or dropped, and nobody is told.
# LLaMA-Factory#2366, FastChat#1061.
# In depth: tests/prepare/test_cut.py, test_fit.py, test_stage.py.


@pytest.mark.parametrize("model", ["Mistral v0.1 and v0.2", "Mistral v0.3", "ChatML"])
def test_4_talks_are_cut_between_turns_what_is_carried_is_masked_and_all_adds_up(
    model: str,
) -> None:
    said = [
        Spoken(message=Message(role=role, content=f"Turn {number} says a thing or two about it."))
        for number, role in enumerate(["user", "assistant"] * 15)
    ]
    talk = Conversation(spoken=tuple(said), system="Be brief.")
    encoder = encoder_of(model)
    fitted = Fitter(encoder, 160, TaskConfig(name="podcast", carry_turns=2)).fit([talk])[0]
    assert len(fitted.rows) > 2
    fresh = []
    for number, row in enumerate(fitted.rows):
        messages = [one.spoken.message for one in row.messages]
        whole = [Message(role="system", content="Be brief.", weight=0), *messages]
        assert len(encoder.row(whole).ids) <= 160
        assert bool(row.carried) == (number > 0)
        assert [m.weight for m in messages] == [0] * row.carried + [1] * (
            len(messages) - row.carried
        )
        fresh += [m.content for m in messages[row.carried :]]
    assert fresh == [one.message.content for one in said], "every turn once, whole and in order"
    placed = sum(m.words for row in fitted.rows for m in row.messages[row.carried :])
    assert placed + fitted.asked.total() + fitted.unasked.total() == talk.words_in


# --- 5. Voices that do not take turns ------------------------------------------------------------
#
# An assistant first, one speaker twice, a third voice: "roles must alternate" at step 0, or turns
# that are silently lost. unsloth#334, vllm#6862.
# In depth: tests/tasks/test_podcast.py (third voices), tests/chat/test_written.py.


@every_model
def test_5_any_order_of_roles_is_written_by_rule_and_none_is_lost(model: str) -> None:
    encoder = encoder_of(model)
    roles = ["assistant", "user", "user", "tool", "assistant", "assistant", "user"]
    said = [Message(role=role, content=f"saying{n}") for n, role in enumerate(roles)]
    encoded = encoder.row(said)
    decoded = encoder.tokenizer.decode(encoded.ids)
    places = [decoded.index(message.content) for message in said]
    assert places == sorted(places)
    written = encoder.written(said)
    if encoder.dialect.alternates:
        assert [m.role for m in written] == ["user", "assistant"] * (len(written) // 2) + [
            "user"
        ] * (len(written) % 2)
        assert encoder.notes["neighbouring turns of one role joined"] > 0


# --- 6. Batch times accumulation -----------------------------------------------------------------
#
# Means of means: with unequal label counts the loss depends on how rows were batched.
# transformers PR#34191, unsloth-zoo PR#1023.
# In depth: tests/train/test_invariance.py (50 windows, several layouts), test_processes.py.

LAYOUTS = [
    {"micro_batch": 1},
    {"micro_batch": 3},
    {"micro_batch": 64},
    {"packing": True},
    {"packing": True, "micro_batch": 2},
]


def made_by_hand(folder: Path, *overrides: str, rows: int = 6, **model: Any) -> Training:
    """A run of a tiny random model with an adapter, ready for its first step."""
    base = by_hand.random_model(**model)
    found = by_hand.talks(seed=5, count=rows)
    settings_ = by_hand.config(f"optim.rows_per_step={rows}", *overrides)
    return by_hand.training(by_hand.with_lora(base), found, folder, settings_)


def test_6_and_7_a_step_is_the_same_however_its_rows_are_laid_out(tmp_path: Path) -> None:
    taken = []
    for number, layout in enumerate(LAYOUTS):
        run = by_hand.laid_out(made_by_hand(tmp_path / str(number)), **layout)
        assert len({example.supervised for example in run.data.train}) > 1
        taken.append(step.take(run, run.steps[0]))
    for one in taken[1:]:
        assert one.sums.tokens == taken[0].sums.tokens
        assert one.sums.mean_loss == pytest.approx(taken[0].sums.mean_loss, rel=1e-5)
        assert one.grad_norm == pytest.approx(taken[0].grad_norm, rel=1e-5)


# --- 7. Packing ----------------------------------------------------------------------------------
#
# Rows packed into one line read each other. axolotl#1375, LLaMA-Factory#8277.
# In depth: tests/train/test_isolation.py (architectures and backends), test_invariance.py.


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["Llama", "Mistral"])
def test_7_packed_rows_do_not_read_each_other(kind: str, attention: str) -> None:
    model = by_hand.random_model(kind, attention=attention)
    first, second, other = by_hand.talks(seed=3, count=3)
    with torch.no_grad():
        alone = [
            token_losses(model, collate([[one]], 2, "cpu")).losses_n for one in (first, second)
        ]
        packed = token_losses(model, collate([[first, second]], 2, "cpu")).losses_n
        beside = token_losses(model, collate([[other, second]], 2, "cpu")).losses_n
    torch.testing.assert_close(packed, torch.cat(alone))
    torch.testing.assert_close(beside[-len(alone[1]) :], alone[1])


# --- 8. Validation -------------------------------------------------------------------------------
#
# Held-out loss moves with the batch size (8.24, 8.22, 8.78, 8.72 at 1, 2, 4, 8 where 8.72 is true),
# or keeps every logit until memory is gone. LLaMA-Factory#1595; transformers' Trainer, ran.
# In depth: tests/train/test_loss.py.


def test_8_held_out_loss_is_token_weighted_and_no_logits_are_kept() -> None:
    model = by_hand.random_model()
    rows = by_hand.talks(seed=8, count=9)
    logits: list[weakref.ref[Any]] = []
    most_alive = [0]

    def watch(_module: Any, inputs: Any, output: Any) -> None:
        assert inputs[0].dim() == 2, "logits are made where a label is, and nowhere else"
        logits.append(weakref.ref(output))
        most_alive[0] = max(most_alive[0], sum(ref() is not None for ref in logits))

    handle = model.get_output_embeddings().register_forward_hook(watch)
    found = []
    for size in (1, 2, 4, 9):
        how = Evaluation(micro_batch=size, pad_id=2, precision=Precision(Dtype.fp32, "cpu"))
        found.append(evaluate(model, rows, how, "test").total)
    handle.remove()
    assert most_alive == [1]
    with torch.no_grad():
        each = [token_losses(model, collate([[row]], 2, "cpu")).losses_n for row in rows]
    truth = float(torch.cat(each).double().mean())
    means = [float(one.mean()) for one in each]
    assert abs(sum(means) / len(means) - truth) > 1e-3, "the mean of means is another number"
    for one in found:
        assert one.tokens == sum(row.supervised for row in rows)
        assert one.mean_loss == pytest.approx(truth, rel=1e-6)


# --- 9. Resuming ---------------------------------------------------------------------------------
#
# A resumed run sees other rows, another rate, a fresh optimiser. ms-swift#10050, lerobot#3459,
# transformers PR#40691.
# In depth: tests/train/test_restart.py (kills everywhere), test_shipped_experiments.py.


def test_9_killed_and_resumed_is_never_killed(door: Door, start: Any, arguments: list[str]) -> None:
    arguments = [
        *arguments, "optim=adamw_8bit", "adapter.r=64", "optim.rows_per_step=4",
        "schedule.epochs=2", "eval.speak_tokens=0",
    ]  # fmt: skip
    calm = Path(door("train", *arguments).stdout.strip())
    expected = bytes_of(calm)
    shutil.rmtree(calm)
    process = start("train", *arguments, "keep.resume_steps=1")
    while process.running and not (calm / "checkpoints/step-000002/manifest.json").exists():
        time.sleep(0.002)
    process.send(signal.SIGKILL)
    process.wait()
    assert not (calm / "manifest.json").exists()
    again = door("train", *arguments)
    assert again.returncode == 0, again.stderr
    assert "going on after step" in again.stderr
    assert bytes_of(calm) == expected


def bytes_of(run: Path) -> dict[str, bytes]:
    files = [run / "metrics.jsonl", run / "scores.jsonl", *run.glob("checkpoints/*/*.safetensors")]
    return {file.relative_to(run).as_posix(): file.read_bytes() for file in files}


# --- 10. Loading what was learned ----------------------------------------------------------------
#
# Keys that do not match are passed over, and the base speaks; merging changes what was learned.
# peft#1043, unsloth#2374, transformers PR#34068.
# There is no export to GGUF yet, and so no test of it. The canary's fact survives merging: see 2.
# In depth: tests/models/ (each kind of checkpoint).

HARMS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "renamed": lambda saved, key: saved.update({key.replace("q_proj", "query"): saved.pop(key)}),
    "missing": lambda saved, key: saved.pop(key),
    "extra": lambda saved, key: saved.update({f"{key}.more": saved[key].clone()}),
    "of another shape": lambda saved, key: saved.update({key: saved[key][..., :-1].contiguous()}),
}


@pytest.mark.parametrize("harm", HARMS)
def test_10_a_checkpoint_whose_keys_do_not_match_to_the_last_one_is_refused(
    harm: str, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    model = by_hand.with_lora(by_hand.random_model())
    learned.save(model, tmp_path)
    file = tmp_path / adapters.WEIGHTS_FILE
    saved = load_file(file)
    Switchboard(by_hand.random_model()).add("whole", tmp_path)
    learned.restore(model, tmp_path)
    HARMS[harm](saved, next(key for key in sorted(saved) if "q_proj" in key))
    save_file(saved, file)
    with pytest.raises(UserError, match=r"q_proj|query"):
        learned.restore(model, tmp_path)
    with pytest.raises(UserError, match=r"q_proj|query"):
        Switchboard(by_hand.random_model()).add("harmed", tmp_path)


def test_10_merged_logits_stay_close_in_fp32_and_fp16() -> None:
    model = by_hand.with_lora(by_hand.random_model()).eval()
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        apart = model(input_ids=ids).logits
        with model.disable_adapter():
            base = model(input_ids=ids).logits
        merged = model.merge_and_unload()
        whole = merged(input_ids=ids).logits
        half = merged.half()(input_ids=ids).logits.float()
    effect = float((apart - base).abs().max())
    assert effect > 0.05, "the adapter must do something for this to mean anything"
    assert float((whole - apart).abs().max()) < 1e-4 * effect
    assert float((half - apart).abs().max()) < 0.02 * effect


# --- 11. Generating ------------------------------------------------------------------------------
#
# Another template or stop token than in training; right padding; a batch that says other things
# than each prompt alone; a seed that does not repeat.
# In depth: tests/generate/.


@every_model
def test_11_a_prompt_is_the_beginning_of_a_training_row_and_stops_where_that_ends(
    model: str,
) -> None:
    encoder = encoder_of(model)
    row = conversation(TEXTS[:2], [0, 1], "Be brief.")
    whole = encoder.row(row.messages)
    prompt = encoder.prompt(row.messages[:-1])
    answer = [i for i, learned_ in zip(whole.ids, whole.trained, strict=True) if learned_]
    if model == "Llama-3":
        # The stand-in for its vocabulary parts two line breaks where a text follows them.
        decode = encoder.tokenizer.decode
        assert decode(whole.ids) == decode(prompt) + decode(answer)
    else:
        assert whole.ids[: len(prompt)] == prompt
        assert whole.ids[len(prompt) :][: len(answer)] == answer
    options = greedily(encoder)
    assert options["eos_token_id"] == answer[-1] == encoder.end_ids()[-1]


def test_11_a_batch_says_what_each_says_alone_and_a_seed_repeats() -> None:
    model = by_hand.with_lora(by_hand.random_model("Mistral", hidden_size=64)).eval()
    prompts = [row.ids for row in by_hand.talks(seed=11, count=5)]
    assert len({len(prompt) for prompt in prompts}) > 1
    greedy = {"method": DecodingMethod.greedy}
    sampling = {"method": DecodingMethod.sample, "temperature": 0.9}
    options = {
        name: settings(DecoderConfig(**fields), max_new_tokens=12, end_id=by_hand.END)  # type: ignore[arg-type]
        for name, fields in (("greedy", greedy), ("sampling", sampling))
    }
    together = continue_batch(model, prompts, options["greedy"], seed=1)
    alone = [continue_batch(model, [one], options["greedy"], seed=1)[0] for one in prompts]
    assert together == alone
    said = [continue_batch(model, prompts, options["sampling"], seed=seed) for seed in (7, 7, 8)]
    assert said[0] == said[1] != said[2]


# --- 12. What is asked for and not used ----------------------------------------------------------
#
# A misspelt key or an unread field changes nothing and says nothing; a cache is taken for the
# result of another template, tokenizer or version of the code.
# In depth: tests/config/test_experiments.py, tests/door/test_door.py.


def test_12_an_unknown_key_is_an_error_that_names_the_nearest(door: Door) -> None:
    done = door("train", "corpus=x", "adapter.dropuot=0.1")
    assert done.returncode == 2
    assert "there is no key adapter.dropuot. Did you mean adapter.dropout?" in done.stderr


def test_12_fields_of_the_data_that_nothing_reads_are_shown(door: Door, tmp_path: Path) -> None:
    lines = [
        {"messages": [
            {"role": "user", "content": f"Question {n}?"},
            {"role": "assistant", "content": f"Answer {n}.", "wieght": 0},
        ], "rating": n}
        for n in range(6)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = door("prepare", "task=messages", "corpus=x", "task.rows=rows.jsonl")
    assert done.returncode == 0, done.stderr
    assert "6 rows with a field that nothing reads: rating" in done.stderr
    assert "6 rows with a field that nothing reads: messages.wieght" in done.stderr


def test_12_identity_covers_template_tokenizer_weights_and_format(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    model = ModelConfig(name="tiny", base=str(folder), dialect="smollm2")
    settings_ = replace(by_hand.config(), model=model)

    def hashes() -> tuple[str, str]:
        prepared = prepare_stage.identity(settings_, {})
        return prepared.hash, train_stage.locate(settings_, prepared)[0].hash

    seen = [hashes()]
    (folder / "README.md").write_text("changes nothing")
    assert hashes() == seen[0]
    settings_ = replace(settings_, model=replace(model, dialect="chatml"))
    seen.append(hashes())
    record = json.loads((folder / "tokenizer.json").read_text())
    record["model"]["merges"] = record["model"]["merges"][:-1]
    (folder / "tokenizer.json").write_text(json.dumps(record))
    seen.append(hashes())
    monkeypatch.setattr(prepare_stage, "FORMAT", prepare_stage.FORMAT + 1)
    seen.append(hashes())
    assert len({prepared for prepared, _ in seen}) == len({run for _, run in seen}) == 4
    prepared = hashes()[0]
    monkeypatch.setattr(train_stage, "FORMAT", train_stage.FORMAT + 1)
    seen.append(hashes())
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    seen.append(hashes())
    assert {one for one, _ in seen[-2:]} == {prepared}
    assert len({run for _, run in seen}) == 6


# --- 13. The split -------------------------------------------------------------------------------
#
# Pieces of one episode, or the same text, on both sides of the split: held-out loss flatters.
# In depth: tests/prepare/test_split.py, test_stage.py.


def test_13_the_split_is_by_item_and_what_stands_on_both_sides_is_reported(
    door: Door, tmp_path: Path
) -> None:
    lines = [
        {"item": f"talk-{n % 4}", "messages": [
            {"role": "user", "content": f"Question {n} of {n % 4}?"},
            {"role": "assistant", "content": "The bees came back." if n < 8 else f"Answer {n}!"},
        ]}
        for n in range(16)
    ]  # fmt: skip
    for n in range(4):
        # The same row in every talk: wherever the split falls, it stands on both sides.
        lines[n]["messages"] = [{"role": "user", "content": "Hello?"}, lines[0]["messages"][1]]  # type: ignore[index]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = door(
        "prepare", "task=messages", "corpus=x", "task.rows=rows.jsonl", "split=count",
        "split.valid_items=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.strip())
    train, valid = (records.read(made / f"{side}.jsonl") for side in ("train", "valid"))
    assert (len(train), len(valid)) == (12, 4)
    assert not {row.meta.item for row in train} & {row.meta.item for row in valid}
    assert "3 training rows repeat a held-out row" in done.stderr


# --- 14. Figures that cannot be ------------------------------------------------------------------
#
# NaN, zero or constant: the run goes on to its end and calls it success. mlx-lm#1658 (a finite loss
# with NaN gradients), ainode#186 (an adapter of NaN "succeeded").
# In depth: tests/train/test_stage.py (through the door), test_precision.py (overflow in fp16).


def test_14_a_loss_that_is_not_finite_stops_and_names_the_rows(tmp_path: Path) -> None:
    run = made_by_hand(tmp_path)
    with torch.no_grad():
        run.model.get_output_embeddings().weight[7] = math.nan
    with pytest.raises(RunFailedError, match=r"loss nan .* not finite at step 1, rows \[.*item-3"):
        step.take(run, run.steps[0])


def test_14_a_gradient_that_is_not_finite_stops_though_the_loss_is(tmp_path: Path) -> None:
    run = made_by_hand(tmp_path)
    weight = run.trained[-1]
    weight.register_hook(lambda gradient: gradient * math.nan)
    before = weight.detach().clone()
    with pytest.raises(RunFailedError, match=r"loss 5\.\d+ or gradient norm nan is not finite"):
        step.take(run, run.steps[0])
    assert torch.equal(weight, before), "no step was taken"


def journalled(run: Training, losses: Sequence[float]) -> None:
    for number, loss in enumerate(losses, start=1):
        run.journal.measure({"step": number, "train_loss": loss})


def test_14_a_loss_of_exactly_zero_stops_and_names_the_rows(tmp_path: Path) -> None:
    run = made_by_hand(tmp_path)
    journalled(run, [2.5, 0.0])
    with pytest.raises(RunFailedError, match=r"exactly zero at step 2, rows \[.*item-3"):
        stuck.check(run, run.steps[1])


def test_14_a_loss_that_does_not_depend_on_the_rows_stops(tmp_path: Path) -> None:
    """A head of zeros: every token is as likely as any other, whatever is read."""
    run = made_by_hand(tmp_path, "optim.rows_per_step=2", "schedule.epochs=4")
    with torch.no_grad():
        run.model.get_output_embeddings().weight.zero_()
    losses = [step.take(run, one).sums.mean_loss for one in run.steps[: stuck.SAME_STEPS]]
    assert losses == pytest.approx([math.log(by_hand.VOCABULARY)] * stuck.SAME_STEPS)
    journalled(run, losses[:-1])
    stuck.check(run, run.steps[stuck.SAME_STEPS - 2])
    run.journal.measure({"step": stuck.SAME_STEPS, "train_loss": losses[-1]})
    with pytest.raises(RunFailedError, match=r"5.7\d+ in each of 10 steps up to step 10"):
        stuck.check(run, run.steps[stuck.SAME_STEPS - 1])


def test_14_a_loss_that_stands_still_over_the_same_rows_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_by_hand(tmp_path, "schedule.epochs=14")
    for number in range(1, 15):
        run.journal.measure({"step": number, "train_loss": 3.25})
        stuck.check(run, run.steps[number - 1])
    assert capsys.readouterr().err.count("has not moved in 10 steps") == 1


def test_14_a_healthy_run_is_let_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_by_hand(tmp_path, "optim.rows_per_step=2", "schedule.epochs=6")
    for one in run.steps:
        run.journal.measure({"step": one.number, "train_loss": step.take(run, one).sums.mean_loss})
        stuck.check(run, one)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_14_an_adapter_of_zeros_or_nan_is_no_success(value: float) -> None:
    model = by_hand.with_lora(by_hand.random_model())
    learned.check(model)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(value)
    with pytest.raises(RunFailedError, match="all zeros" if value == 0 else "not finite"):
        learned.check(model)


def test_14_a_single_nan_in_an_adapter_is_no_success() -> None:
    model = by_hand.with_lora(by_hand.random_model())
    name, parameter = next((n, p) for n, p in model.named_parameters() if "lora_A" in n)
    parameter.data[0, 0] = math.nan
    assert "lora_A" in name
    with pytest.raises(RunFailedError, match="not finite"):
        learned.check(model)


# --- 15. Nothing learned -------------------------------------------------------------------------
#
# The adapter is there and B is still zero: frozen by mistake, or detached by checkpointing.
# In depth: tests/train/test_methods.py (each method), test_shipped_experiments.py.


def test_15_b_is_not_zero_at_the_end_and_the_count_of_parameters_is_said(
    door: Door, arguments: list[str]
) -> None:
    from safetensors.torch import load_file

    done = door("train", *arguments, "schedule.epochs=1", "memory=small_card", "eval=none")
    assert done.returncode == 0, done.stderr
    newest = max((Path(done.stdout.strip()) / "checkpoints").iterdir())
    saved = load_file(newest / adapters.WEIGHTS_FILE)
    ups = [tensor for name, tensor in saved.items() if "lora_B" in name]
    assert len(ups) == 2 * 7
    assert all(bool(tensor.any()) for tensor in ups)
    count = sum(tensor.numel() for tensor in saved.values())
    assert f"{count:,} of " in done.stderr
    assert "parameters are trained" in done.stderr
    assert json.loads((newest / "trainer.json").read_text())["trained_parameters"] == count


def test_15_a_checkpoint_with_another_count_of_parameters_is_not_resumed(tmp_path: Path) -> None:
    run = made_by_hand(tmp_path)
    step.take(run, run.steps[0])
    at = Progress(step=1, epoch=1, ends_epoch=True, tokens=1)
    folder = tmp_path / "checkpoints" / "step-000001"
    checkpoints.write(run, folder, at)
    checkpoints.restore(run, Checkpoint(folder, at))
    file = folder / "trainer.json"
    record = json.loads(file.read_text())
    record["trained_parameters"] += 1
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="trained parameters and this model"):
        checkpoints.restore(run, Checkpoint(folder, at))
