"""Blog: a title and keywords in, an article in restricted HTML out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from html.parser import HTMLParser
from typing import Any

from understudy.config.task import TaskConfig
from understudy.records import fields
from understudy.records.conversation import Conversation, GivesWay, Spoken
from understudy.records.rows import Message


class Forbidden(Enum):
    """What becomes of an article with a tag that is not allowed."""

    reject = "reject"
    """The row is rejected, and the reason names the tags."""
    keep = "keep"
    """It is learned as it is, and counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlogConfig(TaskConfig):
    """What is asked for, and which HTML an article may hold."""

    system: str | None = (
        "You write blog posts of at least 800 words with at least 4 subtitles in HTML. Use no h1, "
        "body or html tag."
    )
    """System message put before every article; null for none."""
    ask: str = "Title: {title}\nCore keyword: {keyword}\nRelated keywords: {related}"
    """What the user writes; `{title}`, `{keyword}` and `{related}` are filled in. A line whose
    only field is empty is left out."""
    title_column: str = "title"
    """The field that holds the title."""
    keyword_column: str = "core_keyword"
    """The field that holds the core keyword."""
    related_column: str = "related_keywords"
    """The field that holds the related keywords: a list or a text; may be missing."""
    article_column: str = "article"
    """The field that holds the article."""
    forbidden_tags: list[str] = field(default_factory="h1 html head body script style iframe".split)
    """HTML tags that no article may hold."""
    forbidden: Forbidden = Forbidden.reject
    """What becomes of an article that holds one: reject or keep."""
    min_words: int = 0
    """Reject shorter articles; 0 takes all."""

    def __post_init__(self) -> None:
        if "{title}" not in self.ask:
            raise ValueError(f"task.ask={self.ask!r} has no {{title}}: say where the title goes.")


CONFIG = BlogConfig
ITEM_FILES: tuple[str, ...] = ()


def from_row(record: dict[str, Any], config: BlogConfig) -> Iterator[Conversation]:
    """One row is one article. Of the input the related keywords give way, the article never.

    Raises:
        ValueError: a field is missing, a tag is not allowed, or the article is too short.
    """
    related = _related(record, config.related_column)
    content, body = ask(
        config.ask,
        title=fields.text(record, config.title_column),
        keyword=fields.text(record, config.keyword_column),
        related=related,
    )
    article = fields.text(record, config.article_column)
    notes: Counter[str] = Counter()
    wrong = forbidden_tags(article, config.forbidden_tags)
    if wrong and config.forbidden is Forbidden.reject:
        raise ValueError(f"the article holds tags that are not allowed: {', '.join(wrong)}")
    if wrong:
        notes["articles with tags that are not allowed, kept"] += 1
    if len(article.split()) < config.min_words:
        count = len(article.split())
        raise ValueError(f"the article has {count} words, under task.min_words={config.min_words}")
    yield Conversation(
        system=config.system,
        spoken=(
            Spoken(message=Message(role="user", content=content, weight=0)),
            Spoken(message=Message(role="assistant", content=article)),
        ),
        notes=notes,
        gives_way=GivesWay.body,
        body=body,
        **fields.provenance(record),
    )


def ask(template: str, **given: str) -> tuple[str, tuple[int, int]]:
    """The user's message, and where in it the related keywords stand (empty where they do not)."""
    out = ""
    body: tuple[int, int] | None = None
    for line in template.split("\n"):
        named = [name for name in given if f"{{{name}}}" in line]
        if len(named) == 1 and not given[named[0]]:
            continue
        out += "\n" if out else ""
        before, mark, after = line.partition("{related}")
        out += _filled(before, given)
        if mark:
            body = body or (len(out), len(out) + len(given["related"]))
            out += given["related"] + _filled(after, given)
    return out, body or (len(out), len(out))


def _filled(text: str, given: dict[str, str]) -> str:
    """Placeholders replaced in one go: what is filled in is not searched again."""
    names = "|".join(map(re.escape, given))
    return re.sub(rf"\{{({names})\}}", lambda match: given[match[1]], text)


def _related(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return value.strip()
    if isinstance(value, list):
        if not all(isinstance(word, str) for word in value):
            raise ValueError(f"{name} holds what is no text")
        return ", ".join(word.strip() for word in value if word.strip())
    return fields.optional(record, name)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.found[tag] = None

    def handle_endtag(self, tag: str) -> None:
        self.found[tag] = None


def forbidden_tags(article: str, forbidden: list[str]) -> list[str]:
    """The tags in an article that are among the forbidden ones, in the order they stand."""
    parser = _Tags()
    parser.feed(article)
    parser.close()
    return [tag for tag in parser.found if tag in forbidden]
