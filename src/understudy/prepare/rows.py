"""From conversations to rows: counted once per message, cut, and entered in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.chat.encoder import Encoder
from understudy.prepare.cut import TOO_LONG, Exchange, cut, exchanges
from understudy.records.conversation import Conversation
from understudy.records.item import Source
from understudy.records.ledger import ItemEntry, Ledger
from understudy.records.rows import Message, Meta, Row


class Cutter:
    """Makes rows of at most `context` tokens, template tokens included."""

    def __init__(self, encoder: Encoder, context: int) -> None:
        self.encoder = encoder
        self.context = context

    def rows(self, talk: Conversation, entry: ItemEntry, ledger: Ledger) -> list[list[Exchange]]:
        """Cut a conversation, and account for each of its words and tokens."""
        overhead = self.encoder.overhead(talk.system)
        pieces = exchanges(talk.spoken, self.encoder)
        rows, too_long = cut(pieces, self.context - overhead)
        entry.words_dropped += talk.dropped
        entry.drop(TOO_LONG, sum(piece.words for piece in too_long))
        kept = [piece for row in rows for piece in row]
        for spoken in (one for piece in kept for one in piece.spoken):
            if spoken.message.weight:
                entry.words_trained += spoken.words
            else:
                entry.words_context += spoken.words
        trained = sum(piece.trained for piece in kept)
        ledger.tokens_trained += trained
        ledger.tokens_context += sum(p.tokens for p in kept) + overhead * len(rows) - trained
        return rows

    def row(
        self, pieces: Sequence[Exchange], talk: Conversation, source: Source, meta: dict[str, str]
    ) -> Row:
        """The messages of a row, with the system message in front and where they come from."""
        spoken = [one for piece in pieces for one in piece.spoken]
        system = [Message(role="system", content=talk.system, weight=0)] if talk.system else []
        return Row(
            messages=(*system, *(one.message for one in spoken)),
            meta=Meta(
                **meta,
                category=source.category,
                licence=source.licence,
                start=spoken[0].start,
                end=spoken[-1].end,
                speakers=talk.speakers,
            ),
        )
