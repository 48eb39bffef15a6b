"""The wheel: everything is in it, and its doors work from any directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src", "conf")
STAGES = ("collect", "transcribe", "prepare", "train", "generate", "compare")
HEAVY = (
    "torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets",
    "faster_whisper", "ctranslate2", "whisperx", "pyannote", "onnxruntime", "av",
    "yt_dlp", "feedparser", "matplotlib", "jinja2", "sacrebleu",
)  # fmt: skip


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: nothing is left in the checkout, and nothing of it gets in unasked."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copy(source, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (made,) = (copy / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder the wheel is installed in; what it depends on comes from this environment."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", folder, wheel], check=True)
    return folder


def python(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # What stands in PYTHONPATH is found before the checkout, which is installed to be edited.
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_wheel_holds_every_module_and_every_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = REPOSITORY / "src"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    page = {f"understudy/compare/page.{suffix}" for suffix in ("html", "css", "js")}
    conf = {
        f"understudy/{path.relative_to(REPOSITORY).as_posix()}"
        for path in (REPOSITORY / "conf").rglob("*.yaml")
    }
    assert {f"{stage}.py" for stage in STAGES} < modules
    assert len(conf) > len(STAGES)
    assert not (modules | page | conf) - names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_door_composes_from_an_unrelated_directory(site: Path, tmp_path: Path) -> None:
    ask = "import train, understudy, understudy.conf as c; print(train.__file__); "
    ask += "print(understudy.__file__); print(c.__path__[0])"
    found = python(site, tmp_path, "-c", ask).stdout.splitlines()
    assert len(found) == 3
    assert all(Path(path).is_relative_to(site) for path in found), found
    arguments = ("+experiment=qlora_mistral", "corpus=x", "--cfg", "job")
    done = python(site, tmp_path, "-m", "train", *arguments)
    assert done.returncode == 0, done.stderr
    assert "base: mistralai/Mistral-7B-Instruct-v0.1" in done.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_every_door_has_help(site: Path, tmp_path: Path, stage: str) -> None:
    done = python(site, tmp_path, "-m", stage, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m {stage}" in done.stdout
    assert "qlora_mistral" in done.stdout


def test_a_typo_is_answered_at_once(site: Path, tmp_path: Path) -> None:
    arguments = ("-m", "train", "+experiment=qlora_mistral", "corpus=x", "optm.lr=1")
    python(site, tmp_path, *arguments)
    started = time.monotonic()
    done = python(site, tmp_path, *arguments)
    assert time.monotonic() - started < 3  # about a second, on a machine that has other work too
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean optim?" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_tool_is_installed(site: Path, tmp_path: Path) -> None:
    done = python(site, tmp_path, str(site / "bin" / "understudy"), "--help")
    assert done.returncode == 0, done.stderr
    assert "show" in done.stdout
    entry = python(site, tmp_path, "-c", "import understudy.cli; print(understudy.cli.__file__)")
    assert Path(entry.stdout.strip()).is_relative_to(site)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_nothing_heavy(site: Path, tmp_path: Path, stage: str) -> None:
    code = f"import sys, {stage}, understudy.{stage}.stage; print(*sys.modules)"
    done = python(site, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert not {name.split(".")[0] for name in done.stdout.split()} & set(HEAVY)


def test_a_sweep_finds_its_launcher(site: Path, tmp_path: Path) -> None:
    ask = "from hydra_plugins.understudy_launcher import launcher; print(launcher.__file__)"
    found = python(site, tmp_path, "-c", ask)
    assert Path(found.stdout.strip()).is_relative_to(site)
    done = python(site, tmp_path, "-m", "prepare", "-m", "corpus=nowhere", "adapter.r=4,8")
    assert done.returncode == 2, done.stderr
    assert "2 of 2 jobs failed" in done.stderr
