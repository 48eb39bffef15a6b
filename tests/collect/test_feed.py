from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from understudy.collect import feed
from understudy.collect.address import Addresses
from understudy.console import UserError
from understudy.records.item import items

LOOPBACK = Addresses(allow_loopback=True)


def collect(door: Any, site: Any, *overrides: str, path: str = "/feed") -> tuple[int, str]:
    done = door(
        "source=feed",
        f"source.url={site.url}{path}",
        "source.allow_loopback=true",
        "corpus=bench",
        *overrides,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def episodes(site: Any, answer: Any, make_rss: Any, make_entry: Any, tones: Any) -> Any:
    """A feed with two episodes, one without an enclosure and one whose audio is gone."""
    site.pages["/a/ep1.mp3"] = answer(tones[0])
    site.pages["/a/ep2.mp3"] = answer(tones[1])
    extra = (
        "<link>https://bench.example/1</link><pubDate>Thu, 08 Jan 2026 10:00:00 GMT</pubDate>"
        "<description>&lt;p&gt;Bees &amp;amp; chairs&lt;/p&gt;&lt;p&gt;Two&lt;/p&gt;</description>"
        "<itunes:duration>1:02:05</itunes:duration><itunes:episode>7</itunes:episode>"
        "<category>honey</category>"
    )
    site.pages["/feed"] = make_rss(
        make_entry("Half a Million Bees", "1", f"{site.url}/a/ep1.mp3?token=s3cret", extra),
        make_entry("The Ferry", "2", f"{site.url}/a/ep2.mp3"),
        make_entry("Just Text", "3", None),
        make_entry("Gone", "4", f"{site.url}/a/gone.mp3"),
        head="<copyright>CC-BY-4.0</copyright>",
    )
    return site


def test_feed_to_items(episodes: Any, door: Any, tmp_path: Path, tones: Any) -> None:
    code, said = collect(door, episodes)
    assert code == 3
    assert "2 new, 2 failed" in said
    assert "the entry has no enclosure" in said
    assert "HTTP Error 404" in said
    bees, ferry = items(tmp_path / "data/bench")
    assert bees.name.startswith("Half-a-Million-Bees-")
    assert bees.media_file is not None
    assert ferry.media_file is not None
    assert bees.media_file.read_bytes() == tones[0]
    assert ferry.media_file.read_bytes() == tones[1]
    source = bees.source()
    assert source.title == "Half a Million Bees"
    assert source.origin == "https://bench.example/1"
    assert (source.language, source.licence) == ("en", "CC-BY-4.0")
    assert (source.published, source.tags) == ("2026-01-08", ["honey"])
    assert source.description == "Bees & chairs\nTwo"
    info = (bees.folder / "info.json").read_text()
    assert '"duration": 3725.0' in info
    assert '"episode_number": 7' in info
    left = [file.name for file in (tmp_path / "data/bench").rglob("*") if "part" in file.name]
    assert left == []
    for file in (tmp_path / "data").rglob("*"):
        assert not file.is_file() or b"s3cret" not in file.read_bytes()


def test_relative_enclosures(site: Any, make_rss: Any, make_entry: Any) -> None:
    site.pages["/shows/feed"] = make_rss(make_entry("One", "1", "../a/ep1.mp3"))
    (episode,) = feed.find(f"{site.url}/shows/feed", LOOPBACK)
    assert episode.enclosure["href"] == f"{site.url}/a/ep1.mp3"


def test_again_fetches_only_what_failed(episodes: Any, answer: Any, room: Any, tones: Any) -> None:
    collect(room, episodes)
    episodes.asked.clear()
    episodes.pages["/a/gone.mp3"] = answer(tones[1])
    code, said = collect(room, episodes)
    assert code == 3
    assert "1 new, 2 there already, 1 failed" in said
    assert episodes.gets() == {"/feed": 1, "/a/gone.mp3": 1}
    collect(room, episodes, "fresh=true")
    assert episodes.gets()["/a/ep2.mp3"] == 1


def test_two_feeds_with_the_same_names_stay_apart(
    site: Any, answer: Any, make_rss: Any, make_entry: Any, room: Any, tones: Any, tmp_path: Path
) -> None:
    for number, show in enumerate("ab"):
        site.pages[f"/{show}/ep1.mp3"] = answer(tones[number])
        site.pages[f"/{show}"] = make_rss(make_entry("Pilot", "1", f"{site.url}/{show}/ep1.mp3"))
        assert collect(room, site, path=f"/{show}")[0] == 0
    found = items(tmp_path / "data/bench")
    media = [item.media_file.read_bytes() for item in found if item.media_file]
    assert sorted(media) == sorted(tones)


def test_entries_that_share_a_guid_and_titles_that_change(
    site: Any, answer: Any, make_rss: Any, make_entry: Any, room: Any, tones: Any, tmp_path: Path
) -> None:
    for number in (1, 2):
        site.pages[f"/ep{number}.mp3"] = answer(tones[number - 1])
    one = make_entry("One", "same", f"{site.url}/ep1.mp3")
    two = make_entry("Two", "same", f"{site.url}/ep2.mp3")
    site.pages["/feed"] = make_rss(one, two, one)
    code, said = collect(room, site)
    assert code == 0
    assert "2 new" in said
    assert "One: the feed lists this entry twice" in said
    site.pages["/feed"] = make_rss(one.replace("One", "Renamed"), two)
    assert "2 there already" in collect(room, site)[1]
    assert len(items(tmp_path / "data/bench")) == 2


def test_faults_of_servers(
    site: Any, answer: Any, make_rss: Any, make_entry: Any, room: Any, tones: Any, tmp_path: Path
) -> None:
    moved = {"Location": "/3.mp3"}
    site.pages |= {
        "/page.mp3": answer(b"<!DOCTYPE html><html>Log in</html>", "text/html"),
        "/empty.mp3": answer(b""),
        "/private.mp3": answer(status=302, headers={"Location": "http://10.0.0.1/x.mp3"}),
        "/ftp.mp3": answer(status=302, headers={"Location": "ftp://127.0.0.1/x.mp3"}),
        "/breaks.mp3": answer(tones[0], break_after=1000, breaks=1),
        "/breaks-unsigned.mp3": answer(tones[0], break_after=1000, breaks=1, validator=False),
        "/1.mp3": answer(status=302, headers={"Location": "/2.mp3"}),
        "/2.mp3": answer(status=301, headers=moved),
        "/3.mp3": answer(tones[1]),
        "/picture.jpg": answer(b"x", "image/jpeg"),
    }
    paths = ["page", "empty", "private", "ftp", "breaks", "breaks-unsigned", "1"]
    entries = [make_entry(path, path, f"{site.url}/{path}.mp3") for path in paths]
    picture = make_entry("picture", "p", f"{site.url}/picture.jpg")
    entries.append(picture.replace("audio/mpeg", "image/jpeg"))
    entries.append(make_entry("file", "f", "file:///etc/passwd"))
    site.pages["/feed"] = make_rss(*entries)
    code, said = collect(room, site)
    assert code == 3
    assert "3 new, 6 failed" in said
    assert "page of text in place of audio" in said
    assert "Did not get any data" in said
    assert "10.0.0.1 is not a public address" in said
    assert "its scheme is ftp" in said
    assert "no audio or video enclosure, only image/jpeg" in said
    found = {item.source().title: item.media_file for item in items(tmp_path / "data/bench")}
    assert {title: file.read_bytes() for title, file in found.items() if file} == {
        "breaks": tones[0],
        "breaks-unsigned": tones[0],
        "1": tones[1],
    }


@pytest.mark.parametrize("validator", [True, False])
def test_halves_of_two_downloads_are_not_joined(
    site: Any,
    answer: Any,
    make_rss: Any,
    make_entry: Any,
    room: Any,
    tones: Any,
    tmp_path: Path,
    *,
    validator: bool,
) -> None:
    first, other = tones[0] * 4, tones[1] * 4
    site.pages["/ep.mp3"] = answer(
        first, break_after=20_000, breaks=1, then=other, validator=validator
    )
    site.pages["/feed"] = make_rss(make_entry("One", "1", f"{site.url}/ep.mp3"))
    assert collect(room, site)[0] == 0
    (item,) = items(tmp_path / "data/bench")
    assert item.media_file is not None
    assert item.media_file.read_bytes() == other


def test_tricks_in_titles_and_guids(
    site: Any, answer: Any, make_rss: Any, make_entry: Any, room: Any, tones: Any, tmp_path: Path
) -> None:
    site.pages["/ep.mp3"] = answer(tones[0])
    titles = ["../../../etc/cron.d/x", "T" * 300, "a\u202egpj.exe", "%(title)s", "&lt;b&gt;x", ""]
    site.pages["/feed"] = make_rss(
        *(
            make_entry(title, f"../../{number}", f"{site.url}/ep.mp3?{number}")
            for number, title in enumerate(titles)
        )
    )
    code, said = collect(room, site)
    assert (code, "6 new" in said) == (0, True)
    found = items(tmp_path / "data/bench")
    assert len(found) == 6
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "runs"}
    titles = [item.source().title for item in found]
    assert all(title.isprintable() for title in titles)
    assert "T" * 300 in titles


def test_entity_bombs_and_outside_entities_stay_outside(site: Any, answer: Any) -> None:
    rows = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    bomb = (
        f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY a0 "aaaaaaaaaa">{rows}'
        '<!ENTITY file SYSTEM "file:///etc/passwd">]>'
        "<rss version='2.0'><channel><title>&file;</title>"
        "<item><title>&a11; &file;</title><guid>1</guid></item></channel></rss>"
    )
    site.pages["/feed"] = answer(bomb.encode(), "application/xml")
    start = time.monotonic()
    try:
        found = feed.find(f"{site.url}/feed", LOOPBACK)
    except UserError:
        found = []
    assert time.monotonic() - start < 5
    assert all(len(episode.label) < 10_000 and "root:" not in episode.label for episode in found)


@pytest.mark.parametrize("body", [b"", b"<html><body>hello</body></html>", b"/etc/passwd", b"{}"])
def test_what_is_no_feed(site: Any, answer: Any, body: bytes) -> None:
    site.pages["/feed"] = answer(body, "text/html")
    with pytest.raises(UserError, match="is no feed with entries"):
        feed.find(f"{site.url}/feed", LOOPBACK)


def test_atom(site: Any, answer: Any) -> None:
    text = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><title>Bench</title><entry><title>One</title>'
        "<id>tag:bench,2026:1</id><updated>2026-01-08T00:00:00Z</updated>"
        f'<link rel="enclosure" type="audio/x-m4a" href="{site.url}/listen"/></entry></feed>'
    )
    site.pages["/feed"] = answer(text.encode(), "application/atom+xml")
    (episode,) = feed.find(f"{site.url}/feed", LOOPBACK)
    assert episode.key == "tag:bench,2026:1"
    assert episode.enclosure is not None


@pytest.mark.parametrize(
    ("kind", "address", "name"),
    [
        ("audio/mpeg", "https://x/a.mp3?sig=1", "audio.mp3"),
        ("audio/mp4; codecs=x", "https://x/a.mp4", "audio.m4a"),
        ("", "https://x/a.OGG", "audio.ogg"),
        ("video/mp4", "https://x/watch", "video.mp4"),
        ("application/pdf", "https://x/a.pdf", None),
        ("text/html", "https://x/a.url", None),
    ],
)
def test_file_names_come_from_type_and_address(kind: str, address: str, name: str | None) -> None:
    assert feed._file_name({"type": kind, "href": address}) == name


@pytest.mark.parametrize(
    ("text", "length"),
    [("3725", 3725), ("62:05", 3725), ("1:02:05", 3725), ("", None), ("soon", None), ("0", None)],
)
def test_durations(text: str, length: float | None) -> None:
    assert feed.seconds(text) == length
