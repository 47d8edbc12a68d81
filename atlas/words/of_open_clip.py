"""Encoders by any name OpenCLIP lists (Radford et al. 2021): an optional dependency (`neuron-atlas[clip]`).

Weights are a file, or the first that OpenCLIP lists for the name; the digest is over their values, so that it is the
same wherever they lie.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from atlas.errors import NetworkError
from atlas.network.load import digest_of
from atlas.network.sources.of_torchvision import import_torchvision


class OpenClip:
    """A model with its own preprocessing and tokens."""

    def __init__(self, model: Any, preprocess: Any, tokens: Any, device: str) -> None:
        self._model, self._preprocess, self._tokens, self._device = model, preprocess, tokens, device

    @torch.no_grad()
    def images(self, images: Sequence[Image.Image]) -> Any:
        """Vectors (images, dimensions), float32."""
        batch = torch.stack([self._preprocess(image) for image in images])
        return _plain(self._model.encode_image(batch.to(self._device)))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Any:
        """Vectors (texts, dimensions), float32."""
        return _plain(self._model.encode_text(self._tokens(list(texts)).to(self._device)))


def _plain(vectors: Tensor) -> Any:
    return vectors.float().cpu().numpy()


def make(name: str, device: str) -> tuple[OpenClip, str]:
    """The model, and the digest over its name, preprocessing and weights. Raises `NetworkError` in one line."""
    open_clip = _open_clip(name)
    architecture, _, file = name.removeprefix("open_clip:").partition(":")
    known = open_clip.list_models()
    if architecture not in known:
        near = ", ".join(get_close_matches(architecture, known, 3)) or "one of open_clip.list_models()"
        raise NetworkError(f"--encoder {name}: OpenCLIP knows no {architecture!r}; expected {near}")
    if file and not Path(file).is_file():
        raise NetworkError(f"--encoder {name}: no file {file!r}; expected the weights of {architecture}")
    weights = file or next(iter(open_clip.list_pretrained_tags_by_model(architecture)), None)
    if weights is None:
        raise NetworkError(f"--encoder {name}: OpenCLIP lists no weights for it; give open_clip:{architecture}:FILE")
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(architecture, pretrained=weights, device=device)
        tokens = open_clip.get_tokenizer(architecture)
    except Exception as error:  # OpenCLIP's, the hub's and torch's own kinds are many
        line = " ".join(str(error).split())[:200]
        raise NetworkError(f"--encoder {name}: its weights {weights} cannot be loaded ({line})") from None
    said = hashlib.sha256(f"{architecture} {preprocess} {digest_of(model.state_dict())}".encode()).hexdigest()
    return OpenClip(model.eval(), preprocess, tokens, device), said


def _open_clip(name: str) -> Any:
    try:
        import_torchvision()  # first, as it may need help to be imported at all
        return importlib.import_module("open_clip")
    except ImportError:
        raise NetworkError(f"--encoder {name}: needs OpenCLIP; pip install 'neuron-atlas[clip]'") from None
