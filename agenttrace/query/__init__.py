"""
Read what was recorded; nothing here writes.

The pure parts are handed on here. ``TraceViewer`` stands in ``query.viewer``,
because it needs the database library, and rendering a tree does not.
"""

from __future__ import annotations

from agenttrace.query.tree import NodeFailure, Tree, TreeNode, build_tree

__all__ = ["NodeFailure", "Tree", "TreeNode", "build_tree"]
