from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.networking import Request

from understudy.collect.address import Addresses
from understudy.collect.downloader import Downloader, Resume
from understudy.collect.found import UnusableError
from understudy.collect.urls import Video, _file_name, find
from understudy.console import UserError
from understudy.records.item import Item, items

LOOPBACK = Addresses(allow_loopback=True)


def collect(door: Any, url: str, *overrides: str) -> tuple[int, str]:
    done = door(
        "source=urls",
        f"source.url={url}",
        "source.allow_loopback=true",
        "corpus=bench",
        *overrides,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_direct_link(site: Any, answer: Any, door: Any, tmp_path: Path, tones: Any) -> None:
    site.pages["/ep1.mp3"] = answer(tones[0])
    code, said = collect(door, f"{site.url}/ep1.mp3?v=1")
    assert (code, "1 new" in said) == (0, True), said
    (item,) = items(tmp_path / "data/bench")
    assert item.name.startswith("ep1-")
    assert item.media_file == item.folder / "audio.mp3"
    assert item.media_file.read_bytes() == tones[0]
    assert item.source().title == "ep1"
    assert item.source().origin == f"{site.url}/ep1.mp3?v=1"
    info = json.loads((item.folder / "info.json").read_text())
    assert info["extractor"] == "generic"
    assert not {"url", "formats", "http_headers", "requested_downloads"} & set(info)
    before = site.gets()["/ep1.mp3"]
    assert "1 there already" in collect(door, f"{site.url}/ep1.mp3?v=1")[1]
    assert site.gets()["/ep1.mp3"] <= before


def test_page_with_two_players(
    site: Any, answer: Any, room: Any, tmp_path: Path, tones: Any
) -> None:
    site.pages["/one.mp3"] = answer(tones[0])
    site.pages["/two.mp3"] = answer(tones[1])
    page = (
        '<html><head><title>Bench</title></head><body><audio src="/one.mp3"></audio>'
        '<video><source src="/two.mp3" type="audio/mpeg"><track kind="subtitles" src="/two.vtt" '
        'srclang="en"></video></body></html>'
    )
    site.pages["/page"] = answer(page.encode(), "text/html")
    site.pages["/two.vtt"] = answer(b"WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n", "text/vtt")
    code, said = collect(room, f"{site.url}/page")
    assert (code, "2 new" in said) == (0, True), said
    found = items(tmp_path / "data/bench")
    assert sorted(item.media_file.read_bytes() for item in found if item.media_file) == sorted(
        tones
    )
    (subtitles,) = (tmp_path / "data/bench").rglob("subtitles.en.vtt")
    assert subtitles.read_text().startswith("WEBVTT")


def test_hls_is_fetched_natively(site: Any, answer: Any, room: Any, tmp_path: Path) -> None:
    parts = [b"\xff\xf1" + bytes([number]) * 500 for number in range(3)]
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1"]
    for number, part in enumerate(parts):
        site.pages[f"/{number}.aac"] = answer(part, "audio/aac")
        lines += ["#EXTINF:1,", f"/{number}.aac"]
    text = "\n".join([*lines, "#EXT-X-ENDLIST", ""])
    site.pages["/show.m3u8"] = answer(text.encode(), "application/vnd.apple.mpegurl")
    code, said = collect(room, f"{site.url}/show.m3u8")
    assert (code, "1 new" in said) == (0, True), said
    (item,) = items(tmp_path / "data/bench")
    assert item.media_file is not None
    assert item.media_file.read_bytes() == b"".join(parts)


def test_a_part_from_a_private_address_is_refused(
    site: Any, answer: Any, room: Any, tmp_path: Path
) -> None:
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://10.0.0.1/0.aac\n#EXT-X-ENDLIST\n"
    site.pages["/show.m3u8"] = answer(text.encode(), "application/vnd.apple.mpegurl")
    code, said = collect(room, f"{site.url}/show.m3u8")
    assert code == 1
    assert "10.0.0.1 is not a public address" in said
    assert items(tmp_path / "data/bench") == []


@pytest.mark.parametrize(
    ("target", "why"),
    [("http://10.0.0.1/x.mp3", "not a public address"), ("ftp://127.0.0.1/x", "scheme is ftp")],
)
def test_redirects_are_checked(site: Any, answer: Any, room: Any, target: str, why: str) -> None:
    site.pages["/ep.mp3"] = answer(status=302, headers={"Location": target})
    code, said = collect(room, f"{site.url}/ep.mp3")
    assert code == 2
    assert why in said


def test_without_the_switch_nothing_is_asked(site: Any, answer: Any, tones: Any) -> None:
    site.pages["/ep.mp3"] = answer(tones[0])
    with pytest.raises(UserError, match="scheme is http"):
        find(f"{site.url}/ep.mp3", Addresses())
    with pytest.raises(UserError, match="this machine"):
        find(f"{site.url}/ep.mp3".replace("http:", "https:"), Addresses())
    assert site.asked == []


@pytest.mark.parametrize(
    ("path", "why"),
    [("/nowhere", "404"), ("/text", "Unsupported URL"), ("/empty", "Unsupported URL")],
)
def test_addresses_without_media(site: Any, answer: Any, path: str, why: str) -> None:
    site.pages["/text"] = answer(b"<html><body>hello</body></html>", "text/html")
    site.pages["/empty"] = answer(b"<html></html>", "text/html")
    with pytest.raises(UserError, match=why) as caught:
        find(f"{site.url}{path}", LOOPBACK)
    assert "report this issue" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def video(**listed: Any) -> Video:
    return Video(listed=listed, origin="https://x.example/list", downloader=Downloader(LOOPBACK))


def test_keys(tmp_path: Path) -> None:
    listed = video(_type="url", ie_key="Youtube", id="-a_B", url="https://youtube.com/watch?v=-a_B")
    whole = video(extractor_key="Youtube", id="-a_B", webpage_url="https://youtu.be/-a_B")
    assert listed.key == whole.key == "youtube--a_B"
    assert listed.place(tmp_path).name == "youtube--a_B"
    one = video(_type="url", ie_key="Generic", id="ep1", url="https://a.example/ep1.mp3")
    two = video(_type="url", ie_key="Generic", id="ep1", url="https://b.example/ep1.mp3")
    assert one.place(tmp_path) != two.place(tmp_path)
    assert one.place(tmp_path).name.startswith("ep1-")
    trick = video(extractor_key="Site", id="../../etc", webpage_url="https://x/1")
    assert trick.place(tmp_path).folder.parent == tmp_path


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"ext": "webm", "vcodec": "none"}, "audio.weba"),
        ({"ext": "m4a", "vcodec": "none"}, "audio.m4a"),
        ({"ext": "mp4", "vcodec": "none"}, "audio.m4a"),
        ({"ext": "mp4", "vcodec": "avc1"}, "video.mp4"),
        ({"ext": "mp3"}, "audio.mp3"),
    ],
)
def test_names_of_what_is_downloaded(record: dict[str, str], name: str) -> None:
    assert _file_name(record) == name


@pytest.mark.parametrize(
    "record",
    [{"_type": "playlist"}, {"ext": "mp4", "is_live": True}, {"ext": "exe"}, {"ext": "url"}],
)
def test_what_is_not_downloaded(record: dict[str, Any]) -> None:
    with pytest.raises(UnusableError):
        _file_name(record)


def test_a_shortcut_is_no_subtitle(site: Any, answer: Any, tmp_path: Path) -> None:
    site.pages["/x.vtt"] = answer(b"[InternetShortcut]\nURL=file:///x\n", "text/vtt")
    record = {
        "subtitles": {
            "en": [{"ext": "vtt", "url": f"{site.url}/x.vtt"}],
            "de": [{"ext": "url", "url": f"{site.url}/x.vtt"}],
            "../../fr": [{"ext": "vtt", "url": f"{site.url}/x.vtt"}],
        }
    }
    written = video(title="x")._subtitles(record, Item(tmp_path), lambda _: None)
    assert written == []
    assert list(tmp_path.iterdir()) == []


def test_a_part_without_proof_is_started_afresh(tmp_path: Path) -> None:
    target, url = tmp_path / "audio.mp3", "https://x.example/a.mp3"
    part = tmp_path / "audio.mp3.part"
    part.write_bytes(b"half")
    first = Resume(f"{url}?signed=1", "mp3", target)
    first.after(Request(first.url), {"ETag": '"one"'})
    again = Resume(f"{url}?signed=2", "mp3", target)
    again.start()
    assert part.exists()
    request = Request(again.url, headers={"Range": "bytes=4-"})
    again.before(request)
    assert request.headers["If-Range"] == '"one"'
    Resume(f"{url}?signed=3", "another format", target).start()
    assert not part.exists()
    weak = Resume(url, "mp3", target)
    weak.after(Request(url), {"ETag": 'W/"two"', "Last-Modified": "Thu, 08 Jan 2026 10:00:00 GMT"})
    assert weak.validator == "Thu, 08 Jan 2026 10:00:00 GMT"


def test_no_child_process_may_fetch() -> None:
    yt_dlp = Downloader(LOOPBACK)._yt_dlp
    from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

    assert not FFmpegPostProcessor(yt_dlp).available
    assert list(yt_dlp._request_director.handlers) == ["Urllib"]
    assert yt_dlp._pps == {when: [] for when in yt_dlp._pps}
    assert yt_dlp.params.get("usenetrc") is None
    assert yt_dlp.proxies == {"all": "__noproxy__"}
