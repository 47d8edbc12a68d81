"""Everything the service answers: VIEWS, a thing each, and SECTIONS, what pages of things add of a table or a part.

To add a page or a route, write a file with its model, its builder and its `View`, and name it here. To add a section,
write a file under `sections/` with its model, its builder and its `Section`, and name it here. JSON, OpenAPI, pages,
the static site and the README's list of routes follow.
"""

from __future__ import annotations

from api.views import (
    atlas,
    attributes,
    class_,
    classes,
    comparisons,
    connections,
    filters,
    image,
    images,
    layer,
    layers,
    maps,
    neighbours,
    neuron,
    parts,
    pictures,
    probe,
    probe_more,
    quarantine,
    sanity,
    search,
    words,
)  # fmt: skip
from api.views.sections import adversarial, inversions, visualizations
from api.views.sections import attributes as attributed
from api.views.sections import compare as compared
from api.views.sections import connections as connected
from api.views.sections import localization as localized
from api.views.sections import words as of_words
from api.views.view import Section, View

VIEWS: tuple[View, ...] = (
    pictures.PICTURE,
    pictures.OF_PART,
    pictures.THUMBNAIL,
    pictures.WHOLE,
    neuron.VIEW,
    neighbours.VIEW,
    connections.VIEW,
    image.VIEW,
    images.VIEW,
    layer.NEURONS,
    filters.VIEW,
    layer.LAYER,
    layers.VIEW,
    class_.VIEW,
    classes.VIEW,
    maps.VIEW,
    search.VIEW,
    words.VIEW,
    attributes.VIEW,
    comparisons.FLIPS,
    comparisons.ONE,
    comparisons.WALLS,
    quarantine.VIEW,
    sanity.VIEW,
    parts.ONE,
    parts.VIEW,
    neighbours.OF_CODE,
    probe.VIEW,
    probe_more.PICTURE,
    probe_more.OF_EXAMPLE,
    probe_more.PLACES,
    probe_more.ACCURACY,
    atlas.VIEW,
)
"""In the order in which addresses are tried: those asked for most come first."""

SECTIONS: tuple[Section, ...] = (
    compared.NEURON,
    compared.ATLAS,
    attributed.ATLAS,
    attributed.CLASS,
    of_words.NEURON,
    of_words.CLASS,
    of_words.LAYER,
    connected.NEURON,
    connected.ADDITIVITY,
    connected.REMOVALS,
    connected.ATLAS,
    localized.IMAGE,
    localized.CLASS,
    localized.ATLAS,
    visualizations.NEURON,
    visualizations.CLASS,
    visualizations.LAYER,
    inversions.IMAGE,
    adversarial.IMAGE,
    adversarial.MARGINS,
    adversarial.CARRIERS,
    adversarial.LAYER,
    inversions.ATLAS,
)
"""In the order in which pages show them."""
