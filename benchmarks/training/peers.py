"""The other side: trl's SFTTrainer, transformers' Trainer, and Unsloth where it is installed.

All of them get ids and labels that were made already, so that only the training differs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from understudy.config import Config
from understudy.config.adapter import Quantisation
from understudy.train.data import Example

if TYPE_CHECKING:
    from training.meter import Marks
    from training.party import Party, Setting

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def begin(
    config: Config,
    model: Any,  # noqa: ANN401  # transformers has no types
    examples: Sequence[Example],
    setting: Setting,
    party: Party,
) -> Callable[[Marks], None]:
    """All but the training itself."""
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback, TrainerCallback
    from transformers.utils import logging

    logging.set_verbosity_error()
    disable_progress_bars()
    rows = [{"input_ids": e.ids, "labels": e.labels} for e in examples]
    trainer = _trainer(config, model, Dataset.from_list(rows), setting, party)
    noted: list[Marks] = []

    class Noting(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
            noted[0].mark()

        def on_step_end(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
            noted[0].mark()

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:  # noqa: ANN401
            if "loss" in logs:
                noted[0].losses.append(float(logs["loss"]))

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Noting())

    def train(marks: Marks) -> None:
        noted.append(marks)
        trainer.train()

    return train


def _trainer(config: Config, model: Any, data: Any, setting: Setting, party: Party) -> Any:  # noqa: ANN401
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    from understudy.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(config.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    given = {**_arguments(config, setting, party), "output_dir": tempfile.gettempdir()}
    if party.kind == "trainer":
        collator = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)
        return Trainer(
            model=model,
            args=TrainingArguments(**given),
            train_dataset=data,
            data_collator=collator,
        )
    from trl import SFTConfig, SFTTrainer

    # By default rows are cut to 1024 tokens: longer ones would be less work, not the same.
    args = SFTConfig(**given, max_length=None, shuffle_dataset=False)
    trainer = SFTTrainer(model=model, args=args, train_dataset=data, processing_class=tokenizer)
    if config.adapter.quantisation is Quantisation.nf4:
        # trl turns adapters on a 4-bit base into bf16: the same precision on both sides.
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return trainer


def _arguments(config: Config, setting: Setting, party: Party) -> dict[str, Any]:
    import torch

    batch = min(party.batch, setting.rows_per_step)
    if setting.rows_per_step % batch:
        raise ValueError(f"{party.name}: {setting.rows_per_step} rows a step are no whole batches.")
    optim = config.optim
    return {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": setting.rows_per_step // batch,
        "num_train_epochs": setting.epochs,
        "train_sampling_strategy": "group_by_length" if party.grouped else "sequential",
        "gradient_checkpointing": party.checkpointing,
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),
        "optim": "adamw_torch_fused",
        "learning_rate": optim.lr,
        "weight_decay": optim.weight_decay,
        "adam_beta1": optim.betas[0],
        "adam_beta2": optim.betas[1],
        "adam_epsilon": optim.eps,
        "max_grad_norm": optim.clip,
        "lr_scheduler_type": "constant",
        "use_liger_kernel": "liger" in party.options,
        "seed": config.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def unsloth_model(config: Config) -> Any:  # noqa: ANN401  # it has no types
    """Base and adapter as Unsloth makes them, in fp32 like everybody's."""
    from unsloth import FastLanguageModel

    from understudy.models import weights

    model, _ = FastLanguageModel.from_pretrained(
        weights.locate(config.model),
        max_seq_length=config.model.context,
        load_in_4bit=config.adapter.quantisation is Quantisation.nf4,
    )
    return FastLanguageModel.get_peft_model(
        model,
        r=config.adapter.r,
        lora_alpha=config.adapter.alpha,
        lora_dropout=0,
        target_modules=LINEAR,
        use_gradient_checkpointing="unsloth",
        random_state=config.seed,
    )
