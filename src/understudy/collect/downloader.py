"""yt-dlp as a library, kept to our rule for addresses and to its own native downloads."""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.collect.address import TIMEOUT_SECONDS, Addresses, Guard, RefusedAddressError
from understudy.collect.found import Note, UnusableError
from understudy.collect.names import one_line
from understudy.console import warn

MAX_MEDIA_BYTES = 4 << 30
RETRIES = 3
PROTOCOLS = r"^(https?|m3u8(_native)?|http_dash_segments)$"
"""What yt-dlp downloads itself, over connections that it asks us for."""
FORMAT = f"bestaudio[protocol~='{PROTOCOLS}']/best[protocol~='{PROTOCOLS}']"
SNIFFED_BYTES = 512
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Downloader:
    """One yt-dlp for a whole run."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self.resume: Resume | None = None

    def record(self, url: str, extractor: str | None = None) -> dict[str, Any]:
        """yt-dlp's record of an address: one video with its format chosen, or a flat list.

        Raises:
            UnusableError: yt-dlp cannot make anything of it.
        """
        from yt_dlp.utils import YoutubeDLError

        try:
            self.addresses.check(url)
            found = self._yt_dlp.extract_info(url, download=False, ie_key=extractor)
        except RefusedAddressError as error:
            raise UnusableError(str(error)) from None
        except (YoutubeDLError, OSError) as error:
            raise UnusableError(reason(error)) from None
        if not isinstance(found, dict):
            raise UnusableError("yt-dlp found nothing there")
        return found

    def fetch(self, record: dict[str, Any], target: Path, note: Note) -> None:
        """Download what `record["url"]` (or its fragments) holds to `target`, going on from a part.

        Raises:
            UnusableError: it cannot be had, is too large, or is a page of text.
        """
        from yt_dlp.utils import YoutubeDLError

        self.resume = resume = Resume(str(record["url"]), str(record.get("format_id")), target)
        resume.start()
        hook = _Watch(resume, note)
        self._yt_dlp._progress_hooks[:] = [hook]  # noqa: SLF001  # else hooks add up over the run
        try:
            self.addresses.check(str(record["url"]))
            done, _ = self._yt_dlp.dl(str(target), dict(record))
        except RefusedAddressError as error:
            raise UnusableError(str(error)) from None
        except (YoutubeDLError, OSError) as error:
            raise UnusableError(reason(error)) from None
        finally:
            self.resume = None
        if not done or not target.is_file():
            raise UnusableError("yt-dlp did not download it")
        resume.finish()
        refuse_text(target)

    @cached_property
    def _yt_dlp(self) -> Any:  # noqa: ANN401  # yt-dlp has no types
        from yt_dlp import YoutubeDL
        from yt_dlp.networking._urllib import UrllibRH

        outer = self

        class GuardedRH(UrllibRH):  # type: ignore[misc]
            RH_KEY = "Urllib"

            def _create_instance(self, **options: Any) -> Any:  # noqa: ANN401
                opener = super()._create_instance(**options)
                context = self._make_sslcontext(
                    legacy_ssl_support=options.get("legacy_ssl_support")
                )
                opener.add_handler(Guard(outer.addresses, context))
                return opener

        class GuardedYoutubeDL(YoutubeDL):  # type: ignore[misc]
            def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:  # noqa: ANN401, ARG002
                return super().build_request_director([GuardedRH])

            def urlopen(self, request: Any) -> Any:  # noqa: ANN401
                if outer.resume is None or isinstance(request, str):
                    return super().urlopen(request)
                outer.resume.before(request)
                response = super().urlopen(request)
                outer.resume.after(request, response.headers)
                return response

        return GuardedYoutubeDL(_options())


def _options() -> dict[str, Any]:
    return {
        "logger": _Log(),
        "color": {"stdout": "never", "stderr": "never"},
        "quiet": True,
        "noprogress": True,
        "extract_flat": "in_playlist",
        "format": FORMAT,
        "fixup": "never",
        "external_downloader": {"default": "native"},
        # Every request is checked where it connects, which a proxy would hide.
        "proxy": "",
        # A folder without ffmpeg: no child process may fetch anything past our rule.
        "ffmpeg_location": str(Path(__file__).parent),
        "socket_timeout": TIMEOUT_SECONDS,
        "retries": RETRIES,
        "fragment_retries": RETRIES,
        "skip_unavailable_fragments": False,
        "retry_sleep_functions": {"http": _pause, "fragment": _pause},
        "updatetime": False,
    }


def _pause(n: int) -> float:
    """Seconds before the retry after attempt `n`, counted from 0."""
    return min(0.5 * 2.0**n, 30.0)


class _Log:
    """yt-dlp's messages: warnings are shown at once, errors with the item they end."""

    def debug(self, message: str) -> None:
        """What yt-dlp does step by step."""

    def warning(self, message: str) -> None:
        if "generic information extractor" not in message:
            warn(f"yt-dlp: {one_line(COLOURS.sub('', message))}")

    def error(self, message: str) -> None:
        """Raised by yt-dlp as well."""


class Resume:
    """Whether a part of a download may be gone on with: only while the server still has that file.

    Feeds put in advertisements afresh for every visitor, so the second half of another download
    need not fit the first. RFC 9110, 13.1.5: `If-Range` makes the server send the rest only if the
    validator is still true, and the whole file otherwise.
    """

    def __init__(self, url: str, form: str, target: Path) -> None:
        self.url = url
        # Without the query: sites sign it afresh for the same file.
        self.what = f"{url.partition('?')[0]} {form}"
        self.part = target.with_name(f"{target.name}.part")
        self.file = target.with_name(f".{target.name}.resume")
        self.validator: str | None = None

    def start(self) -> None:
        """Read the validator of an earlier run; without one, its part is started afresh."""
        try:
            record = json.loads(self.file.read_text(encoding="utf-8"))
            self.validator = record["validator"] if record["what"] == self.what else None
        except (OSError, ValueError, KeyError, TypeError):
            self.validator = None
        if self.validator is None:
            self.part.unlink(missing_ok=True)

    def before(self, request: Any) -> None:  # noqa: ANN401  # yt-dlp's request
        """Ask for the rest of a part only under the validator that the part came with."""
        asked = str(request.headers.get("Range") or "")
        if request.url != self.url or not asked or asked.startswith("bytes=0-"):
            return
        if self.validator is None:
            del request.headers["Range"]
        else:
            request.headers["If-Range"] = self.validator

    def after(self, request: Any, headers: Any) -> None:  # noqa: ANN401  # yt-dlp's request
        """Remember the validator of what the server sends now."""
        if request.url != self.url:
            return
        tag = headers.get("ETag") or ""
        # A weak tag does not promise the same bytes and may not stand in If-Range.
        validator = headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
        if validator != self.validator:
            self.validator = validator
            artifacts.write_json(self.file, {"what": self.what, "validator": validator})

    def finish(self) -> None:
        """Forget the validator: the file is whole."""
        self.file.unlink(missing_ok=True)


class _Watch:
    """yt-dlp's progress hook: shows how far it is and stops what is too large."""

    def __init__(self, resume: Resume, note: Note) -> None:
        self.resume, self.note = resume, note

    def __call__(self, status: dict[str, Any]) -> None:
        done = int(status.get("downloaded_bytes") or 0)
        total = status.get("total_bytes") or status.get("total_bytes_estimate")
        if max(done, int(total or 0)) > MAX_MEDIA_BYTES:
            self.resume.part.unlink(missing_ok=True)
            raise UnusableError(f"it is larger than {MAX_MEDIA_BYTES / 1e9:.1f} GB")
        if status.get("status") == "downloading":
            of = f"/{int(total) / 1e6:.1f}" if total else ""
            self.note(f"{done / 1e6:.1f}{of} MB")


def refuse_text(file: Path) -> None:
    """Refuse, and remove, a page that a server sent in place of media.

    Raises:
        UnusableError: the file begins like HTML, XML or JSON.
    """
    with file.open("rb") as opened:
        head = opened.read(SNIFFED_BYTES)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"<", b"{"):
        file.unlink()
        raise UnusableError("the server sent a page of text in place of audio")


def reason(error: BaseException) -> str:
    """Why yt-dlp failed, in one line and without its advice on reporting bugs."""
    for link in _links(error):
        if isinstance(link, RefusedAddressError):
            return str(link)
    text = one_line(COLOURS.sub("", str(error))).removeprefix("ERROR: ")
    for tail in ("; please report this issue", " (caused by ", " (please report this issue"):
        text = text.partition(tail)[0]
    return text or type(error).__name__


def _links(error: BaseException) -> list[BaseException]:
    """The error and what it came from; yt-dlp keeps causes in `cause` and `exc_info` as well."""
    links: list[BaseException] = []
    ahead: list[Any] = [error]
    while ahead:
        link = ahead.pop()
        if not isinstance(link, BaseException) or link in links:
            continue
        links.append(link)
        info = getattr(link, "exc_info", None) or (None, None)
        cause = getattr(link, "cause", None)
        ahead += [link.__cause__, link.__context__, cause, info[1], getattr(link, "reason", None)]
    return links
