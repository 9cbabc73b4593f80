"""Notebooks for tests: small ones, and those of the course with what must hold at their end and their solutions."""

import re
import textwrap
from pathlib import Path

import nbformat

from studies.runner import find


def small_notebook(file: Path, parameters: str, *code: str) -> Path:
    """A notebook of one cell of parameters and some of code."""
    cells = [nbformat.v4.new_code_cell(source) for source in (parameters, *code)]
    cells[0].metadata["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), file)
    return file


def solved(name: str, bounds: list[str], folder: Path) -> Path:
    """A copy that asserts the bounds, in the notebook's own names, and then runs the solutions."""
    notebook = nbformat.read(find(name), 4)
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    solved_in = text.partition("<details>")[2]
    solutions = re.findall(r"^ *```python\n(.*?)^ *```", solved_in, re.MULTILINE | re.DOTALL)
    assert solutions or name > "9"
    code = [f"assert {bound}, {bound!r}" for bound in bounds] + [textwrap.dedent(solution) for solution in solutions]
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in code]
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"
