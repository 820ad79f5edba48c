"""The autoencoders of the study, and the classifier whose features Frechet distances are taken in."""

from __future__ import annotations

from torch import Tensor, nn

_WIDTH = 32
_GROUPS = 4


class Residual(nn.Module):
    """`x + C2 silu(N2 C1 silu(N1 x))` with 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.GroupNorm(_GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(_GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, width, height, width)` to the same."""
        return x + self.change(x)


class AutoencoderNetwork(nn.Module):
    """Images `(n, image channels, 32, 32)` to latents `(n, channels, side, side)` with `side` 8 or 4, and back."""

    def __init__(self, image_channels: int, channels: int, side: int) -> None:
        super().__init__()
        deep = side == 4
        top = 2 * _WIDTH if deep else _WIDTH
        self.encoder = nn.Sequential(
            nn.Conv2d(image_channels, 16, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(16, _WIDTH, 4, 2, 1),
            Residual(_WIDTH),
            *((nn.Conv2d(_WIDTH, top, 4, 2, 1), Residual(top)) if deep else ()),
            nn.SiLU(),
            nn.Conv2d(top, 2 * channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, top, 3, padding=1),
            Residual(top),
            *((nn.SiLU(), nn.ConvTranspose2d(top, _WIDTH, 4, 2, 1), Residual(_WIDTH)) if deep else ()),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, 64, 3, padding=1),
            nn.PixelShuffle(2),
            nn.SiLU(),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(24, 4 * image_channels, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents."""
        mean, log_variance = self.encoder(images).chunk(2, 1)
        return mean, log_variance.clamp(-14, 4)

    def encode(self, images: Tensor) -> Tensor:
        """The posterior's mean."""
        return self.posterior(images)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Images, near [-1, 1] and not clipped."""
        return self.decoder(latents)


class Classifier(nn.Module):
    """A small classifier of 32x32 images; `features` are the 64 numbers before its last layer."""

    def __init__(self, image_channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(image_channels, 24, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, 2, 1),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Conv2d(48, 64, 3, 2, 1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(1024, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, classes)

    def features(self, images: Tensor) -> Tensor:
        """`(n, 64)` from images, clipped to [-1, 1]."""
        return self.body(images.clamp(-1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """The classes' logits."""
        return self.head(self.features(images))
