"""What a network's logits say of images, beside the classes that the images have: one each, or a list of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from atlas.arrays import Floats, Ints

Judged = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]
"""The class predicted (-1 for none), its probability, the loss (NaN for none) of each image."""


@dataclass(frozen=True)
class Labelled:
    """The classes of images: `classes` (labels,), -1 for none, of the images `of` (labels,), which ascend.

    Where images have one class each, labels and images are the same. `several`: they have lists; `known` (images,):
    whether an image has one, which may be empty.
    """

    classes: Ints
    of: Ints
    known: NDArray[np.bool_]
    several: bool = False

    @staticmethod
    def of_rows(rows: pa.Table) -> Labelled:
        """Of rows with the columns `class_id` and `class_ids`, as the manifest and the table of images have them."""
        lists = pa.chunked_array(rows.column("class_ids")).combine_chunks()
        if lists.null_count == len(lists):
            ids = rows.column("class_id").fill_null(-1).to_numpy().astype(np.int64)
            return Labelled(ids, np.arange(len(ids)), ids >= 0)
        lengths = lists.value_lengths().fill_null(0).to_numpy()
        known = lists.is_valid().to_numpy(zero_copy_only=False)
        return Labelled(
            lists.flatten().to_numpy().astype(np.int64), np.repeat(np.arange(len(lists)), lengths), known, True
        )

    @property
    def single(self) -> Ints:
        """The class of each image; -1 where it has none, or a list."""
        return np.full(len(self.known), -1) if self.several else self.classes

    def take(self, index: Ints) -> Labelled:
        """Of the images `index`, which ascend."""
        place = np.full(len(self.known), -1)
        place[index] = np.arange(len(index))
        kept = place[self.of] >= 0
        return Labelled(self.classes[kept], place[self.of[kept]], self.known[index], self.several)

    def none(self) -> Labelled:
        """Of the same images without their classes: what a network that gives features is asked about."""
        return Labelled(np.full(len(self.known), -1), np.arange(len(self.known)), np.zeros_like(self.known))


def judge(logits: Floats, labels: Labelled) -> Judged:
    """Of logits (images, classes): the class of the largest one, its probability, and the loss.

    Of one class an image: the softmax, and the cross entropy in nat. Of lists, where classes do not exclude each
    other: the sigmoid, and the binary cross entropy, as its mean over the classes. A class that the network does not
    have counts for nothing.
    """
    found, probability, loss = unjudged(len(logits))
    if not len(logits):
        return found, probability, loss
    scores = torch.from_numpy(logits).double()
    best, predicted = scores.max(1)
    there = (labels.classes >= 0) & (labels.classes < logits.shape[1])
    of, classes = labels.of[there], labels.classes[there]
    if labels.several:
        positive = np.zeros(len(logits))
        np.add.at(positive, of, scores.numpy()[of, classes])
        each = (torch.nn.functional.softplus(scores).sum(1).numpy() - positive) / logits.shape[1]
        loss[labels.known] = each[labels.known]
        return predicted.int().numpy(), best.sigmoid().float().numpy(), loss
    log_softmax = torch.log_softmax(scores, 1)
    loss[of] = -log_softmax.numpy()[of, classes]
    return predicted.int().numpy(), log_softmax.amax(1).exp().float().numpy(), loss


def unjudged(images: int) -> Judged:
    """What a network without classes says of images."""
    nothing = np.full(images, np.nan, np.float32)
    return np.full(images, -1, np.int32), nothing, nothing.copy()


def average_precision(scores: Floats, labels: Labelled) -> list[float | None]:
    """The average precision of each class over the images with a list: the precision at each image that has the class,
    images by falling score, ties at once, and their mean; None for a class that no image has, or that is no logit.

    `scores` (images, classes).
    """
    from sklearn.metrics import average_precision_score

    images = int(labels.known.sum())
    place = np.cumsum(labels.known) - 1
    found: list[float | None] = []
    for number in range(scores.shape[1]):
        true = np.zeros(images, bool)
        true[place[labels.of[labels.classes == number]]] = True
        value = average_precision_score(true, scores[labels.known, number]) if true.any() else None
        found.append(None if value is None else float(value))
    return found


def accuracy(labels: Labelled, predicted: NDArray[np.int32] | None, scores: Floats) -> dict[str, object]:
    """How right a network is, as `atlas.json` says it. `predicted` (images,); None where it gives features.

    `top1`: the share of images with a class whose largest logit is of it. Of images with lists of classes there is no
    such share: `mean_average_precision`, over the classes that occur, and `average_precision` of each.
    """
    if predicted is None:
        return {"top1": None, "images": 0}
    if labels.several:
        each = average_precision(scores, labels)
        there = [value for value in each if value is not None]
        mean = float(np.mean(there)) if there else None
        return {
            "top1": None, "images": int(labels.known.sum()), "mean_average_precision": mean, "average_precision": each,
        }  # fmt: skip
    right = predicted[labels.known] == labels.single[labels.known]
    return {"top1": float(right.mean()) if len(right) else None, "images": len(right)}
