"""Tokens of captions and references: the Penn Treebank tokenizer's, as in COCO's evaluation, else lower-case words."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from ..errors import InvalidData

WORD = re.compile(r"\w+(?:'\w+)?")


def tokenizer_name() -> str:
    """Which tokenizer runs here."""
    return "Penn Treebank" if shutil.which("java") and find_spec("pycocoevalcap") else "lower-case words"


def tokenised(texts: list[str]) -> list[str]:
    """Texts in lower case, without punctuation, with a space between tokens."""
    if tokenizer_name() != "Penn Treebank":
        return [" ".join(WORD.findall(text.lower())) for text in texts]
    from pycocoevalcap.tokenizer import ptbtokenizer

    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    command += ["-encoding", "UTF-8"]
    # `split` also takes the characters at which the tokenizer would break a line; an empty line it would leave out.
    lines = "".join(" ".join(text.split() or ["."]) + "\n" for text in texts)
    done = subprocess.run(command, input=lines.encode("utf-8", "replace"), capture_output=True)
    found = done.stdout.decode("utf-8").split("\n")[:-1]
    if len(found) != len(texts):
        raise InvalidData(
            f"the Penn Treebank tokenizer made {len(found)} lines of {len(texts)}: {done.stderr[-200:]!r}"
        )
    return [" ".join(token for token in line.split() if token not in ptbtokenizer.PUNCTUATIONS) for line in found]
