"""``python -m nss`` is the command ``nss-wgpu``."""

import sys

from nss.cli import main

sys.exit(main())
