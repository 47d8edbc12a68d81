"""Every table of an atlas and of its parts: the one list from which layout, audit, catalog and documentation follow.

To add a table, write it down in the file of its family (or in a file of its own, named for its part) and name it here.
"""

from __future__ import annotations

from atlas.tables import (
    adversarial,
    attributes,
    codes,
    compare,
    connections,
    examples,
    images,
    inversions,
    localization,
    network,
    neurons,
    occlusion,
    relations,
    visualizations,
    words,
)
from atlas.tables.registry import Reference, Rule, Table

TABLES: tuple[Table, ...] = (
    images.IMAGES,
    images.QUARANTINE,
    network.LAYERS,
    neurons.NEURONS,
    examples.EXAMPLES,
    examples.EXPLANATIONS,
    examples.TRUST,
    neurons.CLASSES,
    neurons.RESPONSES,
    codes.CODES,
    codes.MAP,
    relations.SIMILAR,
    relations.NEAR_MISSES,
    relations.PROPERTIES,
    network.FILTERS,
    network.SANITY,
    occlusion.OCCLUSION,
    words.WORDS,
    words.EMBEDDINGS,
    connections.CONNECTIONS,
    connections.ADDITIVITY,
    connections.REMOVALS,
    connections.PATHWAYS,
    localization.LOCALIZATION,
    localization.LOCALIZATION_SCORES,
    localization.LOCALIZATION_DIFFERENCES,
    localization.SHAPE_TEXTURE,
    visualizations.VISUALIZATIONS,
    visualizations.SENSITIVITY,
    inversions.INVERSIONS,
    adversarial.ADVERSARIAL,
    adversarial.MARGINS,
    adversarial.CARRIERS,
    compare.MATCHES,
    compare.LAYERS_CKA,
    compare.FLIPS,
    compare.MOVED,
    compare.CLASS_CHANGES,
    compare.TRUST_CHANGES,
    attributes.ACCURACY,
    attributes.ATTRIBUTES,
    attributes.DIFFERENCES,
    attributes.ANSWERS,
)

BY_NAME = {table.name: table for table in TABLES}


def of_part(part: str | None) -> tuple[Table, ...]:
    """The tables of a part, by the name of its kind (`compare`, not `compare@b`); of the base for None."""
    return tuple(table for table in TABLES if table.part == part)


__all__ = ["BY_NAME", "TABLES", "Reference", "Rule", "Table", "of_part"]
