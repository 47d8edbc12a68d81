"""Attacks whose every step is a picture of 8 bits, so that what is found is what is stored.

A step moves along the gradient of the margin m: the class's logit minus the largest of the others. Untargeted, m of the
true class is lowered, and below 0 the picture is taken for something else; targeted, m of the target is raised.

linf     δ ← clip(δ − a · sign ∇m, ±ε) in whole steps of 8 bits, a = max(1, ε/4) (Goodfellow et al. 2015, iterated as
         Kurakin et al. 2017; deviations: the margin in place of the cross entropy, whose gradient vanishes where the
         network is sure; whole steps, since a fraction of one is not stored). Of all steps the best is kept, and a
         smaller ε's best counts for a larger one: success is monotone in ε and in steps.
l2       v ← v − ∇m/‖∇m‖, and δ is the largest multiple of v that, rounded to 8 bits, stays in the ball: of a small
         ball only the strongest pixels remain, as one step of 8 bits is the least there is. The smallest ε is found by
         doubling and bisection.
fooling  from noise, steps of sign ∇m by one step of 8 bits (Nguyen et al. 2015 by gradient).

All functions take and give whole numbers 0 to 255 as float tensors (N, C, h, w); rows never mix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
"""Pixels (N, C, h, w), 0 to 255, to logits (N, classes), differentiable."""
FIRST, DOUBLINGS, SEARCH = 0.1, 8, 24
"""The first L2 radius that is tried; how often it is doubled; halvings by which δ is fitted into its ball."""


@dataclass(frozen=True)
class Goal:
    """What each row (N,) is driven from, or with `targeted` to."""

    classes: Tensor
    targeted: bool

    def gain(self, scores: Tensor) -> Tensor:
        """How far each row of logits (N, classes) is where it is wanted, (N,); above 0 it is there."""
        own = scores.gather(1, self.classes[:, None])[:, 0]
        others = scores.scatter(1, self.classes[:, None], float("-inf")).amax(1)
        return own - others if self.targeted else others - own


@dataclass
class Best:
    """The best pictures so far and their gains (N,)."""

    pixels: Tensor
    gains: Tensor

    def update(self, pixels: Tensor, gains: Tensor) -> None:
        better = gains > self.gains
        self.gains = torch.where(better, gains, self.gains)
        self.pixels = torch.where(better[:, None, None, None], pixels, self.pixels)


def gradient(score: Score, goal: Goal, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Gains (N,) and their gradients. Raises `ValueError` where the network gives none."""
    with torch.inference_mode(False), torch.enable_grad():
        values = pixels.detach().clone().requires_grad_(True)
        gains = goal.gain(score(values))
        if not gains.requires_grad:
            raise ValueError("the network gives no gradient with respect to its input")
        slopes = torch.autograd.grad(gains.sum(), values)[0]
    return gains.detach(), slopes


def linf(score: Score, goal: Goal, images: Tensor, epsilon: int, steps: int, before: Best | None = None) -> Best:
    """The best picture within `epsilon` steps of 8 bits of each image; `before`: of a smaller bound."""
    best = Best(images, torch.full((len(images),), float("-inf"), device=images.device))
    if before is not None:
        best.update(before.pixels, before.gains)
    low, high = (images - epsilon).clamp_min(0), (images + epsilon).clamp_max(255)
    step, pixels = max(1, epsilon // 4), images
    for index in range(steps + 1):
        gains, slopes = gradient(score, goal, pixels)
        if index:
            best.update(pixels, gains)
        pixels = torch.minimum(torch.maximum(pixels + step * slopes.sign(), low), high)
    return best


def fitted(direction: Tensor, images: Tensor, radii: Tensor) -> Tensor:
    """`images` plus the largest multiple of `direction` that, rounded and clipped to 8 bits, has at most the norm
    `radii` (N,), of values 0 to 1."""
    size = direction.abs().flatten(1).amax(1).clamp_min(1e-30)[:, None, None, None]
    unit = direction / size
    low, high = torch.zeros_like(radii), torch.full_like(radii, 256.0)

    def moved(scale: Tensor) -> Tensor:
        return (images + (unit * scale[:, None, None, None]).round()).clamp(0, 255)

    for _ in range(SEARCH):
        middle = (low + high) / 2
        inside = norms(moved(middle), images) <= radii
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return moved(low)


def norms(pixels: Tensor, images: Tensor) -> Tensor:
    """Euclidean norms (N,) of differences, of values 0 to 1."""
    away = ((pixels - images) / 255).double().flatten(1)
    return away.square().sum(1).sqrt().to(pixels.dtype)


def l2(score: Score, goal: Goal, images: Tensor, radii: Tensor, steps: int) -> Best:
    """The best picture within a ball of `radii` (N,) about each image."""
    best = Best(images, torch.full((len(images),), float("-inf"), device=images.device))
    pixels, direction = images, torch.zeros_like(images)
    for index in range(steps + 1):
        gains, slopes = gradient(score, goal, pixels)
        if index:
            best.update(pixels, gains)
        size = slopes.flatten(1).norm(dim=1).clamp_min(1e-30)[:, None, None, None]
        direction = direction + slopes / size
        pixels = fitted(direction, images, radii)
    return best


def smallest_l2(score: Score, goal: Goal, images: Tensor, steps: int, bisections: int) -> Best:
    """The picture of the smallest norm that was found to be where it is wanted; its gain is not above 0 if none was."""
    radii = torch.full((len(images),), FIRST, device=images.device, dtype=images.dtype)
    best = Best(images, torch.full_like(radii, float("-inf")))
    least = torch.full_like(radii, float("inf"))
    low = torch.zeros_like(radii)

    def attempt() -> Tensor:
        nonlocal least
        found = l2(score, goal, images, radii, steps)
        there, size = found.gains > 0, norms(found.pixels, images)
        better = (there & (size < least)) | (~torch.isfinite(least) & (found.gains > best.gains))
        best.pixels = torch.where(better[:, None, None, None], found.pixels, best.pixels)
        best.gains = torch.where(better, found.gains, best.gains)
        least = torch.where(there & (size < least), size, least)
        return there

    for _ in range(DOUBLINGS):
        open_ = ~torch.isfinite(least)
        if not bool(open_.any()):
            break
        there = attempt()
        low = torch.where(open_ & ~there, radii, low)
        radii = torch.where(open_ & ~there, 2 * radii, radii)
    for _ in range(bisections):
        radii = torch.where(torch.isfinite(least), (low + least) / 2, radii)
        there = attempt()
        low = torch.where(~there & torch.isfinite(least), radii, low)
    return best


def fooling(score: Score, goal: Goal, noise: Tensor, steps: int) -> Best:
    """Noise made to be taken for the target; the best of all steps."""
    best = Best(noise, torch.full((len(noise),), float("-inf"), device=noise.device))
    pixels = noise
    for _ in range(steps + 1):
        gains, slopes = gradient(score, goal, pixels)
        best.update(pixels, gains)
        pixels = (pixels + slopes.sign()).clamp(0, 255)
    return best
