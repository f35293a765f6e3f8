"""The code of a convolutional autoencoder trained on the images, as CSG's authors embed them, for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.randomness import torch_generator
from workers.complexity.embeddings.standardise import standardise
from workers.complexity.embeddings.tsne import tsne_of

_SIDE = 4
_CODE = 8
_WIDTHS = (1, 2, 4, 4)


def autoencoder(
    images: Tensor,
    seed: int,
    epochs: int = 15,
    width: int = 8,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
) -> Tensor:
    """The 128 code values of every image of uint8 ``[N, C, H, W]``, standardised: float32 ``[N, 128]``.

    Encoder of the authors' code (spectral-metric): blocks of convolution, batch norm and max pooling without
    activations, then 8 channels of 4 × 4. Theirs has four blocks of 64 to 256 channels for images of 64 × 64 and 100
    epochs; here as many blocks as bring the side to 4, ``width`` to ``4 · width`` channels, fewer epochs and a faster
    Adam. Images whose side is not 8, 16, 32 or 64 are resized to the nearest of these.

    Runs where the images are.
    """
    side = _nearest_side(max(images.shape[2:]))
    network = _make(images.shape[1], side, width, seed).to(images.device).to(memory_format=torch.channels_last)
    _train(network, images, side, seed, epochs, batch_size, learning_rate)
    return standardise(_encode(network[0], images, side, batch_size))


def autoencoder_tsne(
    images: Tensor, seed: int, components: int = 2, epochs: int = 15, iterations: int = 1000
) -> Tensor:
    """t-SNE of the autoencoder's code, the paper's headline setting (there 3 components): float32 ``[N, components]``.

    Raises:
        ValueError: as :func:`workers.complexity.embeddings.tsne.tsne`.
    """
    return tsne_of(autoencoder(images, seed, epochs), seed, components, iterations)


def _nearest_side(side: int) -> int:
    return min((8, 16, 32, 64), key=lambda known: abs(known - side))


def _make(channels: int, side: int, width: int, seed: int) -> nn.Sequential:
    """Encoder and decoder."""
    widths = [width * factor for factor in _WIDTHS[: (side // _SIDE).bit_length() - 1]]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(torch_generator(seed, "autoencoder", "weights").get_state())
        down: list[nn.Module] = []
        for before, after in zip([channels, *widths], widths, strict=False):
            down += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.MaxPool2d(2)]
        up: list[nn.Module] = []
        for before, after in zip([_CODE, *widths[::-1]], widths[::-1], strict=False):
            up += [nn.ConvTranspose2d(before, after, 2, stride=2)]
        return nn.Sequential(
            nn.Sequential(*down, nn.Conv2d(widths[-1], _CODE, 1)),
            nn.Sequential(*up, nn.Conv2d(widths[0], channels, 1)),
        )


def _prepare(images: Tensor, side: int) -> Tensor:
    x = images.float() / 255 - 0.5
    if x.shape[2:] != (side, side):
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
    # On a CPU max pooling of small images takes a tenth of the time with channels last.
    return x.contiguous(memory_format=torch.channels_last)


def _train(
    network: nn.Sequential, images: Tensor, side: int, seed: int, epochs: int, batch_size: int, rate: float
) -> None:
    """Least squares of the pixels, Adam."""
    optimizer = torch.optim.Adam(network.parameters(), rate)
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=torch_generator(seed, "autoencoder", epoch)).to(images.device)
        for rows in torch.split(order, batch_size):
            # Batch norm has no variance to take from one image.
            if len(rows) == 1 and len(images) > 1:
                continue
            batch = _prepare(images[rows], side)
            optimizer.zero_grad()
            F.mse_loss(network(batch), batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


@torch.no_grad()
def _encode(encoder: nn.Module, images: Tensor, side: int, batch_size: int) -> Tensor:
    encoder.eval()
    return torch.cat([encoder(_prepare(part, side)).flatten(1) for part in torch.split(images, batch_size)])
