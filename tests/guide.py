"""The guide for kernels as a list of steps: the blocks of code in it, and the files that they make or change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GUIDE = ("docs/kernels.md", "docs/gpu_kernels.md", "docs/kernel_rows.md")
"""Its pages, in the order in which they are followed."""


@dataclass(frozen=True)
class Step:
    """What a block of the guide does to a file."""

    path: str
    language: str
    text: str

    def follow(self, root: Path) -> None:
        """Make the file, or change it by a ``diff``, whose lines must be there once; its last line may go on."""
        file = root / self.path
        if self.language != "diff":
            assert not file.exists(), f"{self.path} is there now: the guide needs another example"
            file.write_text(self.text, encoding="utf-8")
            return
        lines = self.text.splitlines()
        before, after = ("\n".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" -", " +"))
        content = file.read_text(encoding="utf-8")
        assert content.count(before) == 1, f"these lines of the guide must be in {self.path} once:\n{before}"
        file.write_text(content.replace(before, after), encoding="utf-8")


def steps(guide: str) -> Iterator[Step]:
    """The blocks in their order: each behind the name of its file, or behind another change of the same file."""
    path = None
    for text, language, block in re.findall(r"(.*?)^```(\w*)\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL):
        heading = re.search(r"^`([\w./]+)`(?:, new)?:\n\n\Z", text, re.MULTILINE)
        if heading:
            path = heading[1]
        elif text.strip():
            path = None
        if language in ("python", "wgsl", "diff"):
            assert path, f"no line says for which file this is:\n{block}"
            yield Step(path, language, block)
