"""What crosses the network: a build from a bucket into a bucket, every call counted, and what passes through Ray.

    python -m bench.traffic

Printed: how often each image was read in scan and harvest, bytes read and written by kind, and the largest thing that
went through Ray's object store, beside a chunk's partial result.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atlas.store.files import Folder
from jobs import build as building
from jobs import cluster
from jobs.pool import Pool
from tests import tiny
from tests.flaky import flaky_store


class Counted(Pool):
    """A pool that weighs what goes to its actors and what comes back."""

    sizes: dict[str, list[int]] = {"sent": [], "returned": []}  # noqa: RUF012 - one count for the whole bench

    def run(self, chunks: Iterable[int], submit: Any, on_done: Any, *rest: Any, **named: Any) -> None:  # type: ignore[override]
        """As the pool's, weighing."""

        def weighed(outcome: Any) -> None:
            self.sizes["returned"].append(len(pickle.dumps(outcome)))
            on_done(outcome)

        def sent(actor: Any, chunk: int) -> Any:
            for cell in submit.__closure__ or ():
                if isinstance(cell.cell_contents, list):  # the winners of the harvest, a table a chunk
                    self.sizes["sent"].append(len(pickle.dumps(cell.cell_contents[chunk].given)))
            return submit(actor, chunk)

        super().run(chunks, sent, weighed, *rest, **named)


def main() -> None:
    """Builds the tiny data set of the tests over a counting store, and prints the counts."""
    os.environ.update(
        AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary, flaky_store(0, 0) as (address, store):
        os.environ["AWS_ENDPOINT_URL"] = address
        root = tiny.write_inputs(Path(temporary))
        from pyarrow import fs

        fs.S3FileSystem(
            endpoint_override=address.partition("://")[2], scheme="http", allow_bucket_creation=True
        ).create_dir("traffic")
        sources = Folder("s3://traffic/images")
        for path in sorted((root / "images").rglob("*.*")):
            sources.put(str(path.relative_to(root / "images")), path.read_bytes())
        store.log.clear()
        store.sizes.clear()
        cluster.Pool = Counted  # type: ignore[misc]
        settings = tiny.settings(root, images=("s3://traffic/images",), out="s3://traffic/out", workers="2")
        building.build(settings)
        reads = Counter(
            path for line in store.log for kind, path in [line.split(" ", 1)] if kind == "GET" and "/images/" in path
        )
        # Once in the scan; an example once more in the harvest, and a few again for the sanity check.
        print(f"{len(reads)} images, read {sum(reads.values())} times: {dict(Counter(reads.values()))} by times")
        partial = max(
            (int(size) for line, size in store.sizes if line.startswith("PUT") and "/work/scan/" in line), default=0
        )
        written: Counter[str] = Counter()
        for line, size in store.sizes:
            if line.startswith("PUT"):
                written[line.split("/out/")[-1].split("/")[0]] += size
        print("bytes written: " + ", ".join(f"{name} {size:,}" for name, size in written.most_common(8)))
        print(
            "through Ray: "
            + ", ".join(
                f"{sum(each):,} bytes {name} (largest {max(each)})" for name, each in Counted.sizes.items() if each
            )
            + "; "
            f"a chunk's partial result is up to {partial:,} bytes"
        )


if __name__ == "__main__":
    main()
