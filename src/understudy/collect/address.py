"""Which addresses may be fetched, checked where the connection is made and after every redirect.

A name is resolved once and the address it gave is the one connected to, so that a name server
cannot answer the check with one address and the connection with another.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urlsplit

from understudy import __version__
from understudy.collect.info import without_credentials
from understudy.collect.names import one_line
from understudy.console import UserError

TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 16
NAT64 = ipaddress.ip_network("64:ff9b::/96")
RULE = (
    "https addresses of public hosts are fetched, and nothing else "
    "(source.allow_loopback=true admits this machine's own loopback address as well)"
)

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedAddressError(UserError):
    """An address that may not be fetched."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The rule for addresses: https to public hosts, and loopback if it was asked for."""

    allow_loopback: bool = False

    def check(self, url: str) -> None:
        """Check what can be seen from an address alone: the scheme, and that there is a host.

        Raises:
            RefusedAddressError: it may not be fetched.
        """
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            _refuse(url, str(error))
        allowed = ("https", "http") if self.allow_loopback else ("https",)
        if parts.scheme not in allowed:
            _refuse(url, f"its scheme is {parts.scheme or 'missing'}")
        if not host:
            _refuse(url, "it has no host")

    def admit(self, host: str, address: str, *, encrypted: bool) -> None:
        """Check the address that a host's name was resolved to.

        Raises:
            RefusedAddressError: it is not public, or not encrypted and not this machine.
        """
        ip = _meant(ipaddress.ip_address(address.partition("%")[0]))
        if ip.is_loopback:
            if not self.allow_loopback:
                _refuse(host, f"{ip} is this machine")
        elif not ip.is_global or ip.is_multicast:
            _refuse(host, f"{ip} is not a public address")
        elif not encrypted:
            _refuse(f"http://{host}", "it is not encrypted")

    def connect(
        self,
        address: tuple[str, int],
        timeout: float | None = TIMEOUT_SECONDS,
        source_address: tuple[str, int] | None = None,
        *,
        encrypted: bool,
    ) -> socket.socket:
        """Connect to a host, if every address its name stands for is admitted.

        Raises:
            RefusedAddressError: one of them is not.
            OSError: none of them answers.
        """
        host, port = address
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *_, target in found:
            self.admit(host, str(target[0]), encrypted=encrypted)
        failures: list[OSError] = []
        for family, kind, protocol, _, target in found:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(timeout if isinstance(timeout, float | int) else None)
                if source_address:
                    connection.bind(source_address)
                connection.connect(target)
            except OSError as error:
                connection.close()
                failures.append(error)
            else:
                return connection
        raise failures[0] if failures else OSError(f"{host} has no address")


def _meant(ip: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one carries, else the address itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    teredo = ip.teredo[1] if ip.teredo else None
    return ip.ipv4_mapped or ip.sixtofour or teredo or ip


def _refuse(what: str, reason: str) -> NoReturn:
    raise RefusedAddressError(
        f"{without_credentials(one_line(what))} is refused: {reason}; {RULE}."
    )


class Guard(urllib.request.AbstractHTTPHandler):
    """An opener's handler that makes every connection itself, under the rule for addresses."""

    handler_order = 50
    """Before every other handler that could open a connection."""

    def __init__(self, addresses: Addresses, context: ssl.SSLContext) -> None:
        super().__init__()
        self.addresses, self.context = addresses, context

    def check(self, request: urllib.request.Request) -> urllib.request.Request:
        """Called for every request of the opener, redirected ones included."""
        self.addresses.check(request.full_url)
        return request

    http_request = https_request = ftp_request = file_request = check

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an http address: admitted on loopback only."""
        make: Any = partial(self._connection, http.client.HTTPConnection, encrypted=False)
        return self.do_open(make, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an https address."""
        make: Any = partial(self._connection, http.client.HTTPSConnection, encrypted=True)
        return self.do_open(make, request, context=self.context)

    def _connection(
        self,
        kind: type[http.client.HTTPConnection],
        host: str,
        *,
        encrypted: bool,
        **options: Any,  # noqa: ANN401  # what urllib gives to a connection
    ) -> http.client.HTTPConnection:
        connection: Any = kind(host, **options)
        connection._create_connection = partial(  # noqa: SLF001  # urllib has no other way in
            self.addresses.connect, encrypted=encrypted
        )
        return connection  # type: ignore[no-any-return]


def fetch(url: str, addresses: Addresses, limit_bytes: int) -> bytes:
    """Fetch a text under the rule for addresses, following redirects.

    Raises:
        UserError: it is refused, cannot be had, or is longer than the limit.
    """
    addresses.check(url)
    opener = urllib.request.OpenerDirector()
    for handler in (
        Guard(addresses, ssl.create_default_context()),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", f"understudy/{__version__}"), ("Accept-Encoding", "gzip")]
    shown = without_credentials(url)
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as response:
            packed = response.headers.get("Content-Encoding", "") == "gzip"
            return _read(response, limit_bytes, packed=packed)
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{shown} answered {error.code} ({error.reason}): check source.url."
        ) from None
    except urllib.error.URLError as error:
        raise UserError(f"{shown} cannot be reached ({error.reason}): try again later.") from None
    except (OSError, http.client.HTTPException, zlib.error) as error:
        raise UserError(f"{shown} broke off ({error!r}): try again later.") from None
    except OverflowError:
        raise UserError(
            f"{shown} is longer than {limit_bytes:,} bytes: it is no feed of episodes."
        ) from None


def _read(response: Any, limit_bytes: int, *, packed: bool) -> bytes:  # noqa: ANN401  # an open response
    """The whole body, unpacked; OverflowError as soon as it is past the limit."""
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if packed else None
    body = bytearray()
    while chunk := response.read(CHUNK_BYTES):
        body += unpack.decompress(chunk, limit_bytes + 1 - len(body)) if unpack else chunk
        if len(body) > limit_bytes:
            raise OverflowError
    return bytes(body)
