"""The server of `nss-wgpu serve` with limits that are soon met, for ``serve_fuzz.py``.

    python tools/serve_child.py MODEL [--stall SECONDS] [--watch IN OUT]

The token is read from the file that NSS_SERVE_TOKEN_FILE names. Prints the URL, and runs until SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nss.serve.http.server import run
from nss.serve.http.token import read_token
from nss.serve.jobs.models import ModelChoice
from nss.serve.limits import Limits
from nss.serve.settings import ServeSettings

NETWORK = {"backend": "numpy", "cache": False}
PIXELS = 4_000_000
LIMITS = {"memory": 512 << 20, "body_bytes": 1 << 20, "pixels": PIXELS, "queue": 8, "keep_count": 16, "file_count": 8}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--stall", type=float, default=1.0, help="how long an upload, or a request, may bring nothing")
    options = parser.parse_args(arguments)
    settings = ServeSettings(
        models=(ModelChoice(options.model, NETWORK, {}, PIXELS),),
        limits=Limits(**LIMITS, stall_seconds=options.stall),
        token=read_token(os.environ),
        port=0,
    )
    return run(
        settings, lambda line: print(line, file=sys.stderr, flush=True), ready=lambda url: print(url, flush=True)
    )


if __name__ == "__main__":
    raise SystemExit(main())
