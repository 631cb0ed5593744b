"""MobileNetV2 in torch (Sandler et al. 2018, arXiv 1801.04381, table 2), width 1.

The weights are torchvision's, which cannot be installed beside every build of torch; a state dict needs no more than
this module. The names of its tensors are torchvision's, so torchvision's files load unchanged.
"""

import torch
from torch import nn

# Expansion, output channels, repeats, stride of the first.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM, LAST = 32, 1280


class MobileNetV2(nn.Module):
    """Pixels [batch, 3, height, width] in, logits [batch, classes] out; height and width are at least 32."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        blocks: list[nn.Module] = [activated(3, STEM, 3, 2)]
        channels = STEM
        for expansion, width, repeats, stride in STAGES:
            for repeat in range(repeats):
                blocks.append(Block(channels, width, expansion, stride if repeat == 0 else 1))
                channels = width
        self.features = nn.Sequential(*blocks, activated(channels, LAST, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(LAST, classes))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(pixels).mean((2, 3)))
        return logits


class Block(nn.Module):
    """An inverted residual: expand, filter each channel, project. The input is added where the shapes allow."""

    def __init__(self, channels: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = channels * expansion
        expand = [activated(channels, wide, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *expand,
            activated(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.residual = stride == 1 and channels == width

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.conv(pixels)
        return pixels + output if self.residual else output


def activated(channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution of `channels` in and `width` out, with BatchNorm and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(),
    )
