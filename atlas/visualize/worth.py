"""What pictures are worth, from features alone: whether repeats agree, and whether a picture helps one to choose.

choice      The two-choice test of Borowski et al. 2021, with features for people (as Zimmermann et al. 2024 do): of two
            held-out images, one of the upper and one of the lower half of those of side `spread`, which drives the
            neuron more? The picture answers by its inner product with each, after the mean over all neurons' pictures
            was taken away: raw distances are biased both ways, as all pictures of a kind lie on one side of all images.
agreement   How often the picture nearest to a repeat, among all other repeats of the layer, is its own neuron's.

Features are divided by their deviation over all that is compared, so that no channel speaks for all.
"""

from __future__ import annotations

import numpy as np

from atlas.arrays import Doubles, Floats, Ints


def scaled(parts: list[Floats]) -> list[Doubles]:
    """Features (…, D) divided by their deviation over the rows of all parts; those that never vary count nothing."""
    rows = np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts]).astype(np.float64)
    deviation = rows.std(0)
    keep = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    return [part.astype(np.float64) * keep for part in parts]


def choice(references: Doubles, held_out: Doubles) -> Doubles:
    """The share of right answers (N,), 0.5 is chance; a tie is half an answer.

    `references` (N, D): each neuron's picture, or mean of pictures. `held_out` (N, M, D): images by falling response.
    """
    centred = references - references.mean(0)
    scores = np.einsum("nd,nmd->nm", centred, held_out)
    half = held_out.shape[1] // 2
    upper, lower = scores[:, :half, None], scores[:, None, -half:]
    return np.asarray(((upper > lower) + 0.5 * (upper == lower)).mean((1, 2)))


def agreement(pictures: Doubles, owners: Ints, repeats: Ints) -> Doubles:
    """For each picture (N, D) 1.0 where the nearest one of another repeat is of the same owner, else 0.0.

    `owners` (N,): a number a neuron and sign; `repeats` (N,). Ties go to the earlier picture. NaN without others.
    """
    squares = (pictures**2).sum(1)
    out = np.full(len(pictures), np.nan)
    for row, picture in enumerate(pictures):
        other = np.flatnonzero(repeats != repeats[row])
        if len(other) and (owners[other] == owners[row]).any():
            distances = squares[other] - 2 * pictures[other] @ picture
            out[row] = owners[other[int(np.argmin(distances))]] == owners[row]
    return out
