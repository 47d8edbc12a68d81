"""Accuracy before and after a change, over some images of the atlas: an edit of the image, or neurons taken out."""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.errors import InputError
from probe import originals
from probe.answer import see
from probe.edits import edited
from probe.forward import forward
from probe.protocol import Asked
from probe.subjects import Subject


class Tally:
    """Counts `n` images that have a class, drawn by the atlas's seed. Raises `InputError` where there are none."""

    def __init__(self, subject: Subject, asked: Asked, n: int) -> None:
        self._subject, self._asked = subject, asked
        self._ablation = subject.values(asked.ablate, asked.to)
        self._layers = [subject.layer(name) for name in self._ablation]
        sql = "SELECT image_id, class_id FROM images WHERE class_id IS NOT NULL ORDER BY image_id"
        rows = subject.atlas.query(sql).fetchall()
        if not subject.classes or not rows:
            raise InputError("accuracy: the atlas has no classes")
        chosen = np.sort(np.random.default_rng(subject.settings.seed).permutation(len(rows))[:n])
        self.images: list[tuple[int, int]] = [rows[i] for i in chosen.tolist()]
        self._before = self._after = self._counted = self._same = 0
        self._left_out = 0
        self._sources: dict[str, int] = {}

    def count(self, image_id: int, class_id: int) -> None:
        """Takes in one image; one that cannot be edited (it has no object) is left out, and counted."""
        body, source = originals.image(self._subject, image_id)
        pixels = see(self._subject, body).pixels
        try:
            changed = pixels if self._asked.edit is None else edited(self._subject, pixels, self._asked.edit)
        except InputError:
            self._left_out += 1
            return
        call, module = self._subject.session.call, self._subject.session.module
        before = int(forward(module, call(pixels[None], [0]), []).logits[0].argmax())
        inputs = call(changed[None], [0])
        after = int(forward(module, inputs, self._layers, ablation=self._ablation).logits[0].argmax())
        self._counted += 1
        self._before += before == class_id
        self._after += after == class_id
        self._same += before == after
        self._sources[source] = self._sources.get(source, 0) + 1

    def told(self) -> dict[str, Any]:
        """n, accuracy before and after, share whose prediction stays, and how many could not be edited."""
        n = max(self._counted, 1)
        return {
            "n": self._counted,
            "before": self._before / n,
            "after": self._after / n,
            "same": self._same / n,
            "left_out": self._left_out,
            "from_frames": self._sources.get(originals.FRAME, 0),
        }
