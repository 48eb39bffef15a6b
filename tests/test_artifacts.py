"""Identity, manifests, resuming."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.console import UserError


def identity(**changes: object) -> Identity:
    fields = {"stage": "train", "format": 1, "config": {"lr": 0.1}, "inputs": {"data": "abc"}}
    return Identity(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [{"stage": "generate"}, {"format": 2}, {"config": {"lr": 0.2}}, {"inputs": {"data": "abd"}}],
)
def test_each_part_of_an_identity_changes_its_hash(changes: dict[str, object]) -> None:
    assert identity(**changes).hash != identity().hash


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans(), st.none())))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(mapping: dict[str, object]) -> None:
    reverse = dict(reversed(list(mapping.items())))
    assert artifacts.fingerprint(mapping) == artifacts.fingerprint(reverse)


def sealed(folder: Path) -> Path:
    (folder / "a.txt").write_text("one")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("two")
    manifest = folder / "manifest.json"
    artifacts.seal(manifest, identity(), [folder / "a.txt", folder / "sub" / "b.txt"])
    return manifest


def test_what_is_sealed_is_done_and_only_for_its_own_identity(tmp_path: Path) -> None:
    manifest = sealed(tmp_path)
    assert artifacts.is_done(manifest, identity())
    assert not artifacts.is_done(manifest, identity(format=2))


@pytest.mark.parametrize("damage", ["remove", "shorten", "tamper", "tear the manifest"])
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    manifest = sealed(tmp_path)
    file = tmp_path / "sub" / "b.txt"
    if damage == "remove":
        file.unlink()
    elif damage == "shorten":
        file.write_text("tw")
    elif damage == "tamper":
        file.write_text("TWO")
    else:
        manifest.write_bytes(manifest.read_bytes()[:-20])
    assert not artifacts.is_done(manifest, identity())


def test_an_atomic_write_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    target = tmp_path / "file"
    artifacts.write_atomic(target, "old")
    with pytest.raises(TypeError):
        artifacts.write_atomic(target, object())  # type: ignore[arg-type]
    assert target.read_text() == "old"
    artifacts.write_atomic(target, "new")
    assert target.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def _write_for_ever(target: Path) -> None:
    for number in range(10**9):
        artifacts.write_atomic(target, str(number) * 50_000)


def test_a_kill_while_writing_leaves_a_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    for _ in range(5):
        process = multiprocessing.get_context("fork").Process(
            target=_write_for_ever, args=(target,)
        )
        process.start()
        while not target.exists():
            time.sleep(0.01)
        time.sleep(0.05)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        text = target.read_text()
        number = text[: len(text) // 50_000]
        assert text == number * 50_000


def test_two_processes_do_not_make_the_same_thing(tmp_path: Path) -> None:
    with artifacts.exclusive(tmp_path), pytest.raises(UserError, match="another process"):  # noqa: SIM117
        with artifacts.exclusive(tmp_path):
            pass


def test_clear_removes_the_manifest_first_and_keeps_the_lock(tmp_path: Path) -> None:
    sealed(tmp_path)
    (tmp_path / ".lock").touch()
    artifacts.clear(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]
