"""What README.md says is true: its commands, its tree, its tables, its links."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from understudy import door, tasks
from understudy.console import Exit
from understudy.records import voices
from understudy.records.voices import ItemVoices, Role

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/log.md", "samples/README.md")
STAGES = ("collect", "transcribe", "prepare", "train", "generate", "compare")
DEBIAN = {"python3", "python3-venv", "make", "git", "build-essential"}
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    lines = "".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


COMMANDS = [
    pytest.param(command, id=f"{Path(page).stem.lower()}: {command}")
    for page in ("README.md", "CONTRIBUTING.md")
    for command in commands((REPOSITORY / page).read_text(encoding="utf-8"))
]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )


def words(command: str) -> list[str]:
    """A command's words, without `RUN=$(...)` around it and `KEY=value` before it."""
    inner = re.fullmatch(r"[A-Z]+=\$\((.*)\)", command)
    found = shlex.split(inner.group(1) if inner else command)
    while found and ASSIGNMENT.fullmatch(found[0]):
        found.pop(0)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_holds(command: str, tmp_path: Path) -> None:
    match words(command):
        case ["python", "-m", stage, *overrides] if stage in STAGES:
            check_stage(stage, overrides, tmp_path)
        case [".venv/bin/python", "-m", "pytest", *arguments]:
            check_tests(arguments)
        case ["make", target]:
            assert run("make", "-n", target, cwd=REPOSITORY).returncode == 0
        case ["bash", script, *overrides]:
            check_script(script, overrides, tmp_path)
        case ["pip", "install", "-c", constraints, target]:
            assert (REPOSITORY / constraints).is_file()
            check_extras(target)
        case ["understudy", tool, *_]:
            program = str(Path(sys.executable).parent / "understudy")
            assert run(program, tool, "--help", cwd=tmp_path).returncode == 0
        case ["source", ".venv/bin/activate"]:
            pass
        case ["sudo", "apt-get", "install", "-y", *packages]:
            assert set(packages) <= DEBIAN
        case _:
            pytest.fail(f"this test does not know how to check `{command}`")


def check_stage(stage: str, overrides: list[str], cwd: Path) -> None:
    """Compose as a child process, and check the values as the door would."""
    if "--help" in overrides:
        done = run(sys.executable, "-m", stage, "--help", cwd=cwd)
        assert (done.returncode, "Usage:" in done.stdout) == (0, True)
        return
    for job in jobs(overrides):
        done = run(sys.executable, "-m", stage, *job, "--cfg", "job", cwd=cwd)
        assert done.returncode == 0, done.stderr
        door.register_schema()
        with initialize_config_module("understudy.conf", version_base="1.3"):
            door.to_config(compose("config", overrides=job))


def jobs(overrides: list[str]) -> Iterator[list[str]]:
    """The jobs of a sweep (Hydra shows no config together with `-m`), or the one command."""
    given = [override for override in overrides if override not in ("-m", "--cfg", "job")]
    if "-m" not in overrides:
        yield given
        return
    choices = []
    for override in given:
        key, _, value = override.partition("=")
        choices.append([f"{key}={choice}" for choice in value.split(",")])
    assert len(list(product(*choices))) > 1, "a sweep over one value is none"
    yield from (list(job) for job in product(*choices))


def check_script(script: str, overrides: list[str], cwd: Path) -> None:
    assert (REPOSITORY / script).is_file()
    assert run("bash", "-n", script, cwd=REPOSITORY).returncode == 0
    if Path(script).name.startswith("generate_"):
        check_stage("generate", overrides, cwd)
    else:
        assert not overrides


def check_extras(target: str) -> None:
    named = re.fullmatch(r"\.\[([a-z,]+)\]", target)
    assert named, target
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    known = pyproject["project"]["optional-dependencies"]
    assert set(named.group(1).split(",")) <= set(known)


def check_tests(arguments: list[str]) -> None:
    paths = [argument for argument in arguments if not argument.startswith("-")]
    assert paths
    assert all((REPOSITORY / path).is_dir() for path in paths)


def test_the_readme_names_every_stage_and_extra() -> None:
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(pyproject["project"]["optional-dependencies"]) - {"dev"}
    for name in {*STAGES, *extras}:
        assert f"`{name}`" in README or f"`python -m {name}`" in README, name


def test_the_snippet_registers_the_host(tmp_path: Path) -> None:
    """The Python block of the README, run on voices as `transcribe` writes them."""
    (snippet,) = blocks(README, "python")
    item = tmp_path / "data" / "bench" / "episode-1"
    item.mkdir(parents=True)
    made = ItemVoices(
        embedding_model="m",
        embeddings=np.eye(2, dtype=np.float32),
        starts=np.array([0.0, 5.0]),
        ends=np.array([5.0, 9.0]),
        speakers=["SPEAKER_00", "SPEAKER_01"],
    )
    voices.write_item_voices(item / "voices.npz", made)
    done = run(sys.executable, "-c", snippet, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (host,) = voices.read_register(tmp_path / "data" / "bench" / "speakers.json")
    assert (host.role, host.embedding_model) == (Role.host, "m")
    assert host.references == ((1.0, 0.0),)


def tree() -> set[str]:
    """The folders of the README's tree, from the root."""
    (block,) = blocks(README, "text")
    found: set[str] = set()
    above: list[tuple[int, str]] = []
    for line in block.splitlines():
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        assert name.endswith("/"), f"the tree names folders: {line}"
        above = [(depth, path) for depth, path in above if depth < indent]
        above.append((indent, f"{above[-1][1] if above else ''}{name}"))
        found.add(above[-1][1].rstrip("/"))
    return found


def is_ours(folder: Path) -> bool:
    """Whether a folder is part of the project: not hidden, not something that was built."""
    ignored = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").split()
    built = any(folder.match(pattern.rstrip("/")) for pattern in ignored)
    return folder.is_dir() and not folder.name.startswith(".") and not built


def test_the_tree_is_the_tree() -> None:
    top = {path.name for path in REPOSITORY.iterdir() if is_ours(path)}
    package = REPOSITORY / "src" / "understudy"
    rooms = {f"src/understudy/{path.name}" for path in package.iterdir() if is_ours(path)}
    assert tree() == top | rooms | {"src/understudy"}


def test_the_exit_codes_are_the_exit_codes() -> None:
    listed = [int(code) for code in re.findall(r"^\| (\d+) \| ", README, flags=re.MULTILINE)]
    assert listed == [int(code) for code in Exit]


def test_what_is_said_to_be_built_is_built() -> None:
    told = README.split("What a model can learn is a task. Six are built:")[1].split("`docs/")[0]
    shipped = {path.stem for path in (REPOSITORY / "conf" / "task").glob("*.yaml")}
    assert set(re.findall(r"`(\w+)`", told)) == set(tasks.names()) == shipped


def test_every_experiment_is_named() -> None:
    for path in (REPOSITORY / "conf" / "experiment").glob("*.yaml"):
        assert f"`{path.stem}`" in README


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_that_are_named_are_there(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:conf|docs|samples|scripts|src|tests)/[\w./-]+)`", text)
    folder = (REPOSITORY / page).parent
    missing = [link for link in links if not (folder / link).exists()]
    missing += [name for name in named if not (REPOSITORY / name).exists()]
    assert not missing, f"{page} names what is not there: {missing}"
