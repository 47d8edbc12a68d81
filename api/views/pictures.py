"""Pictures as image files: one of a pack, and an image whole, small or large."""

from __future__ import annotations

from api.http.errors import ApiError
from api.http.params import integer
from api.http.respond import Answer
from api.views.call import Call
from api.views.view import View

MEDIA = ("image/png", "image/jpeg", "image/webp")


def _picture(call: Call) -> Answer:
    offset, gap, length = call.path["place"].partition("-")
    if not gap:
        raise ApiError(422, f"picture {call.path['place'][:50]!r}: expected {{offset}}-{{length}}")
    place = call.path["pack"], integer("offset", offset), integer("length", length)
    return _file(call, *place)


def _thumbnail(call: Call) -> Answer:
    return _of_image(call, "thumbnail")


def _whole(call: Call) -> Answer:
    return _of_image(call, "picture")


def _of_image(call: Call, which: str) -> Answer:
    row = call.say.store.images.get(call.number("image_id"))
    place = row.thumbnail if which == "thumbnail" else row.picture
    if place.pack is None:
        raise ApiError(404, f"image {row.image_id} has no {which}: {place.why}")
    return _file(call, place.pack, place.offset, place.length)


def _file(call: Call, pack: str, offset: int, length: int) -> Answer:
    part = call.path.get("part")
    packs = call.say.store.packs if part is None else call.say.store.parts.packs(part)
    if not call.say.pictures:
        raise ApiError(403, "pictures are not served: this service was started with --no-pictures")
    body, media_type = packs.read(pack, offset, length)
    return Answer(body, media_type, cache=call.say.immutable)


PICTURE = View(
    "picture", "/pictures/{pack}/{place}", "One picture; immutable", _picture, None, media=MEDIA, tag="pictures"
)
OF_PART = View(
    "part_picture", "/parts/{part}/pictures/{pack}/{place}", "One picture of a part; immutable", _picture, None,
    media=MEDIA, tag="pictures",
)  # fmt: skip
THUMBNAIL = View(
    "thumbnail", "/images/{image_id}/thumbnail", "An image, small; immutable", _thumbnail, None, media=MEDIA,
    tag="pictures",
)  # fmt: skip
WHOLE = View(
    "whole", "/images/{image_id}/picture", "An image, large enough to draw a field on; immutable", _whole, None,
    media=MEDIA, tag="pictures",
)  # fmt: skip
