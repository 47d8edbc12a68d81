"""An encoder from a user's own file: a function without arguments that gives an object with `images` and `texts`."""

from __future__ import annotations

import hashlib
from typing import Any

from atlas.errors import NetworkError
from atlas.network.sources import of_file


def make(name: str, device: str) -> tuple[Any, str]:
    """What the file's function gives, on the device if it is a module, and its digest. Raises `NetworkError`."""
    body = of_file.read(name, "--encoder")
    made, digest = of_file.run(name, body, "--encoder")
    absent = [method for method in ("images", "texts") if not callable(getattr(made, method, None))]
    if absent:
        raise NetworkError(
            f"--encoder {name}: gave a {type(made).__name__} without {absent[0]}(), expected images() and texts()"
        )
    if hasattr(made, "state_dict"):
        from atlas.network.load import digest_of

        digest = hashlib.sha256(f"{digest} {digest_of(made.state_dict())}".encode()).hexdigest()
        made = made.to(device)
    return made, digest
