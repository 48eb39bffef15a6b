"""The notebook: committed without outputs, runs from a checkout, and draws what it promises."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "look_at_a_corpus.ipynb"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def offer_kernel(folder: Path) -> None:
    """Describe a kernel of this very interpreter, whatever kernels the machine has."""
    spec = folder / "kernels" / "understudy"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel", "-f", "{connection_file}"]
    own = {"IPYTHONDIR": str(folder / "ipython")}
    record = {"argv": argv, "env": own, "display_name": "understudy", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Outputs by cell id, after a run in the folder of the checkout that it lies in."""
    notebook = read()
    folder = tmp_path_factory.mktemp("jupyter")
    offer_kernel(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("scratch")))
        client = NotebookClient(notebook, kernel_name="understudy", timeout=120)
        client.execute(cwd=str(NOTEBOOK.parent))
        left = list(Path(os.environ["TMPDIR"]).glob("understudy-*"))
    assert left == [], "the temporary corpus is still there after the kernel's end"
    return {cell.id: cell.get("outputs", []) for cell in notebook.cells}


def printed(outputs: list[Any]) -> str:
    return "".join(out["text"] for out in outputs if out["output_type"] == "stream")


def shown(outputs: list[Any], kind: str) -> list[str]:
    return [out["data"][kind] for out in outputs if kind in out.get("data", {})]


def test_it_is_valid_and_committed_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 10
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []
    assert [cell.id for cell in notebook.cells if cell.metadata] == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_cells_are_short_and_none_is_without_a_word_before_it_for_long() -> None:
    cells = read().cells
    assert max(len(cell.source.splitlines()) for cell in cells if cell.cell_type == "code") <= 24
    kinds = "".join(cell.cell_type[0] for cell in cells)
    assert re.search("cccc", kinds) is None, kinds


@pytest.mark.parametrize("cell", ["speakers", "strips", "ledger-picture", "lengths"])
def test_the_pictures_are_drawn(executed: dict[str, list[Any]], cell: str) -> None:
    (picture,) = shown(executed[cell], "image/png")
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    colours = {colour for count, colour in image.getcolors(1 << 20) if count > 200}
    assert (0x2A, 0x9D, 0x5C) in colours, "nothing is drawn in the colour of what is learned"
    assert image.width > 600


def test_episodes_and_turns(executed: dict[str, list[Any]]) -> None:
    (table,) = shown(executed["episodes"], "text/markdown")
    assert len(table.splitlines()) == 2 + 12
    assert "| 01-rooftop-bees | Tobias Wrenfield |" in table
    assert "Maren Tolliver (host): Welcome back" in printed(executed["turns"])


def test_rows_are_shown_with_their_mask(executed: dict[str, list[Any]]) -> None:
    (page,) = shown(executed["mask"], "text/html")
    assert page.count("<h4>01-rooftop-bees</h4>") == 2
    spans = re.findall(r'<span style="background:#(\w{6})\w\w">(.*?)</span>', page)
    learned = [text for colour, text in spans if colour == "2a9d5c"]
    read_only = [text for colour, text in spans if colour == "c9ced6"]
    assert learned[0].startswith("Welcome back to The Long Bench")
    assert all(text.endswith("&lt;|im_end|&gt;") for text in learned)
    assert all("Bench" not in text for text in read_only)


def test_ledger_and_share(executed: dict[str, list[Any]]) -> None:
    (table,) = shown(executed["ledger"], "text/markdown")
    assert re.search(r"\| in \| 1\d,\d{3} \| 100.0% \|", table)
    assert re.search(r"learned \(8\d\.\d%\)", printed(executed["share"]))
