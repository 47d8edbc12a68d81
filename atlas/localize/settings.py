"""Options of the part `localization`, and the names of its methods."""

from __future__ import annotations

from dataclasses import dataclass

from atlas import options
from atlas.options import option

METHODS = (
    "saliency_grabcut", "saliency", "gradcam", "occlusion", "occlusion_probability", "centre", "gaussian_grabcut",
    "shuffled", "shuffled_saliency",
)  # fmt: skip
"""How boxes are made. saliency_grabcut: the colours that class saliency marks, cut; saliency, gradcam, occlusion: where
such a map is high (occlusion_probability: of the class's probability in place of its score). Without the network:
centre, a box in the middle; gaussian_grabcut, a Gaussian in the middle in place of the saliency. With a network of
shuffled weights: shuffled (as saliency_grabcut) and shuffled_saliency (as saliency)."""
USUAL = {"saliency": 0.05, "shuffled_saliency": 0.2, "centre": 0.8, "gradcam": 0.3, "occlusion": 0.5,
         "occlusion_probability": 0.5}  # fmt: skip
"""Levels of methods that have one, where no true boxes choose them."""
CONTROLS = (
    ("saliency_grabcut", "gaussian_grabcut"), ("saliency_grabcut", "shuffled"), ("saliency_grabcut", "centre"),
    ("saliency", "shuffled_saliency"), ("saliency", "centre"), ("gradcam", "centre"), ("occlusion", "centre"),
)  # fmt: skip
"""Which methods are compared with which."""


@dataclass(frozen=True)
class LocalizationSettings:
    """What `add localization` takes."""

    boxes: str | None = option(
        None, "true boxes: a table (key, left, top, right, bottom), ImageNet's XML folder or its CSV", contents="file"
    )
    sample: int = option(0, "images, chosen by their content, and those with boxes; 0: all", low=0, high=10**9)
    occlusion: int = option(16, "images of these whose occlusion maps are made, those with boxes first", low=0,
                            high=10**6)  # fmt: skip
    seed: int = option(0, "of what is drawn at random", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        options.check(self)
