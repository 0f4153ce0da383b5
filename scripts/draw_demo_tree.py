"""
Draw the picture of the README: run the demo, and write the tree of ``agenttrace show`` as SVG.

``python scripts/draw_demo_tree.py`` writes docs/images/demo-tree.svg. Times differ from run to run; all else
is what is printed now.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from agenttrace import TraceStore, TraceViewer
from agenttrace.cli.console import build_console
from agenttrace.cli.show import print_tree

__all__ = ["main"]

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "demo-tree.svg"
_WIDTH = 100


def main() -> int:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "traces.db")
        demo = [sys.executable, "-m", "agenttrace", "demo", "--db", database]
        subprocess.run(demo, check=True, capture_output=True)
        with TraceStore(database) as store:
            viewer = TraceViewer(store)
            console = build_console(io.StringIO(), record=True, width=_WIDTH)
            print_tree(viewer, viewer.resolve("last").conversation_id, console)
    svg = console.export_svg(title="agenttrace show", unique_id="tree")
    # The picture stands alone: no font is fetched from anywhere.
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    PICTURE.write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE).rstrip() + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
