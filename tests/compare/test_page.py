"""The page is one file, runs nothing but its own script, and shows data as text."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable
from typing import Any

from understudy.compare import page
from understudy.compare.difference import Change
from understudy.records import jsonl

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)"> {{ 7 * 7 }} $x$ </style>'


def read(show: Any) -> str:
    return str(show.compare().path.read_text(encoding="utf-8"))


def test_nothing_comes_from_elsewhere_and_no_style_is_inline(show: Any) -> None:
    text = read(show)
    addresses = re.findall(r'(?:src|srcset|href|action)="([^"]*)"', text)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"<[^>]*\sstyle=", text)
    assert not re.search(r"<[^>]*\son\w+=", text)
    assert "url(" not in text
    assert "@import" not in text


def test_the_policy_names_the_hashes_of_the_style_and_the_script(show: Any) -> None:
    text = read(show)
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert found is not None
    policy = html.unescape(found[1])
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(bodies) == 1
        digest = base64.b64encode(hashlib.sha256(bodies[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_data_stays_text(show: Any, append_sample: Callable[..., None]) -> None:
    append_sample(
        0,
        f"epoch9{HOSTILE}",
        f"hot{HOSTILE}",
        text=HOSTILE,
        reference=HOSTILE,
        finish_reason=HOSTILE,
        prompt_id=HOSTILE,
        prompt=[{"role": "user", "content": HOSTILE}],
    )
    scores = jsonl.read_whole(show.run / "scores.jsonl")
    hostile = [{**line, "speaker": HOSTILE, "item": HOSTILE} for line in scores]
    jsonl.write(show.run / "scores.jsonl", hostile)
    (show.run / "config.yaml").write_text(HOSTILE)
    ledger = json.loads((show.prepared / "ledger.json").read_text())
    ledger["words_dropped"] = {HOSTILE: 400}
    (show.prepared / "ledger.json").write_text(json.dumps(ledger))
    text = read(show)
    assert text.count("<script") == 1
    assert text.count("</style>") == 1
    assert "<img src=x" not in text
    assert "{{ 7 * 7 }}" in text
    assert text.count(html.escape("<script>alert(1)</script>")) > 8


def test_the_talk_bears_names_and_the_reference(show: Any) -> None:
    text = read(show)
    assert '<b class="who">Mara Lind</b>' in text
    assert "What Tobias Okafor really said" in text
    assert "1 earlier turn<" in text
    assert "cut at the limit" in text
    assert "ended its turn" in text


def test_every_table_has_a_caption_and_its_heads_have_scopes(show: Any) -> None:
    text = read(show)
    assert text.count("<table") == text.count("<caption") >= 6
    assert not re.search(r"<th(?![^>]*scope)[\s>]", text)
    assert all(alt for alt in re.findall(r'<img[^>]*alt="([^"]*)"', text))


def test_two_hundred_samples_stay_under_five_megabytes(
    show: Any, append_sample: Callable[..., None]
) -> None:
    text = "And then the lamp went round again, as lamps do, and nobody saw it. " * 60
    for number in range(200):
        append_sample(number % 3, ("base", "epoch2")[number % 2], "greedy", text=text, seed=number)
    assert len(read(show)) < 5_000_000


def test_a_page_that_would_be_too_large_loses_its_differences_and_says_so(
    show: Any, append_sample: Callable[..., None]
) -> None:
    for number in range(100):
        words = [f"{number}x{n}" for n in range(5_000)]
        append_sample(
            0, ("base", "epoch2")[number % 2], "hot", text=" ".join(words), seed=number // 2
        )
    text = read(show)
    assert len(text.encode()) < page.LIMIT_BYTES
    assert "<ins>1" not in text
    assert "word differences against base are left out" in text


def test_a_worse_model_is_called_worse(show: Any) -> None:
    scores = jsonl.read_whole(show.run / "scores.jsonl")
    for line in scores:
        if line["checkpoint"] != "base":
            line["loss"] *= 2
    jsonl.write(show.run / "scores.jsonl", scores)
    text = read(show)
    assert 'class="headline worse"' in text
    assert "higher than the base model" in text
    assert "Training made the model worse" in text


def test_changes_are_known_to_the_template() -> None:
    assert {change.value for change in Change} == {"same", "added", "gone"}
