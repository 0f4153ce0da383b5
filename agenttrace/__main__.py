"""
``python -m agenttrace`` and the ``agenttrace`` command.
"""

from __future__ import annotations

import sys

from agenttrace.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
