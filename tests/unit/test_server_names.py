"""Server names: which patterns there are, and which one a name chooses, by rule and against a slow model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.wire.server_names import NameMap, check_pattern

PATTERNS = [
    "example.com",
    "www.example.com",
    "*.example.com",
    "*.static.example.com",
    "img.static.example.com",
    "*.internal",
]
LONGEST = ".".join(["a" * 62, *["a" * 63] * 2, "a" * 62])
LABELS = st.sampled_from(["a", "b", "c"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
ANY_PATTERN = st.one_of(NAMES, NAMES.map("*.{}".format))


def lookup(name: str | None, *, deep: bool) -> str | None:
    """The pattern that the name chooses."""
    return NameMap(zip(PATTERNS, PATTERNS, strict=True), deep=deep).lookup(name)


def fits(pattern: str, name: str, *, deep: bool) -> bool:
    """Whether a name is one of those that a pattern stands for."""
    if not pattern.startswith("*."):
        return name == pattern
    labels, behind = name.split("."), pattern.split(".")[1:]
    stands_for = len(labels) - len(behind)
    return labels[stands_for:] == behind and (stands_for >= 1 if deep else stands_for == 1)


def slowly(patterns: set[str], name: str, *, deep: bool) -> str | None:
    """Try every pattern; of those that fit take the exact one, else the longest."""
    fitting = [pattern for pattern in patterns if fits(pattern, name, deep=deep)]
    return max(fitting, key=lambda pattern: (not pattern.startswith("*."), pattern.count(".")), default=None)


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("www.example.com", "www.example.com"),
        ("img.static.example.com", "img.static.example.com"),
        ("mail.example.com", "*.example.com"),
        ("static.example.com", "*.example.com"),
        ("css.static.example.com", "*.static.example.com"),
        ("db.internal", "*.internal"),
        ("internal", None),
        ("com", None),
        ("example.net", None),
        ("notexample.com", None),
        (None, None),
        ("", None),
    ],
)
def test_exact_before_wildcard_and_the_longest_wildcard_first(
    name: str | None, pattern: str | None, deep: bool
) -> None:
    assert lookup(name, deep=deep) == pattern


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("a.b.example.com", "*.example.com"),
        ("a.b.static.example.com", "*.static.example.com"),
        ("a.www.example.com", "*.example.com"),
    ],
)
def test_a_wildcard_stands_for_one_label_or_for_many(name: str, pattern: str) -> None:
    assert lookup(name, deep=True) == pattern
    assert lookup(name, deep=False) is None


@pytest.mark.parametrize("name", ["WWW.Example.com", "www.example.com.", "WWW.EXAMPLE.COM."])
def test_a_name_is_found_in_any_spelling(name: str) -> None:
    assert lookup(name, deep=False) == "www.example.com"


@pytest.mark.parametrize("name", [".", ".example.com", "a..example.com", "..static.example.com", "*"])
def test_what_is_no_name_is_not_found(name: str) -> None:
    assert lookup(name, deep=True) is None


def test_patterns_are_taken_in_any_spelling() -> None:
    assert NameMap([("*.BÜCHER.example.", 1)], deep=False).lookup("www.xn--bcher-kva.example") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [("www.example.com", "WWW.example.com."), ("*.example.com", "*.Example.com")],
)
def test_a_pattern_that_comes_twice_is_refused(first: str, second: str) -> None:
    with pytest.raises(ValueError, match=r'example\.com" is there twice'):
        NameMap([(first, 1), (second, 2)], deep=True)


def test_a_name_and_the_wildcard_before_it_are_two() -> None:
    names = NameMap([("example.com", 1), ("*.example.com", 2)], deep=True)
    assert (names.lookup("example.com"), names.lookup("www.example.com")) == (1, 2)


def test_what_stands_under_a_name_may_be_falsy() -> None:
    assert NameMap([("a.example", 0), ("*.example", 1)], deep=True).lookup("a.example") == 0


@given(patterns=st.sets(ANY_PATTERN, max_size=8), name=NAMES, deep=st.booleans())
def test_chooses_as_trying_every_pattern_would(patterns: set[str], name: str, deep: bool) -> None:
    names = NameMap(((pattern, pattern) for pattern in patterns), deep=deep)
    assert names.lookup(name) == slowly(patterns, name, deep=deep)


# Patterns


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("example.com", "example.com"),
        ("WWW.Example.COM", "www.example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("_sip.example.com", "_sip.example.com"),
        ("*.Example.com", "*.example.com"),
        ("*.com", "*.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.BÜCHER.example", "*.xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (LONGEST, LONGEST),
        (LONGEST + ".", LONGEST),
        ("1.example", "1.example"),
    ],
)
def test_a_pattern_has_one_spelling(text: str, pattern: str) -> None:
    assert check_pattern(text) == pattern
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("*", "a name has to stand behind the *"),
        ("*.", "a name has to stand behind the *"),
        ("a.*.b", "the * can only be all of the first label"),
        ("www*.example.com", "the * can only be all of the first label"),
        ("*.*.example.com", "the * can only be all of the first label"),
        ("**.example.com", "the * can only be all of the first label"),
        ("", "nothing stands before, between or behind two dots"),
        (".", "nothing stands"),
        (".example.com", "nothing stands"),
        ("*..example.com", "nothing stands"),
        ("a..example.com", "nothing stands"),
        ("bücher..example", "nothing stands"),
        ("example.com..", "nothing stands"),
        ("a.example b.example", "write each name as a string of its own"),
        ("example.com ", "write each name as a string of its own"),
        ("example.com\n", "write each name as a string of its own"),
        ("https://example.com", "no scheme, port or path"),
        ("example.com:443", "no scheme, port or path"),
        ("-a.example.com", "only letters, digits"),
        ("a-.example.com", "only letters, digits"),
        ("a\0.example.com", "only letters, digits"),
        ("a" * 64 + ".example", "at most 63 characters"),
        ("a" + LONGEST, "longer than 253 characters"),
        (".".join(["ü" * 40] * 6), "in ASCII (IDNA) it is longer than 253 characters"),
        ("ü" * 63 + ".example", "write its form that begins with xn--"),
        ("stra\u00dfe.example", "the two versions of IDNA differ in it"),
        ("*.\u200d.example", "the two versions of IDNA differ in it"),
        ("\ud800.example", "write its form that begins with xn--"),
        ("192.0.2.1", "no client sends an IP address"),
        ("*.0.2.1", "no client sends an IP address"),
        ("2001:db8::1", "only letters, digits"),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_mend(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="must be a host name") as refused:
        check_pattern(text)
    assert why in str(refused.value)
    assert "www.example.com" in str(refused.value)
    assert not isinstance(refused.value, UnicodeError)


def test_a_refusal_shows_what_was_written_on_one_line() -> None:
    with pytest.raises(ValueError, match='got "\\\\n\\\\u001b') as refused:
        check_pattern("\n\x1b" + "x" * 400)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 250
    with pytest.raises(ValueError, match='got "bücher!"'):
        check_pattern("bücher!")


@given(text=st.text(st.one_of(st.sampled_from("ab.*-ü。\uff0a "), st.characters()), max_size=12))
def test_any_text_is_a_pattern_in_its_one_spelling_or_refused(text: str) -> None:
    try:
        pattern = check_pattern(text)
    except ValueError as refused:
        assert str(refused).isprintable()  # noqa: PT017  # most texts are refused, and some are not
    else:
        assert check_pattern(pattern) == pattern
        assert NameMap([(text, 1)], deep=False).lookup(pattern.replace("*", "a")) == 1
