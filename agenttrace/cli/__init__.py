"""The command line: one small module per command. click and rich are imported only here."""

from __future__ import annotations

__all__: list[str] = []
