"""What is trained: adapters on a frozen base, or the last blocks of the base itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from understudy.config.limits import within
from understudy.config.model import Dtype


class AdapterMethod(Enum):
    """How the base is adapted."""

    lora = "lora"
    """W' = W + (alpha / r) B A (Hu et al. 2021, arXiv:2106.09685)."""
    rslora = "rslora"
    """LoRA scaled by alpha / sqrt(r) (Kalajdzievski 2023, arXiv:2312.03732)."""
    dora = "dora"
    """LoRA on the direction of W, with a trained magnitude (Liu et al. 2024, arXiv:2402.09353)."""
    lora_plus = "lora_plus"
    """LoRA whose B learns at a higher rate than A (Hayou et al. 2024, arXiv:2402.12354)."""
    unfreeze = "unfreeze"
    """No adapter: the last blocks and the head themselves."""


class Quantisation(Enum):
    """How the frozen base is held."""

    none = "none"
    """As it is, in `model.dtype`."""
    nf4 = "nf4"
    """Linear layers in 4-bit NormalFloat (QLoRA, Dettmers et al. 2023, arXiv:2305.14314)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """A is [r, in], B is [out, r]; only they are trained, or, with `unfreeze`, what it names."""

    method: AdapterMethod = AdapterMethod.lora
    quantisation: Quantisation = Quantisation.none
    """Of the base; goes with every method but `unfreeze`."""
    double_quantisation: bool = True
    """nf4: quantise the quantisation constants too (saves about 0.4 bit a parameter)."""
    r: int = 16
    """Rank."""
    alpha: float = 32
    """Scale: the update is multiplied by alpha / r (rslora: alpha / sqrt(r))."""
    dropout: float = 0.0
    """Dropout on the adapter's input."""
    targets: list[str] = field(default_factory=lambda: ["all-linear"])
    """Names of the adapted layers, or `all-linear` for every linear layer but the head."""
    lr_ratio: float | None = None
    """lora_plus: learning rate of B over that of A, which is `optim.lr`."""
    blocks: int | None = None
    """unfreeze: how many of the last blocks are trained."""
    head: bool | None = None
    """unfreeze: whether the head is trained too (with the embedding, where the two are one)."""
    dtype: Dtype = Dtype.fp32
    """Number format in which the trained weights and the optimiser's state are held."""

    def __post_init__(self) -> None:
        within("adapter.r", self.r, 1, 1024)
        within("adapter.alpha", self.alpha, 0.001, 4096)
        within("adapter.dropout", self.dropout, 0, 0.9)
        within("adapter.lr_ratio", self.lr_ratio, 1, 1000)
        within("adapter.blocks", self.blocks, 0, 1000, unit="blocks")
        if not self.targets:
            raise ValueError("adapter.targets=[] trains nothing: name layers, or use [all-linear].")
        if self.dtype is Dtype.fp16:
            raise ValueError(
                "adapter.dtype=fp16 cannot hold small updates: use fp32, or bf16 to save memory. "
                "(model.dtype=fp16 is another thing: the format the base computes in.)"
            )
        self._check_method()

    def _check_method(self) -> None:
        plus = self.method is AdapterMethod.lora_plus
        unfreezes = self.method is AdapterMethod.unfreeze
        for name, belongs, to in (
            ("lr_ratio", plus, "lora_plus"),
            ("blocks", unfreezes, "unfreeze"),
            ("head", unfreezes, "unfreeze"),
        ):
            value = getattr(self, name)
            if belongs and value is None:
                raise ValueError(f"adapter={to} needs adapter.{name}: set it.")
            if not belongs and value is not None:
                raise ValueError(
                    f"adapter.{name}={value} belongs to adapter={to}, and this is "
                    f"{self.method.name}: set it to null, or choose adapter={to}."
                )
        if unfreezes and self.quantisation is not Quantisation.none:
            raise ValueError(
                "adapter=unfreeze trains the base's own weights, which 4 bits cannot hold: "
                "set adapter.quantisation=none."
            )
        if unfreezes and not self.blocks and not self.head:
            raise ValueError(
                "adapter.blocks=0 with adapter.head=false trains nothing: unfreeze something."
            )
