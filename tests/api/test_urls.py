"""The one maker of addresses: any name is one part of a path, and comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.urls import Urls, part, unpart, with_query

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(NAMES)
def test_a_name_comes_back(name: str) -> None:
    encoded = part(name)
    assert unpart(encoded) == name
    assert encoded.isascii()
    assert not set(encoded) & set('/?#\\"<> ')
    assert encoded not in (".", "..")


@pytest.mark.parametrize("broken", ["%", "%2", "%zz", "%ff", "a%c3", "%ed%a0%80"])
def test_what_is_not_utf8_in_percent_encoding_is_no_name(broken: str) -> None:
    assert unpart(broken) is None


def test_addresses_by_hand() -> None:
    urls = Urls("my atlas")
    assert urls.neuron("block.conv@2", 3) == (
        "/api/v1/atlases/my%20atlas/neurons/block.conv@2/3", "/my%20atlas/neurons/block.conv@2/3",
    )  # fmt: skip
    assert urls.layer("a/b") == ("/api/v1/atlases/my%20atlas/layers/a%2Fb", "/my%20atlas/layers/a%2Fb")
    assert urls.layer("..")[1] == "/my%20atlas/layers/%2E%2E"
    assert urls.image(7)[1] == "/my%20atlas/images/7"
    assert urls.picture("harvest-000000.tar", 512, 90).endswith("/pictures/harvest-000000.tar/512-90")
    assert with_query("/x", {"q": "a&b =", "none": None}) == "/x?q=a%26b%20%3D"
