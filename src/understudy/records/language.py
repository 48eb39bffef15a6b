"""Which language a short text is in: by its script, then by its commonest words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "ARABIC": "ar",
    "HEBREW": "he",
    "GREEK": "el",
    "DEVANAGARI": "hi",
    "THAI": "th",
    "CYRILLIC": "ru",
}
"""The language most written in a script. Cyrillic, Arabic and Devanagari have others as well."""

COMMON = {
    "en": "the and is are was this that you it of to i my for not with what they be have so "
    "your we he she just how but really love never thank thanks great video",
    "de": "der die das und ist nicht ich ein eine du mit es den sie war auf wie auch wir für "
    "aber so sehr danke dass mich hat",
    "fr": "le la les et est pas je un une des du il elle vous que qui pour dans avec très c'est "
    "j'ai ce merci nous sur mais",
    "es": "el la los las y es no yo un una de que en por para con muy me lo se gracias este esta "
    "pero como mi más",
    "pt": "o a os as e é não eu um uma de que em por para com muito me você do da obrigado este "
    "mas como mais isso",
    "it": "il la gli le e è non io un una di che in per con molto mi ho sono grazie questo ma "
    "come più della",
    "nl": "de het een en is niet ik je van dat in op met voor wat zijn maar ook heel dank deze "
    "wij er",
    "pl": "i w nie na to się jest że z do jak ale co tak po bardzo dzięki dla tego",
    "tr": "bir ve bu çok de da için ne ben sen var ama gibi daha değil teşekkürler",
    "sv": "och det är att jag en inte på som för med du så men har mycket tack den",
}
WORDS = {code: frozenset(words.split()) for code, words in COMMON.items()}


def guess(text: str) -> str | None:
    """ISO 639-1 code, or None where the text is too short or too odd to tell.

    A rule of thumb for texts of a sentence or more in the commonest languages; it is no
    classifier, and says None rather than to choose between two that are equally likely.
    """
    scripts = Counter(
        unicodedata.name(letter, "?").split()[0] for letter in text[:400] if letter.isalpha()
    )
    if not scripts:
        return None
    if scripts["HIRAGANA"] + scripts["KATAKANA"]:
        return "ja"
    script, _ = scripts.most_common(1)[0]
    if script != "LATIN":
        return SCRIPTS.get(script)
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.casefold().replace("\u2019", "'"))
    hits = Counter({code: sum(w in known for w in words) for code, known in WORDS.items()})
    (best, most), (_, second) = hits.most_common(2)
    return best if most > second else None
