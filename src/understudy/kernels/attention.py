"""Causal attention in which each row of a batch sees itself alone, however rows are packed.

On CUDA it is torch's flash kernel for rows of any length, on a CPU `blockwise.py`.

Legend: b lines, t tokens, h heads, k heads of keys and values, d width of a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from understudy.kernels.blockwise import Blockwise
from understudy.kernels.rows import Rows, Span

NAME = "rows"
"""Under which transformers knows it."""
BEYOND = {"softcap": "capped scores", "s_aux": "sinks", "head_mask": "a mask of heads"}
"""What some architectures hand to their attention, by transformers' name."""
UNKNOWN_ARGUMENT = "unexpected keyword argument"
"""How Python says that a model's own forward pass does not take rows."""
FLASH_CAPABILITY = (8, 0)
"""The oldest NVIDIA generation for which torch has the flash kernel."""


def register() -> None:
    """Tell transformers of it; it may be told twice."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def misfit(model: Any) -> str | None:  # noqa: ANN401
    """Why a model that was loaded with it cannot do with it, found by trying; None: it can.

    Args:
        model: In the mode in which it learns: dropout is not there in the other one.
    """
    ids_bt = torch.tensor([[0, 1, 2, 0, 1]], device=model.device)
    positions_bt = torch.tensor([[0, 1, 2, 0, 1]], device=model.device)
    bounds_r = torch.tensor([0, 3, 5], dtype=torch.int32, device=model.device)
    rows = Rows((Span(0, 0, 3), Span(0, 3, 5)), bounds_r, 3)
    try:
        with torch.no_grad():
            model.base_model(
                input_ids=ids_bt,
                position_ids=positions_bt,
                attention_mask=no_mask(model.device),
                rows=rows,
                use_cache=False,
            )
    except NotImplementedError as error:
        return str(error)
    except TypeError as error:
        if UNKNOWN_ARGUMENT not in str(error):
            raise
        return str(error)
    return None


def plain(model: Any) -> str:  # noqa: ANN401
    """The attention of transformers' own that computes the same, by name."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "sdpa" if base._supports_sdpa else "eager"  # noqa: SLF001


def no_mask(device: torch.device) -> Tensor:
    """What stands for "no mask is needed": transformers takes a mask of four dimensions as it is.

    Given none it would look for rows in the positions, and make the device wait for that.
    """
    return torch.empty(1, 1, 1, 0, device=device)


def attend(  # noqa: PLR0913  # transformers' signature
    module: Any,  # noqa: ANN401
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rows: Rows | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **others: Any,  # noqa: ANN401
) -> tuple[Tensor, None]:
    """Attention as transformers calls it.

    Args:
        module: The attention layer.
        query: [b, h, t, d].
        key: [b, k, t, d].
        value: [b, k, t, d].
        attention_mask: Used where `rows` is not given, as when text is generated.
        rows: Where the rows lie.
        scaling: Of the scores; None: 1 / sqrt(d).
        sliding_window: Most tokens that one sees, itself among them; None: all before it.
        dropout: Must be zero.
        others: What other functions of transformers take; `softcap` and `s_aux` must not be set.

    Returns:
        [b, t, h, d], zeros in the padding; and None for the probabilities.
    """
    if rows is None:
        if attention_mask is not None and attention_mask.numel() == 0:
            raise NotImplementedError("it does not tell its attention where rows lie")
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask,
            dropout=dropout, scaling=scaling, sliding_window=sliding_window, **others,
        )  # fmt: skip
        return found, None
    for name, what in BEYOND.items():
        if others.get(name) is not None:
            raise NotImplementedError(f"its attention has {what}")
    if dropout:
        raise NotImplementedError("its attention has dropout")
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        # As torch's own attention has it: weights that are trained are held in fp32.
        dtype = torch.get_autocast_dtype(kind)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scale = 1 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    window = sliding_window if sliding_window and sliding_window < rows.longest else None
    if kind == "cpu":
        # torch declares no types for it.
        found = Blockwise.apply(query, key, value, rows.spans, scale, window)  # type: ignore[no-untyped-call]
        return found, None
    if _has_flash(query):
        return _flash(query, key, value, rows, scale, window), None
    return _row_by_row(query, key, value, rows, scale, window), None


# --- on CUDA ---


def _has_flash(query: Tensor) -> bool:
    if query.device.type != "cuda" or query.dtype not in (torch.bfloat16, torch.float16):
        return False
    return torch.cuda.get_device_capability(query.device) >= FLASH_CAPABILITY


def _flash(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float, window: int | None
) -> Tensor:
    lines, tokens = query.shape[0], query.shape[2]
    query, key, value = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))
    bounds, longest = rows.bounds_r, rows.longest
    reach = (-1 if window is None else window - 1, 0)
    found: Any = varlen_attn(
        query, key, value, bounds, bounds, longest, longest,
        scale=scale, window_size=reach, enable_gqa=True,
    )  # fmt: skip
    whole: Tensor = found.unflatten(0, (lines, tokens))
    return whole


def _row_by_row(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float, window: int | None
) -> Tensor:
    """A call of torch's attention for each row, where there is no flash kernel."""
    found = query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[-1])
    for span in rows.spans:
        place = (slice(span.line, span.line + 1), slice(None), slice(span.start, span.end))
        mask = _window_mask(span.length, window, query.device) if window else None
        one = scaled_dot_product_attention(
            query[place], key[place], value[place],
            attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True,
        )  # fmt: skip
        found[span.line, span.start : span.end] = one[0].transpose(0, 1)
    return found


def _window_mask(length: int, window: int, device: torch.device) -> Tensor:
    place_t = torch.arange(length, device=device)
    behind_tt = place_t[:, None] - place_t[None, :]
    return (behind_tt >= 0) & (behind_tt < window)
