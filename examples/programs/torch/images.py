"""Images of digits: MNIST, if MNIST names a folder of its IDX files, or else the small ones that scikit-learn brings."""

import gzip
import os
from pathlib import Path

import torch
from torch import Tensor


def load(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training images and labels, then those for validation: the last sixth of at most `count`."""
    if folder := os.environ.get("MNIST"):
        images = read_idx(Path(folder), "train-images-idx3-ubyte")[:count, None].float() / 255
        labels = read_idx(Path(folder), "train-labels-idx1-ubyte")[:count].long()
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.tensor(digits.images[:count, None], dtype=torch.float32) / 16
        labels = torch.tensor(digits.target[:count])
    split = len(images) * 5 // 6
    return images[:split], labels[:split], images[split:], labels[split:]


def read_idx(folder: Path, name: str) -> Tensor:
    """Read a file of unsigned bytes: a header with the number of dimensions and their sizes, then the data."""
    compressed = folder / (name + ".gz")
    data = gzip.decompress(compressed.read_bytes()) if compressed.exists() else (folder / name).read_bytes()
    dimensions = data[3]
    if data[:3] != b"\0\0\x08" or not 1 <= dimensions <= 3:
        raise ValueError(f"{folder / name} is no IDX file of bytes")
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=4 + 4 * dimensions).reshape(shape)
