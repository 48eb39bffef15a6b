from __future__ import annotations

import pytest

from understudy.collect.names import NAME_BYTES, exact_slug, one_line, paragraphs, slug

TRICKS = [
    "../../etc/passwd",
    "..",
    ".hidden",
    "a/b\\c:d",
    "nul\x00byte\nline",
    "exe\u202egpj.mp3",
    "t" * 300,
    "ж" * 300,
    "\U0001f41d" * 300,
    "-rf",
    "",
    "lone \ud800 surrogate",
]


@pytest.mark.parametrize("text", TRICKS)
def test_slugs_are_safe_folder_names(text: str) -> None:
    for name in (slug(text), exact_slug(text)):
        assert "/" not in name
        assert "\\" not in name
        assert not name.startswith(".")
        assert name.isprintable()
        assert len(name.encode()) <= NAME_BYTES


def test_slug_keeps_what_people_read() -> None:
    assert slug("01-rooftop-bees") == "01-rooftop-bees"
    assert slug("Half a Million Bees & One Chair!") == "Half-a-Million-Bees-One-Chair"
    assert slug("Über die Brücke") == "Über-die-Brücke"


def test_exact_slug_keeps_ids_apart() -> None:
    ids = [
        "youtube-a_b-C",
        "youtube-a_b--C",
        "youtube-a_b/C",
        "youtube-a_b:C",
        "x" * 100,
        "x" * 101,
    ]
    assert exact_slug(ids[0]) == ids[0]
    assert exact_slug("youtube--a") == "youtube--a"
    assert len({exact_slug(text) for text in ids}) == len(ids)


def test_marks_and_controls_go() -> None:
    assert one_line("a\u202eb\x07c\u200bd\te\n f") == "ab cd e f"
    assert paragraphs("one \x1b[31m\n\ntwo\u2066 ") == "one [31m\n\ntwo"
