from __future__ import annotations

import gzip
from typing import Any

import pytest

from understudy.collect.address import Addresses, RefusedAddressError, fetch
from understudy.console import UserError

LIMIT = 100_000
PUBLIC = Addresses()
LOOPBACK = Addresses(allow_loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/a.mp3",
        "http://example.org/feed",
        "data:text/plain,hello",
        "//example.org/feed",
        "example.org/feed",
        "https:///feed",
        "https://example.org:port/feed",
        "https://[::1/feed",
    ],
)
def test_schemes_and_hosts(url: str) -> None:
    with pytest.raises(RefusedAddressError, match="refused"):
        PUBLIC.check(url)


def test_loopback_switch_admits_http_but_no_other_scheme() -> None:
    LOOPBACK.check("http://127.0.0.1:8000/feed")
    with pytest.raises(RefusedAddressError):
        LOOPBACK.check("file:///etc/passwd")


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.9.9",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "255.255.255.255",
        "fc00::1",
        "fe80::1%eth0",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ],
)
@pytest.mark.parametrize("addresses", [PUBLIC, LOOPBACK])
def test_private_addresses_are_refused_with_and_without_the_switch(
    address: str, addresses: Addresses
) -> None:
    with pytest.raises(RefusedAddressError, match="not a public address"):
        addresses.admit("host.example", address, encrypted=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_only_with_the_switch(address: str) -> None:
    LOOPBACK.admit("localhost", address, encrypted=False)
    with pytest.raises(RefusedAddressError, match="this machine"):
        PUBLIC.admit("localhost", address, encrypted=True)


def test_public_addresses_need_encryption() -> None:
    PUBLIC.admit("example.org", "93.184.216.34", encrypted=True)
    PUBLIC.admit("example.org", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", encrypted=True)
    with pytest.raises(RefusedAddressError, match="not encrypted"):
        LOOPBACK.admit("example.org", "93.184.216.34", encrypted=False)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost"])
def test_other_spellings_of_this_machine(host: str) -> None:
    with pytest.raises(RefusedAddressError, match="this machine"):
        PUBLIC.connect((host, 9), encrypted=True)


def test_fetch_needs_the_switch_for_loopback(site: Any, answer: Any) -> None:
    site.pages["/feed"] = answer(b"hello")
    assert fetch(f"{site.url}/feed", LOOPBACK, LIMIT) == b"hello"
    with pytest.raises(UserError, match="scheme is http"):
        fetch(f"{site.url}/feed", PUBLIC, LIMIT)
    with pytest.raises(UserError, match="this machine"):
        fetch(f"{site.url.replace('http', 'https')}/feed", PUBLIC, LIMIT)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://10.0.0.1/feed", "not a public address"),
        ("https://10.0.0.1/feed", "not a public address"),
        ("http://93.184.216.34/feed", "not encrypted"),
        ("ftp://127.0.0.1/feed", "scheme is ftp"),
    ],
)
def test_redirects_are_checked(site: Any, answer: Any, target: str, why: str) -> None:
    site.pages["/one"] = answer(status=302, headers={"Location": "/two"})
    site.pages["/two"] = answer(status=302, headers={"Location": target})
    with pytest.raises(RefusedAddressError, match=why):
        fetch(f"{site.url}/one", LOOPBACK, LIMIT)


def test_redirect_to_a_file_is_refused(site: Any, answer: Any) -> None:
    site.pages["/one"] = answer(status=302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(UserError, match="file:///etc/passwd"):
        fetch(f"{site.url}/one", LOOPBACK, LIMIT)


def test_three_hops_are_followed(site: Any, answer: Any) -> None:
    for hop in range(3):
        site.pages[f"/{hop}"] = answer(status=302, headers={"Location": f"/{hop + 1}"})
    site.pages["/3"] = answer(b"at last")
    assert fetch(f"{site.url}/0", LOOPBACK, LIMIT) == b"at last"


def test_limit_counts_unpacked_bytes(site: Any, answer: Any) -> None:
    packed = {"Content-Encoding": "gzip"}
    site.pages["/small"] = answer(gzip.compress(b"a" * LIMIT), headers=packed)
    site.pages["/bomb"] = answer(gzip.compress(b"a" * (LIMIT * 100)), headers=packed)
    site.pages["/long"] = answer(b"a" * (LIMIT + 1))
    assert fetch(f"{site.url}/small", LOOPBACK, LIMIT) == b"a" * LIMIT
    for path in ("/bomb", "/long"):
        with pytest.raises(UserError, match="longer than 100,000 bytes"):
            fetch(site.url + path, LOOPBACK, LIMIT)


def test_answers_that_are_no_text_are_a_persons_matter(site: Any) -> None:
    with pytest.raises(UserError, match="answered 404"):
        fetch(f"{site.url}/nowhere", LOOPBACK, LIMIT)
    with pytest.raises(UserError, match="cannot be reached"):
        fetch("http://127.0.0.1:9/feed", LOOPBACK, LIMIT)


def test_credentials_are_not_shown() -> None:
    with pytest.raises(RefusedAddressError) as caught:
        PUBLIC.check("http://me:secret@example.org/feed")
    assert "secret" not in str(caught.value)
