"""The notebooks as tiles: README's table says what each shows, its stored figures how it looks."""

import base64
import io
import json
import os
import re
from pathlib import Path

from PIL import Image
from sphinx.application import Sphinx

ROW = re.compile(r"^\| \[(\w+)\]\(notebooks/\1\.ipynb\) \| (.+?) \| (\d+) \|", re.MULTILINE)
PARTS = {"Tutorials": "[0-8]", "How the weights were made, and what they reach": "9"}
WIDTH, HEIGHT = 480, 270
WIDEST = 5  # times its height; of wider figures the right end is left out


def notebooks(readme: str) -> dict[str, tuple[str, int]]:
    """What README's table says of each notebook: what it shows, and its minutes."""
    return {name: (shows, int(minutes)) for name, shows, minutes in sorted(ROW.findall(readme))}


def figures(notebook: Path) -> list[Image.Image]:
    """The figures that are stored in a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    coded = ["".join(data["image/png"]) for data in outputs if "image/png" in data]
    return [Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB") for text in coded]


def look(image: Image.Image) -> bytes:
    """The same of two figures that differ in a few pixels alone."""
    return image.convert("L").resize((12, 12)).point(lambda grey: grey // 16).tobytes()


def gallery(app: Sphinx) -> str:
    """Markdown with a tile for each notebook; the thumbnails lie beside what else the build keeps."""
    root, folder = Path(app.srcdir), Path(app.doctreedir) / "thumbnails"
    folder.mkdir(parents=True, exist_ok=True)
    lines, taken = [], set()  # no figure twice: 09 draws again what other notebooks draw
    for part, first in PARTS.items():
        lines += [f"## {part}", "", ":::{container} gallery", ""]
        for name, (shows, minutes) in notebooks((root / "README.md").read_text(encoding="utf-8")).items():
            if not re.match(first, name):
                continue
            face = name[:2]
            if drawn := figures(root / "notebooks" / f"{name}.ipynb"):
                new = [image for image in drawn if look(image) not in taken] or drawn
                thumbnail = min(new, key=lambda image: abs(image.width / image.height - WIDTH / HEIGHT))
                taken.add(look(thumbnail))
                thumbnail = thumbnail.crop((0, 0, min(thumbnail.width, WIDEST * thumbnail.height), thumbnail.height))
                thumbnail.thumbnail((WIDTH, HEIGHT))
                thumbnail.save(folder / f"{name}.png")
                face = f"![]({os.path.relpath(folder / f'{name}.png', root / 'docs')})"
            page = f"/notebooks/{name}.ipynb"
            time = f"{minutes} minute{'s' * (minutes > 1)}"
            lines += [f"- [{face}]({page})", "", f"  **[]({page})**", "", f"  {shows}", "", f"  {time}", ""]
        lines += [":::", ""]
    return "\n".join(lines)
