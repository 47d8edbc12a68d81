"""Kinds of picture that draw a neuron back into an image: what each is, where it is defined, and who draws it.

To add a kind, write its file and name it here: pictures, evidence, trust, sanity, pages and documentation follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    `scale`: what its values mean. signed: around mid-grey; magnitude: from black; heat: from a fall (yellow) over no
    change (grey) to a rise (blue). `defined`: for which networks, in words. `tested`: whether its pictures are put to
    the test (evidence, trust, sanity). `asked`: whether `--projections` may name it; `default`: whether it is drawn
    when nothing is said; `beside`: the kind that it is drawn along with. `whole`: whether it needs the whole image,
    where a crop of the neuron's field would give something else.

    `drawn_by`: the module that draws it, as `atlas.explain.backward.Drawer` says; `atlas.explain.rules` for the ways
    back through rectifiers, which share one forward pass.
    """

    name: str
    label: str
    source: str
    scale: Literal["signed", "magnitude", "heat"]
    defined: str
    about: str
    drawn_by: str
    tested: bool = True
    asked: bool = True
    default: bool = True
    beside: str | None = None
    whole: bool = False


KINDS: tuple[Kind, ...] = (
    Kind(
        "deconvnet",
        "Deconvnet",
        "Zeiler & Fergus 2014",
        "signed",
        "networks of rectifiers",
        "what a rectified signal, sent backwards through the network, draws",
        "atlas.explain.rules",
    ),
    Kind(
        "guided",
        "Guided backprop",
        "Springenberg et al. 2015",
        "signed",
        "networks of rectifiers",
        "the gradient, clipped at each rectifier by both the signal and the response",
        "atlas.explain.rules",
    ),
    Kind(
        "gradient",
        "Gradient",
        "Simonyan et al. 2014",
        "signed",
        "all networks that can be differentiated",
        "how the response changes with each pixel",
        "atlas.explain.rules",
    ),
    Kind(
        "gradient_max",
        "Saliency",
        "Simonyan et al. 2014",
        "magnitude",
        "all networks that can be differentiated",
        "channel maximum of the absolute gradient",
        "atlas.explain.rules",
        tested=False,
        asked=False,
        beside="gradient",
    ),
    Kind(
        "lrp",
        "Relevance",
        "Bach et al. 2015, Achtibat et al. 2024",
        "signed",
        "all networks that can be differentiated",
        "how much of the response each pixel accounts for, layer by layer (LRP-ε, AttnLRP)",
        "atlas.explain.lrp",
        default=False,
    ),
    Kind(
        "gradcam",
        "Grad-CAM",
        "Selvaraju et al. 2017",
        "magnitude",
        "layers that read a map larger than 1 x 1",
        "where the maps that the neuron reads are active, each weighed by its mean gradient",
        "atlas.explain.gradcam",
        default=False,
        whole=True,
    ),
    Kind(
        "occlusion",
        "Occlusion",
        "Zeiler & Fergus 2014",
        "heat",
        "all networks",
        "how far the response falls where a grey square hides the image",
        "atlas.explain.occlusion",
        tested=False,
        asked=False,
        default=False,
    ),
)

BY_NAME = {kind.name: kind for kind in KINDS}
PROJECTIONS: tuple[str, ...] = tuple(kind.name for kind in KINDS if kind.asked)
"""Kinds that `--projections` may name."""
DEFAULT: tuple[str, ...] = tuple(kind.name for kind in KINDS if kind.asked and kind.default)
TESTED: tuple[str, ...] = tuple(kind.name for kind in KINDS if kind.tested)
SHOWN: tuple[str, ...] = tuple(kind.name for kind in KINDS)
"""All kinds, in the order in which pages show them."""
