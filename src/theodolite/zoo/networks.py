"""The networks of the trained zoo models: plain modules, smooth everywhere, small enough to ship."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = [
    "DigitsDecoder",
    "DigitsEncoder",
    "PatchDecoder",
    "PatchEncoder",
    "PosteriorEncoder",
    "ResidualBlock",
]

DIGIT_LATENTS = 8
PATCH_CHANNELS = 4
_GROUPS = 8
_LOG_STD_RANGE = (-10.0, 4.0)


class ResidualBlock(nn.Module):
    """`x + conv(silu(norm(conv(silu(norm(x))))))`: 3x3 convolutions, the number of channels kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(_GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map `(n, channels, h, w)` to the same shape."""
        change: Tensor = self.layers(features)
        return features + change


class PatchEncoder(nn.Module):
    """Images `(n, 3, H, W)` to raw latents `(n, channels, H/4, W/4)`; `H` and `W` divisible by 4."""

    def __init__(self, channels: int = PATCH_CHANNELS) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 4, stride=2, padding=1),
            ResidualBlock(32),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),
            nn.GroupNorm(_GROUPS, 48),
            nn.SiLU(),
            nn.Conv2d(48, channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode images in [-1, 1]."""
        latents: Tensor = self.layers(images)
        return latents


class PosteriorEncoder(nn.Module):
    """Images `(n, 3, H, W)` to the `(mean, std)` of a Gaussian posterior over raw latents, as a VAE's encoder."""

    def __init__(self, channels: int = PATCH_CHANNELS) -> None:
        super().__init__()
        self.features = PatchEncoder(2 * channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images in [-1, 1]; both tensors are `(n, channels, H/4, W/4)` and `std` is positive."""
        mean, log_std = self.features(images).chunk(2, dim=1)
        return mean, log_std.clamp(*_LOG_STD_RANGE).exp()


class PatchDecoder(nn.Module):
    """Raw latents `(n, 4, h, w)` to images `(n, 3, 4h, 4w)` near [-1, 1] (the last layer is linear)."""

    def __init__(self, channels: int = PATCH_CHANNELS) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 48, 3, padding=1),
            ResidualBlock(48),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(48, 32, 3, padding=1),
            ResidualBlock(32),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.GroupNorm(_GROUPS, 16),
            nn.SiLU(),
            nn.Conv2d(16, 3, 3, padding=1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Decode raw latents."""
        images: Tensor = self.layers(latents)
        return images


class DigitsEncoder(nn.Module):
    """Images `(n, 1, 8, 8)` to raw latents `(n, 8)`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 128),
            nn.SiLU(),
            nn.Linear(128, 64),
            nn.SiLU(),
            nn.Linear(64, DIGIT_LATENTS),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode images in [-1, 1]."""
        latents: Tensor = self.layers(images)
        return latents


class DigitsDecoder(nn.Module):
    """Raw latents `(n, 8)` to images `(n, 1, 8, 8)` inside (-1, 1) (the last layer is a tanh)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(DIGIT_LATENTS, 64),
            nn.SiLU(),
            nn.Linear(64, 128),
            nn.SiLU(),
            nn.Linear(128, 64),
            nn.Tanh(),
            nn.Unflatten(1, (1, 8, 8)),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Decode raw latents."""
        images: Tensor = self.layers(latents)
        return images
