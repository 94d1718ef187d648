"""``python -m nss`` is the command ``nss-wgpu``."""

from __future__ import annotations

import sys

from nss import early_signals


def main() -> int:
    """Run the command; returns its exit status. Signals are taken care of before anything else is imported."""
    early_signals.install()
    from nss.cli.main import main as run

    status = run()
    early_signals.ignore()
    return status


if __name__ == "__main__":
    sys.exit(main())
