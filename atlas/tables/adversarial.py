"""What fools the network, how little it needs, and which neurons carry the change."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import IMAGE, NEURON, column, picture, schema
from atlas.tables.registry import Table, image, neuron

_ATTACK = "linf, l2, fooling; noise (uniform, in L∞) and noise_l2 (Gaussian) beside them"
_TARGET = column("target_class", pa.int32(), "the class it was driven to; null: away from the image's own", null=True)
ADVERSARIAL = Table(
    "adversarial",
    "image",
    "images changed a little, and noise, that the network takes for something else",
    schema(
        column("image_id", pa.int64(), "the image; null: from noise", null=True),
        column("attack", pa.string(), _ATTACK),
        _TARGET,
        column("epsilon", pa.float32(), "bound of the change, of values 0 to 1 (l2, noise_l2: Euclidean norm over the "
               "input); null from noise", null=True),
        column("smallest", pa.bool_(), "the smallest change of its attack that was found to succeed"),
        column("predicted", pa.int32(), "class of the stored picture, run again"),
        column("probability", pa.float32(), "softmax of that class"),
        column("success", pa.bool_(), "the stored picture is taken for the target, or for another class than its own"),
        picture("picture", "lossless, as large as the network's input"),
    ),
    key=("image_id", "attack", "target_class", "epsilon"),
    references=(image(),),
    part="adversarial",
)  # fmt: skip
MARGINS = Table(
    "margins",
    "image",
    "the smallest change of each image that was found to be taken for something else",
    schema(
        IMAGE,
        column("attack", pa.string(), "linf or l2"),
        column("epsilon", pa.float32(), "as in `adversarial`; null where none was found", null=True),
    ),
    key=("image_id", "attack"),
    references=(image(),),
    part="adversarial",
)
CARRIERS = Table(
    "carriers",
    "neuron",
    "how far each neuron's response moves under an attack, and under noise of the same bound",
    schema(
        *NEURON,
        column("attack", pa.string(), "linf or noise"),
        column("change", pa.float32(), "mean over the images of the size of the change of the response (side max), in "
               "its deviations over the data"),
    ),
    key=("layer", "channel", "attack"),
    references=(neuron(),),
    part="adversarial",
)  # fmt: skip
