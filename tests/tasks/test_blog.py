"""The blog task: a title and keywords in, an article in restricted HTML out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.records.conversation import Conversation, GivesWay
from understudy.tasks.blog import BlogConfig, Forbidden, ask, from_row

ARTICLE = "<h2>Why a roof</h2>\n<p>Bees do not mind <strong>height</strong>.</p>"
ROW = {
    "title": "Bees on a roof",
    "core_keyword": "rooftop bees",
    "related_keywords": "honey, city, hives",
    "article": ARTICLE,
    "category": "garden",
}


def config(**given: Any) -> BlogConfig:
    return BlogConfig(name="blog", **given)


def talk(record: dict[str, Any], **given: Any) -> Conversation:
    (found,) = from_row(record, config(**given))
    return found


def test_a_row_is_an_article_asked_for_by_title_and_keywords() -> None:
    found = talk(ROW)
    assert found.system is not None
    assert "at least 800 words" in found.system
    user, assistant = (spoken.message for spoken in found.spoken)
    assert user.content == (
        "Title: Bees on a roof\nCore keyword: rooftop bees\nRelated keywords: honey, city, hives"
    )
    assert (assistant.content, assistant.weight, user.weight) == (ARTICLE, 1, 0)
    assert found.gives_way is GivesWay.body
    assert found.body is not None
    assert user.content[slice(*found.body)] == "honey, city, hives"
    assert found.category == "garden"


@pytest.mark.parametrize("related", [["honey", "city"], '["honey", "city"]', "honey, city"])
def test_related_keywords_are_a_list_or_a_text(related: Any) -> None:
    content = talk({**ROW, "related_keywords": related}).spoken[0].message.content
    assert content.endswith("Related keywords: honey, city")


@pytest.mark.parametrize("related", [None, "", []])
def test_without_related_keywords_their_line_is_left_out(related: Any) -> None:
    found = talk({**ROW, "related_keywords": related})
    content = found.spoken[0].message.content
    assert content.endswith("Core keyword: rooftop bees")
    assert found.body == (len(content), len(content))


def test_html_that_is_not_allowed_is_rejected_by_name_or_kept_and_counted() -> None:
    row = {**ROW, "article": "<HTML><body><h1 class='x'>Bees</h1><p>x</p></body></html>"}
    with pytest.raises(ValueError, match="not allowed: html, body, h1"):
        talk(row)
    kept = talk(row, forbidden=Forbidden.keep)
    assert kept.spoken[1].message.content == row["article"]
    assert kept.notes["articles with tags that are not allowed, kept"] == 1
    assert talk(row, forbidden_tags=["iframe"]).notes == {}
    shown = {**ROW, "article": "<p>Write &lt;h1&gt; once; 3 < 4.</p>"}
    assert talk(shown).spoken[1].message.content == shown["article"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"title": None}, "title is null"),
        ({"article": "  "}, "article is empty"),
        ({"related_keywords": [1]}, "related_keywords holds what is no text"),
        ({"related_keywords": {}}, "related_keywords is no text but an object"),
    ],
)
def test_a_bad_row_says_what_is_wrong(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        talk({**ROW, **change})
    with pytest.raises(ValueError, match=r"8 words, under task\.min_words=800"):
        talk(ROW, min_words=800)


def test_a_prompt_without_the_title_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no \{title\}"):
        config(ask="Write about {keyword}.")


words = st.text("ab{}title ", max_size=14)


@given(words.filter(bool), words.filter(bool), words.filter(bool))
def test_what_is_filled_in_is_never_taken_for_a_placeholder(t: str, k: str, r: str) -> None:
    content, (first, last) = ask("{title} / {keyword}: {related}.", title=t, keyword=k, related=r)
    assert content == f"{t} / {k}: {r}."
    assert content[first:last] == r
