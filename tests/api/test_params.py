"""Parameters are parsed strictly; cursors belong to one list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.errors import ApiError
from api.http.params import Param, cursor, integer, mark, offset_of, parse

LIMIT = Param("limit", "int", "", 60, 1, 500)
SORT = Param("sort", "choice", "", "channel", choices=("channel", "max"))
DEAD = Param("dead", "bool", "")
Q = Param("q", "text", "", "", high=5)
KNOWN = (LIMIT, SORT, DEAD, Q)


def test_defaults_and_values() -> None:
    assert parse(b"", KNOWN) == {"limit": 60, "sort": "channel", "dead": None, "q": ""}
    found = parse(b"limit=5&sort=max&dead=false&q=a+%C3%A9", KNOWN)
    assert found == {"limit": 5, "sort": "max", "dead": False, "q": "a é"}
    assert parse(b"limit=&sort=&dead=", KNOWN)["limit"] == 60  # an unfilled field of a form


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=501", "limit=-1", "limit=+5", "limit=05", "limit=1_0", "limit=1e1", "limit=0x1", "limit=5.0",
        "limit=%D9%A3", "limit=NaN", "limit=5&limit=6", "limit=99999999999999999999999", "limit=%20" + "5", "sort=min",
        "dead=1", "dead=True", "q=abcdef", "nope=1", "limit=%ff", "%ff=1", "limit=%", "Limit=5", "q=a&q=a",
    ],
)  # fmt: skip
def test_what_is_not_canonical_is_refused(query: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(query.encode(), KNOWN)
    assert caught.value.status == 422


@given(st.integers(0, 2**53))
def test_numbers_come_back(number: int) -> None:
    assert integer("n", str(number)) == number


@given(st.text(max_size=8))
def test_any_text_is_a_canonical_number_or_refused(text: str) -> None:
    try:
        assert str(integer("n", text)) == text
    except ApiError as error:
        assert error.status == 422  # noqa: PT017


@given(st.integers(0, 2**55), st.integers(0, 2**32 - 1))
def test_a_cursor_comes_back_for_its_own_list_only(offset: int, bound: int) -> None:
    text = cursor(offset, bound)
    assert offset_of(text, bound) == offset
    with pytest.raises(ApiError):
        offset_of(text, bound ^ 1)


def test_a_cursor_is_bound_to_the_list_not_to_its_page() -> None:
    one = mark("digest", "neurons", {"sort": "max", "cursor": None, "limit": 5})
    assert one == mark("digest", "neurons", {"sort": "max", "cursor": "x", "limit": 9})
    assert one != mark("digest", "neurons", {"sort": "mean", "cursor": None, "limit": 5})
    assert one != mark("other", "neurons", {"sort": "max", "cursor": None, "limit": 5})
    for broken in ("", "A", "AAAA", "!", "AAAAAAAAAAAAAAA", "é"):
        with pytest.raises(ApiError):
            offset_of(broken, one)
