"""A file that a command writes beside what it prints, because an option names it: of measurements, of a trace."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from nss.errors import UsageError


class NamedFile:
    """A file that an option names, which replaces one that is there."""

    def __init__(self, option: str, name: str) -> None:
        """Before any work is done, and before a model is fetched for it.

        Args:
            option: what names the file, as messages call it.
            name: the path.

        Raises:
            UsageError: no file can have the name: it is empty, or a folder's, or its folder does not exist.
        """
        from nss.files.output_file import InputFiles

        if not name:
            raise UsageError(f"{option} is empty; give the name of a file, or leave it out")
        self.path = Path(name)
        # unlike Path.is_dir os.path.isdir is false, not an error, for impossible names
        if os.path.isdir(name) or not os.path.basename(name):  # noqa: PTH112, PTH119
            raise UsageError(f"{option} {name}: is a directory; name a file in it")
        if not os.path.isdir(self.path.parent):  # noqa: PTH112
            raise UsageError(f"{option} {name}: the directory {self.path.parent} does not exist; create it first")
        self._inputs = InputFiles()

    def check(self, inputs: Iterable[Path]) -> None:
        """Refuse to be one of ``inputs``, the files that the command reads, and what cannot be written.

        Raises as `nss.files.output_file.check` does.
        """
        from nss.files.output_file import check

        self._inputs.add(*inputs)
        check(self.path, inputs=self._inputs, may_exist=True)

    def write(self, content: str) -> None:
        """Put the file in its place. Raises as `nss.files.export.write_bytes` does."""
        from nss.files.export import write_bytes

        write_bytes(content.encode(), self.path, inputs=self._inputs, overwrite=True)
