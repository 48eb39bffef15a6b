"""The scripts: what they run, in which order, and how they end. Python is played by a script."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.sh"))
STAGES = ("collect", "transcribe", "prepare", "train", "generate", "compare")
SYSTEM = ("/usr/local/bin", "/usr/bin", "/bin")


def executable(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def bash(
    script: Path, *arguments: str, cwd: Path, path: tuple[str, ...] = SYSTEM, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", script, *arguments],
        cwd=cwd,
        env={"HOME": str(cwd), "PATH": ":".join(path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the scripts stand in."""
    folder = tmp_path / "tree"
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.mark.parametrize("script", [*SCRIPTS, REPOSITORY / ".ci" / "run"], ids=lambda p: p.name)
def test_scripts_parse(script: Path) -> None:
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_nothing() -> None:
    scripts = [*SCRIPTS, REPOSITORY / ".ci" / "run"]
    # It comes with the environment's own packages, beside its interpreter.
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "decoder"), [("greedy", "greedy"), ("beam", "beam"), ("sampling", "nucleus")]
)
def test_generate_scripts_pass_their_arguments_on(tmp_path: Path, name: str, decoder: str) -> None:
    executable(tmp_path / "bin" / "python", 'printf "%s\\n" "$@"; exit 3')
    # A file that `decoding=[...]` would match, were it read as a pattern.
    (tmp_path / f"decoding={decoder[0]}").touch()
    script = REPOSITORY / "scripts" / f"generate_{name}.sh"
    path = (str(tmp_path / "bin"), *SYSTEM)
    done = bash(script, "+experiment=demo", "report.title=a b", cwd=tmp_path, path=path)
    assert done.returncode == 3
    given = ["-m", "generate", f"decoding=[{decoder}]", "+experiment=demo", "report.title=a b"]
    assert done.stdout.splitlines() == given


def player(tree: Path, *, ends: str = "") -> None:
    """A `.venv/bin/python` that notes its arguments and prints a path; `ends` may exit before."""
    body = f'echo "$@" >>calls\n{ends}\necho "/made/$2"; echo "about $2" >&2'
    executable(tree / ".venv" / "bin" / "python", body)


def calls(tree: Path) -> list[str]:
    file = tree / "calls"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def test_demo_runs_the_stages_and_prints_the_last_path_only(tree: Path) -> None:
    player(tree)
    done = bash(tree / "scripts" / "demo.sh", "seed=7", cwd=tree.parent)
    assert (done.returncode, done.stdout) == (0, "/made/compare\n")
    assert calls(tree) == [f"-m {stage} +experiment=demo seed=7" for stage in STAGES]
    assert done.stderr.splitlines() == [f"about {stage}" for stage in STAGES]


@pytest.mark.parametrize("code", [1, 2, 75])
def test_demo_stops_at_a_stage_that_fails(tree: Path, code: int) -> None:
    player(tree, ends=f'[ "$2" != prepare ] || exit {code}')
    done = bash(tree / "scripts" / "demo.sh", cwd=tree.parent)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(calls(tree)) == STAGES.index("prepare") + 1


@pytest.mark.parametrize("stage", ["transcribe", "compare"])
def test_demo_goes_on_where_a_stage_was_done_in_part(tree: Path, stage: str) -> None:
    player(tree, ends=f'[ "$2" != {stage} ] || {{ echo "/part/$2"; exit 3; }}')
    done = bash(tree / "scripts" / "demo.sh", cwd=tree.parent)
    last = "/part/compare" if stage == "compare" else "/made/compare"
    assert (done.returncode, done.stdout) == (0, f"{last}\n")
    assert len(calls(tree)) == len(STAGES)


def stamp(tree: Path, extras: str) -> Path:
    names = ("pyproject.toml", "constraints.txt", "scripts/setup.sh")
    digest = hashlib.sha256(b"".join((tree / name).read_bytes() for name in names)).hexdigest()
    return tree / ".venv" / f".ready-{digest[:16]}-{extras}"


def test_setup_ends_at_once_where_its_stamp_stands(tree: Path) -> None:
    player(tree)
    base = executable(tree.parent / "base", f'echo base "$@" >>{tree}/calls')
    setup = tree / "scripts" / "setup.sh"
    stamp(tree, "dev").touch()
    done = bash(setup, cwd=tree.parent, PYTHON_BASE=str(base))
    assert (done.returncode, done.stdout, done.stderr, calls(tree)) == (0, "", "", [])
    # Other extras, and other versions, are another environment.
    bash(setup, cwd=tree.parent, PYTHON_BASE=str(base), EXTRAS="train")
    assert calls(tree)
    assert stamp(tree, "train").exists()
    (tree / "calls").unlink()
    (tree / "constraints.txt").write_text("torch==2.13.0\n", encoding="utf-8")
    bash(setup, cwd=tree.parent, PYTHON_BASE=str(base))
    assert calls(tree)


def test_setup_installs_torch_first_and_one_part_where_one_is_asked_for(tree: Path) -> None:
    player(tree)
    base = executable(tree.parent / "base", "exit 0")
    done = bash(
        tree / "scripts" / "setup.sh", cwd=tree.parent, PYTHON_BASE=str(base), EXTRAS="train"
    )
    assert done.returncode == 0, done.stderr
    installs = [call.split("--disable-pip-version-check ")[-1] for call in calls(tree)[1:]]
    torch, everything = installs
    assert torch.startswith("torch==")
    assert everything == "--constraint constraints.txt --editable .[train]"


def test_setup_leaves_no_stamp_where_an_installation_fails(tree: Path) -> None:
    player(tree, ends='[[ "$*" != *--editable* ]] || exit 1')
    base = executable(tree.parent / "base", "exit 0")
    done = bash(tree / "scripts" / "setup.sh", cwd=tree.parent, PYTHON_BASE=str(base))
    assert done.returncode != 0
    assert not stamp(tree, "dev").exists()


def test_setup_makes_an_environment_that_was_left_half_made_again(tree: Path) -> None:
    player(tree, ends='[ "$3" != --version ] || exit 1')
    base = executable(tree.parent / "base", f'[ "$1" = - ] || echo base "$@" >>{tree}/calls')
    bash(tree / "scripts" / "setup.sh", cwd=tree.parent, PYTHON_BASE=str(base), EXTRAS="train")
    assert "base -m venv .venv" in calls(tree)


def test_setup_refuses_a_python_that_does_not_fit(tree: Path) -> None:
    base = executable(tree.parent / "base", "exit 1")
    done = bash(tree / "scripts" / "setup.sh", cwd=tree.parent, PYTHON_BASE=str(base))
    assert done.returncode == 2
    assert "Python 3.11 or 3.12" in done.stderr
    assert not (tree / ".venv").exists()


@pytest.mark.parametrize(
    ("driver", "words"),
    [(None, "no NVIDIA driver"), ("470.82.01", "driver 470.82.01 is too old for CUDA 13")],
)
def test_gpu_setup_says_what_a_machine_lacks(tree: Path, driver: str | None, words: str) -> None:
    folder = tree.parent / "bin"
    folder.mkdir()
    for tool in ("bash", "dirname", "head"):
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    if driver is not None:
        executable(folder / "nvidia-smi", f"echo {driver}")
    done = bash(tree / "scripts" / "gpu_setup.sh", cwd=tree.parent, path=(str(folder),))
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert not (tree / ".venv").exists()


def test_every_script_can_be_run_and_says_what_it_is_for() -> None:
    for script in SCRIPTS:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "#!/usr/bin/env bash"
        assert lines[1].startswith("# ")
