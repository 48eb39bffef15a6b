"""One row of a prepared set: what is learned of it stands out, by colour or by a marker."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from understudy.records.rows import Message, Row
from understudy.show.screen import clock, speaks_unicode, text, verbatim
from understudy.show.span import Span

TRAINED, CONTEXT = "«trained»", "«context»"
TRAINED_ASCII, CONTEXT_ASCII = "<<trained>>", "<<context>>"
TRAINED_STYLE, CONTEXT_STYLE = "green", "dim"
NEWLINE = "\n"


def show(head: str, row: Row, spans: list[Span] | None, console: Console) -> None:
    """Print a row.

    Args:
        head: What to call it.
        row: The row.
        spans: Its tokens decoded; None to print its messages as they are written.
        console: Where to.
    """
    _print_head(head, row, spans, console)
    if spans is None:
        _print_messages(row, console)
    else:
        console.print(_spans(spans, console), soft_wrap=True)


def _print_head(head: str, row: Row, spans: list[Span] | None, console: Console) -> None:
    meta = row.meta
    time = f"{clock(meta.start)}-{clock(meta.end)}" if meta.start is not None else ""
    count = ""
    if spans is not None:
        learned = sum(span.tokens for span in spans if span.trained)
        count = f"{sum(span.tokens for span in spans):,} tokens, {learned:,} supervised"
    cut = f"cut: {meta.cut}" if meta.cut else ""
    carried = f"{meta.carried} messages carried over" if meta.carried else ""
    found = (meta.corpus, meta.item, meta.category, time, count, cut, carried)
    facts = ", ".join(filter(None, found))
    console.print()
    console.print(text(f"{head}: {facts}", "bold"), soft_wrap=True)


def _spans(spans: list[Span], console: Console) -> Text:
    """The row as its tokens say: running text in colour, or one marked line for each span."""
    out = Text()
    sign = "⏎" if speaks_unicode(console) else "\\n"
    for one in spans:
        written = verbatim(one.text)
        style = TRAINED_STYLE if one.trained else CONTEXT_STYLE
        if console.is_terminal:
            out.append(written.replace(NEWLINE, sign + NEWLINE), style)
        else:
            if out:
                out.append(NEWLINE)
            marked = _mark(console, trained=one.trained)
            out.append(f"{marked} {written.replace(NEWLINE, sign)}")
    return out


def _mark(console: Console, *, trained: bool) -> str:
    if speaks_unicode(console):
        return TRAINED if trained else CONTEXT
    return TRAINED_ASCII if trained else CONTEXT_ASCII


def _print_messages(row: Row, console: Console) -> None:
    for message in row.messages:
        speaker = row.meta.speakers.get(message.role)
        who = f"{message.role} ({speaker})" if speaker else message.role
        console.print(_line(who, message, console), soft_wrap=True)


def _line(who: str, message: Message, console: Console) -> Text:
    """One message; what is learned stands out, by colour or by a marker."""
    trained = bool(message.weight)
    style = TRAINED_STYLE if trained else CONTEXT_STYLE
    said = text(f"{who}: {message.content}", style)
    if console.is_terminal:
        return said
    return Text(f"{_mark(console, trained=trained)} ").append_text(said)
