"""What is learned on a base, whichever kind: unchanged at first, put back exactly, checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from understudy.config.adapter import AdapterConfig, AdapterMethod, Quantisation
from understudy.config.model import Dtype, ModelConfig
from understudy.console import RunFailedError, UserError
from understudy.models import learned, weights
from understudy.models.base import load_base
from understudy.models.switchboard import Switchboard

NF4 = Quantisation.nf4
IDS = torch.arange(40).reshape(2, 20)
LORAS = [AdapterMethod.lora, AdapterMethod.rslora, AdapterMethod.dora]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small products take longer to hand out than to compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def adapter(method: AdapterMethod = AdapterMethod.lora, **others: Any) -> AdapterConfig:
    return AdapterConfig(method=method, r=4, alpha=8, **others)


def unfreeze(blocks: int = 1, *, head: bool = False, **others: Any) -> AdapterConfig:
    return AdapterConfig(method=AdapterMethod.unfreeze, blocks=blocks, head=head, **others)


Load = Callable[..., Any]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)

    def base(config: AdapterConfig | None = None, dtype: Dtype = Dtype.fp32) -> Any:
        return load_base(ModelConfig(name="small", base=str(folder), dtype=dtype), config)

    return base


def ready(load: Load, config: AdapterConfig, dtype: Dtype = Dtype.fp32) -> Any:
    torch.manual_seed(0)
    return learned.attach(load(config, dtype), config)


def computing(dtype: Dtype) -> Any:
    on = dtype is not Dtype.fp32
    return torch.autocast("cpu", dtype=getattr(torch, dtype.value), enabled=on)


def logits(model: Any, dtype: Dtype = Dtype.fp32) -> torch.Tensor:
    with torch.no_grad(), computing(dtype):
        return torch.as_tensor(model(IDS).logits).float()


def learn(model: Any, dtype: Dtype = Dtype.fp32, steps: int = 3) -> list[float]:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    model.train()
    for _ in range(steps):
        with computing(dtype):
            loss = model(IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


def tensors(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    same = one.keys() == other.keys()
    return same and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("dtype", [Dtype.fp32, Dtype.bf16])
@pytest.mark.parametrize(
    "config",
    [
        *(adapter(method) for method in LORAS),
        *(adapter(method, quantisation=NF4) for method in LORAS),
        adapter(dtype=Dtype.bf16),
        unfreeze(2, head=True),
        unfreeze(0, head=True),
    ],
    ids=lambda c: f"{c.method.name}-{c.quantisation.name}-{c.dtype.name}",
)
def test_nothing_changes_before_step_1_then_it_learns_and_comes_back_exactly(
    load: Load, config: AdapterConfig, dtype: Dtype, tmp_path: Path
) -> None:
    expected = logits(load(config, dtype), dtype)
    model = ready(load, config, dtype)
    assert {str(p.dtype) for p in tensors(model).values()} == {f"torch.{config.dtype.value}"}
    # Blocks held in fp32 round less on the way: of the same weights, not the same bits.
    rounds = config.method is AdapterMethod.unfreeze and dtype is Dtype.bf16
    difference = float((logits(model, dtype) - expected).abs().max())
    assert difference <= (2e-2 if rounds else 0)
    losses = learn(model, dtype)
    assert losses[-1] < losses[0]
    learned.check(model)
    learned.save(model, tmp_path)
    again = ready(load, config, dtype)
    learned.restore(again, tmp_path)
    assert learned.count(again) == learned.count(model)
    assert equal(tensors(again), tensors(model))
    assert torch.equal(logits(again, dtype), logits(model, dtype))
    if config.method in LORAS:
        theirs = PeftModel.from_pretrained(load(config, dtype), tmp_path).eval()
        # peft brings an adapter in bf16 to fp32, and over a base in fp32 it then computes in it.
        rounds = config.dtype is Dtype.bf16 and dtype is Dtype.fp32
        difference = float((logits(theirs, dtype) - logits(model, dtype)).abs().max())
        assert difference <= (1e-2 if rounds else 0)


@pytest.mark.parametrize(("method", "scale"), [("lora", 8 / 4), ("rslora", 8 / 2), ("dora", 8 / 4)])
def test_what_a_is_multiplied_by(load: Load, method: str, scale: float) -> None:
    model = ready(load, adapter(AdapterMethod[method]))
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    assert {layer.scaling["default"] for layer in layers} == {scale}
    assert len(layers) == 14


@pytest.mark.parametrize("quantisation", list(Quantisation))
def test_under_autocast_adapters_multiply_in_bf16_and_keep_one_copy_of_their_input(
    load: Load, quantisation: Quantisation
) -> None:
    model = ready(load, adapter(quantisation=quantisation), Dtype.bf16)
    seen: dict[str, set[int]] = {}
    products = []
    for name, module in model.named_modules():
        if name.endswith(("lora_A.default", "lora_B.default")):
            part = name.split(".")[-3]

            def look(_: Any, given: Any, made: torch.Tensor, part: str = part) -> None:
                products.append((given[0].dtype, made.dtype))
                seen.setdefault(part, set()).add(given[0].data_ptr())

            module.register_forward_hook(look)
    model.train()
    with computing(Dtype.bf16):
        model(IDS)
    assert set(products) == {(torch.bfloat16, torch.bfloat16)}
    assert seen["q_proj"] & seen["k_proj"] & seen["v_proj"]
    model.eval()
    products.clear()
    with torch.no_grad():
        made = model(IDS).logits
    assert made.dtype is torch.bfloat16
    assert set(products) == {(torch.float32, torch.float32)}


def test_nf4_has_the_same_gradients_after_an_evaluation(load: Load) -> None:
    config = adapter(quantisation=NF4)
    found = []
    for evaluates in (False, True):
        model = ready(load, config, Dtype.bf16)
        if evaluates:
            model.eval()
            logits(model, Dtype.bf16)
        model.train()
        with computing(Dtype.bf16):
            model(IDS, labels=IDS).loss.backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert equal(*found)
    assert all(bool(found[0][name].any()) for name in found[0] if "lora_B" in name)


@pytest.mark.parametrize(
    "config",
    [adapter(), adapter(quantisation=NF4), unfreeze()],
    ids=["lora", "qlora", "unfreeze"],
)
def test_checkpointing_needs_no_gradient_at_the_input(load: Load, config: AdapterConfig) -> None:
    """Blocks below the first that is trained are not gone through backwards."""
    found = []
    for checkpoints in (False, True):
        model = ready(load, config)
        if checkpoints:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        model(IDS, labels=IDS).loss.backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert all(gradient is not None for gradient in found[0].values())
    assert equal(*found)


@pytest.mark.parametrize("config", [adapter(), unfreeze()], ids=["lora", "unfreeze"])
def test_what_learned_nothing_or_broke_is_refused(load: Load, config: AdapterConfig) -> None:
    model = ready(load, config)
    with pytest.raises(RunFailedError, match="nothing was learned"):
        learned.check(model)
    learn(model, steps=1)
    learned.check(model)
    ups = [p for n, p in model.named_parameters() if p.requires_grad and "lora_A" not in n]
    with torch.no_grad():
        for parameter in ups:
            parameter.fill_(float("nan"))
    with pytest.raises(RunFailedError, match="not finite"):
        learned.check(model)


@pytest.mark.parametrize("config", [adapter(), unfreeze()], ids=["lora", "unfreeze"])
@pytest.mark.parametrize("fault", ["missing", "unknown", "of another shape"])
def test_every_key_must_match(
    load: Load, config: AdapterConfig, fault: str, tmp_path: Path
) -> None:
    model = ready(load, config)
    learned.save(model, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    saved = load_file(file)
    name = sorted(saved)[1]
    if fault == "missing":
        del saved[name]
    elif fault == "unknown":
        name = "model.layers.7.self_attn.q_proj.weight"
        saved[name] = torch.zeros(2)
    else:
        saved[name] = torch.zeros(3, 3)
    save_file(saved, file, metadata={"format": "pt"})
    before = tensors(model)
    with pytest.raises(UserError, match=f"1 {fault} \\({name}\\)"):
        learned.restore(model, tmp_path)
    assert equal(tensors(model), before)
    if fault == "missing" and "unfreeze" in config.method.name:
        return  # what a delta leaves out is as in the base
    with pytest.raises(UserError, match=f"1 {fault} \\({name}\\)"):
        Switchboard(load()).add("epoch1", tmp_path)


def test_a_tied_head_is_said_counted_and_written_once(
    load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ready(load, unfreeze(1, head=True))
    said = capsys.readouterr().err
    assert "head and input embedding are one" in said
    assert "adapter.r, alpha, dropout and targets are not used" in said
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    learned.save(model, tmp_path)
    saved = load_file(tmp_path / "delta.safetensors")
    heads = [name for name in saved if "embed" in name or "head" in name]
    assert heads == ["model.embed_tokens.weight"]
    assert {name.split(".")[2] for name in saved if "layers" in name} == {"1"}
    assert sum(t.numel() for t in saved.values()) == learned.count(model)
    card = json.loads((tmp_path / "delta.json").read_text())
    assert card["parameters"] == learned.count(model)
    assert (card["last_blocks"], card["head"], card["head_is_input_embedding"]) == (1, True, True)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (unfreeze(3), "adapter.blocks=3: this model has 2 blocks"),
        (unfreeze(dtype=Dtype.bf16), "adapter.dtype=bf16 with model.dtype=fp32"),
        (adapter(targets=["no_such"]), r"adapter.targets=\{'no_such'\} fit no layer"),
    ],
)
def test_what_the_model_has_not_is_said(load: Load, config: AdapterConfig, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ready(load, config)


def test_adapters_and_deltas_speak_in_turn_and_the_base_stays_the_base(
    load: Load, tmp_path: Path
) -> None:
    dtype = Dtype.bf16
    configs = {
        "plain": adapter(),
        "wide": unfreeze(2, head=True),
        "turned": adapter(AdapterMethod.dora),
        "narrow": unfreeze(1),
    }
    for name, config in configs.items():
        model = ready(load, config, dtype)
        learn(model, dtype)
        (tmp_path / name).mkdir()
        learned.save(model, tmp_path / name)
    alone = {"base": logits(load(dtype=dtype))}
    for name in configs:
        single = Switchboard(load(dtype=dtype))
        single.add(name, tmp_path / name)
        with single.speaking(name) as model:
            alone[name] = logits(model)
    base = load(dtype=dtype)
    before = {name: (p.data_ptr(), p.clone()) for name, p in base.named_parameters()}
    board = Switchboard(base)
    for name in configs:
        board.add(name, tmp_path / name)
    for name in ("wide", "base", "plain", "narrow", "turned", "wide", "plain", "base"):
        with board.speaking(name) as model:
            assert torch.equal(logits(model), alone[name]), name
    assert len({tuple(t.flatten().tolist()[:50]) for t in alone.values()}) == 5
    for name, (place, value) in before.items():
        assert board.parameters[name].data_ptr() == place
        assert torch.equal(board.parameters[name], value)
    with pytest.raises(UserError, match="has neither adapter_model"):
        board.add("empty", tmp_path)


def test_a_delta_says_what_it_said_when_it_was_trained(load: Load, tmp_path: Path) -> None:
    model = ready(load, unfreeze(2, head=True))
    learn(model)
    learned.save(model, tmp_path)
    board = Switchboard(load())
    board.add("last", tmp_path)
    with board.speaking("last") as speaking:
        assert torch.equal(logits(speaking), logits(model))


def test_a_folder_is_known_by_what_is_in_it(tiny_model: Path, tmp_path: Path) -> None:
    def found(folder: Path) -> tuple[str, str]:
        config = ModelConfig(name="tiny", base=str(folder))
        return weights.identity(config), weights.tokenizer_identity(config)

    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(tiny_model, here)
    first = found(here)
    here.rename(there)
    assert found(there) == first
    (there / "README.md").write_text("A card.")
    assert found(there) == first
    template = there / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    second = found(there)
    assert second[0] == first[0]
    assert second[1] != first[1]
    config = json.loads((there / "config.json").read_text())
    (there / "config.json").write_text(json.dumps({**config, "rope_theta": 5e5}))
    third = found(there)
    assert third[0] != second[0]
    assert third[1] == second[1]
