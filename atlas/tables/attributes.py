"""Part `attributes`: what the network finds hard, as tables."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import IMAGE, column, schema
from atlas.tables.registry import Table, image

PART = "attributes"
MEASURED = {
    "brightness": "mean luma (BT.601), 0 to 1",
    "contrast": "standard deviation of luma, 0 to 0.5 (RMS contrast, Peli 1990)",
    "colourfulness": "spread and mean of red-green and yellow-blue (Hasler & Suesstrunk 2003), in 256ths",
    "hue": "direction of the mean colour in the hexagon of hues, radian, 0 is red; undefined within 1/255 of grey",
    "edge_density": "share of inner pixels where luma changes by more than a tenth of its range in a pixel",
    "edge_orientation": "direction along the edges, radian in [0, pi), 0 is horizontal, counted from x towards y "
    "(down), from the structure tensor; undefined where no direction prevails",
    "spatial_frequency": "root mean square frequency of luma, cycles a pixel; undefined in a flat image",
    "width": "width of the image as stored, pixel",
    "height": "height of the image as stored, pixel",
    "aspect": "width / height of the image as stored",
}
"""What the scan measures of each image of the response sample, with its meaning and unit."""
ANGLES = {"hue": 1, "edge_orientation": 2}
"""Those that are angles, with the number of times the angle's values repeat in a turn (an edge is axial)."""
_ATTRIBUTE = column("attribute", pa.string(), "a measured property, or a column of the user's table")
_N = column("n", pa.int64(), "images with a class, a prediction and a value")

ACCURACY = Table(
    "accuracy",
    "atlas",
    "accuracy and loss in each bin of each attribute; attribute '(all)' is every image with a class",
    schema(
        _ATTRIBUTE,
        column("bin", pa.int32(), "order of the bin, from 0"),
        column(
            "low", pa.float64(), "numbers: smallest value; angles: start of the sector", "the attribute's", null=True
        ),
        column("high", pa.float64(), "numbers: largest value; angles: end of the sector", "the attribute's", null=True),
        column("value", pa.string(), "words: the word", null=True),
        _N,
        column("top1", pa.float64(), "share of them that the network takes for what they are"),
        column("top1_low", pa.float64(), "lower end of its 95 % interval (Wilson 1927)"),
        column("top1_high", pa.float64(), "upper end of its 95 % interval"),
        column(
            "top1_within_class",
            pa.float64(),
            "accuracy had every bin the same mix of classes (least squares with an effect a class); null where too few "
            "images share their class with other bins",
            null=True,
        ),
        column("loss", pa.float64(), "mean cross entropy", "nat", null=True),
        column("answered", pa.int64(), "images that people answered too", null=True),
        column("human_top1", pa.float64(), "share of the answered that people take for what they are", null=True),
        column("answered_top1", pa.float64(), "the network's share of the same images", null=True),
        column("agreement", pa.float64(), "share of the answered where both say the same class", null=True),
        column("only_network", pa.float64(), "share of the answered where the network alone is right", null=True),
        column("only_human", pa.float64(), "share of the answered where people alone are right", null=True),
    ),
    key=("attribute", "bin"),
    part=PART,
)
ATTRIBUTES = Table(
    "attributes",
    "atlas",
    "whether accuracy depends on an attribute, and how much",
    schema(
        _ATTRIBUTE,
        column("kind", pa.string(), "number, angle or words"),
        _N,
        column("effect", pa.float64(), "Cramer's V of being right with the bin, corrected for bias; 0 to 1", null=True),
        column("p", pa.float64(), "p of the Cochran-Mantel-Haenszel test of that", null=True),
        column("significant", pa.bool_(), "p is below 0.05 when allowed for all attributes (Holm 1979)"),
        column("within_class", pa.bool_(), "tested within classes; else over all images, as too few share a class"),
        column("why", pa.string(), "why there is no test", null=True),
    ),
    key=("attribute",),
    part=PART,
)
DIFFERENCES = Table(
    "class_differences",
    "class",
    "in which attributes a class's wrongly taken images differ from the others",
    schema(
        column("class_id", pa.int32(), "class"),
        _ATTRIBUTE,
        _N,
        column("wrong", pa.int64(), "of them taken for another class"),
        column(
            "right_value", pa.float64(), "median over those taken rightly; angles: circular mean", "the attribute's"
        ),
        column(
            "wrong_value", pa.float64(), "median over those taken wrongly; angles: circular mean", "the attribute's"
        ),
        column(
            "effect",
            pa.float64(),
            "rank-biserial correlation, -1 to 1: above 0, wrongly taken images have more of it; angles: "
            "circular-linear correlation, 0 to 1",
        ),
        column("p", pa.float64(), "p of Mann and Whitney's test; angles: of the circular-linear correlation"),
        column("significant", pa.bool_(), "q below 0.05 over all classes and attributes (Benjamini & Hochberg 1995)"),
    ),
    key=("class_id", "attribute"),
    part=PART,
)
ANSWERS = Table(
    "answers",
    "image",
    "what people answered",
    schema(IMAGE, column("answer", pa.int32(), "the class that people named")),
    key=("image_id",),
    references=(image(),),
    part=PART,
)
