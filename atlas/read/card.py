"""What a packed atlas says of itself to others: a dataset card as the Hugging Face Hub reads it, and Croissant.

Both follow from the registry of tables: a table is a config and a record set, a column a field with meaning and unit.
Croissant: MLCommons Croissant Format 1.0. Structs and lists are given as text, as it has no such fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from atlas import tables
from atlas.store.files import Folder
from atlas.tables import Table

README, CROISSANT = "README.md", "croissant.json"
_TYPES = (
    (pa.types.is_boolean, "sc:Boolean"), (pa.types.is_integer, "sc:Integer"), (pa.types.is_floating, "sc:Float"),
)  # fmt: skip
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "key": "cr:key",
    "md5": "cr:md5",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "repeated": "cr:repeated",
    "sc": "https://schema.org/",
    "source": "cr:source",
    "transform": "cr:transform",
}


def _there(folder: Folder, parts: Mapping[str, str]) -> list[tuple[str, str, Table]]:
    """Name, path and table of each table that is there; `parts`: name of a sealed part -> its kind."""
    sizes = folder.sizes()
    found = [("", table) for table in tables.of_part(None)]
    found += [(name, table) for name in sorted(parts) for table in tables.of_part(parts[name])]
    named = [
        (f"{part}.{table.name}" if part else table.name, f"parts/{part}/{table.path}" if part else table.path, table)
        for part, table in found
    ]
    return [each for each in named if each[1] in sizes or any(path.startswith(f"{each[1]}/") for path in sizes)]


def card(folder: Folder, about: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    """README.md: YAML with a config a table, then what the atlas is."""
    counts, network = about.get("counts") or {}, (about.get("network") or {}).get("name")
    configs = [
        {"config_name": name.replace("@", "-"), "data_files": f"{path}/*.parquet" if table.files else path}
        for name, path, table in _there(folder, parts)
    ]
    head = {"pretty_name": f"neuron-atlas: {about.get('name')}", "tags": ["interpretability", "neuron-atlas"]}
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "configs:"]
    for config in configs:
        lines += [f"- config_name: {json.dumps(config['config_name'])}"]
        lines += [f"  data_files: {json.dumps(config['data_files'])}"]
    lines += [
        "---",
        "",
        f"# {_plain(about.get('name'))}",
        "",
        f"What each neuron of the network {_plain(network)} sees over {counts.get('images', 0):,} images: "
        f"{counts.get('neurons', 0):,} neurons in {counts.get('layers', 0)} layers, with the images that drive them, "
        "pictures that draw them back into the image, and the numbers that say how far these can be trusted.",
        "",
        f"Digest `{about.get('digest')}`. Read it with `neuron-atlas serve`, or `atlas.open(...)` in Python.",
        "",
        "| table | a row | says |",
        "|---|---|---|",
        *(f"| `{name}` | {', '.join(table.key)} | {table.meaning} |" for name, _, table in _there(folder, parts)),
        "",
    ]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    """Text of the atlas in Markdown: one line, nothing of it markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!" else c for c in " ".join(str(value).split()))


def croissant(
    folder: Folder, about: Mapping[str, Any], parts: Mapping[str, str], sums: Mapping[str, str]
) -> dict[str, Any]:
    """croissant.json. `sums`: SHA-256 of each file, by path."""
    files: list[dict[str, Any]] = []
    records = []
    for name, path, table in _there(folder, parts):
        whole = name.replace("@", "-")
        if table.files:
            files.append({"@type": "cr:FileSet", "@id": f"file-{whole}", "name": f"file-{whole}",
                          "encodingFormat": "application/x-parquet", "includes": f"{path}/*.parquet"})  # fmt: skip
        else:
            files.append({"@type": "cr:FileObject", "@id": f"file-{whole}", "name": f"file-{whole}",
                          "encodingFormat": "application/x-parquet", "contentUrl": path,
                          "sha256": sums[path]})  # fmt: skip
        records.append(_records(whole, table))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": str(about.get("name")),
        "description": f"A neuron atlas of {(about.get('network') or {}).get('name')}; digest {about.get('digest')}",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "datePublished": str(about.get("created")),
        "version": "1.0.0",
        "distribution": files,
        "recordSet": records,
    }


def _records(name: str, table: Table) -> dict[str, Any]:
    source = {"fileSet" if table.files else "fileObject": {"@id": f"file-{name}"}}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{field.name}",
            "name": f"{name}/{field.name}",
            "description": _said(field),
            "dataType": next((said for test, said in _TYPES if test(field.type)), "sc:Text"),
            "source": {**source, "extract": {"column": field.name}},
        }
        for field in table.columns
    ]
    key = [{"@id": f"{name}/{column}"} for column in table.key]
    named = {"@type": "cr:RecordSet", "@id": name, "name": name}
    return {**named, "description": table.meaning, "key": key, "field": fields}


def _said(field: pa.Field) -> str:
    """A column's meaning, and its unit."""
    about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    unit = f" [{about['unit']}]" if about.get("unit") else ""
    return f"{about.get('meaning', field.name)}{unit}"
