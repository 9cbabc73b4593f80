"""A notebook with what must hold at its end, and with the solutions to its exercises."""

import re
import textwrap
from pathlib import Path

import nbformat

from studies.runner import find


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
