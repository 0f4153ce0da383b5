"""
A virtual environment for each peer, made once and kept.

Invariant: a peer's packages never stand beside another's. An environment that
could not be made is reported with pip's last line.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PEERS", "Peer", "PeerMissing", "ensure_environment"]

_ROOT = Path(__file__).resolve().parent.parent.parent
_OTLP = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")


@dataclass(frozen=True, slots=True)
class Peer:
    """One recorder."""

    name: str
    title: str
    """How the table calls it."""
    packages: tuple[str, ...]
    statement: str
    """How a program imports it; the time of that is measured."""
    stored: str
    """Where its events end up in this comparison."""
    short: bool = True
    """Whether it runs without ``--all``."""


PEERS = (
    Peer("bare", "undecorated", (), "import json", "nowhere"),
    Peer("agenttrace", "agenttrace", (str(_ROOT),), "import agenttrace", "SQLite"),
    Peer("otel", "OpenTelemetry SDK span", _OTLP, "import opentelemetry.sdk.trace", "sent to a collector"),
    Peer("logfire", "Logfire `instrument`", ("logfire", *_OTLP), "import logfire", "sent to a collector"),
    Peer(
        "langfuse", "Langfuse `observe`", ("langfuse",), "from langfuse import observe", "sent to a collector"
    ),
    Peer("eliot", "eliot `log_call`", ("eliot",), "import eliot", "log file"),
    Peer("clustertrace", "clustertrace `trace`", ("clustertrace",), "import clustertrace", "SQLite"),
    Peer(
        "langsmith",
        "LangSmith `traceable`",
        ("langsmith",),
        "from langsmith import traceable",
        "sent to a collector",
        False,
    ),
    Peer("mlflow", "MLflow `trace`", ("mlflow",), "import mlflow", "SQLite", False),
    Peer("weave", "Weave `op`", ("weave",), "import weave", "sent to a collector", False),
    Peer(
        "openinference",
        "OpenInference tool tracer",
        ("openinference-instrumentation", *_OTLP),
        "import openinference.instrumentation",
        "sent to a collector",
        False,
    ),
)
"""In the order of the table."""


class PeerMissing(Exception):
    """A peer cannot be installed, or does not run; the text says why in a line."""


def ensure_environment(peer: Peer, folder: Path) -> Path:
    """
    Make the virtual environment of *peer* unless it is there; give its interpreter.

    Raises:
        PeerMissing: It cannot be made.
    """
    place = folder / peer.name
    python = place / "bin" / "python"
    complete = place / "complete"
    wanted = "\n".join(peer.packages)
    own = str(_ROOT) in peer.packages  # the checkout may have changed since
    if not own and complete.is_file() and complete.read_text(encoding="utf-8") == wanted:
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True, capture_output=True)
        if peer.packages:
            install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*install, *peer.packages], check=True, capture_output=True, timeout=900)
    except subprocess.CalledProcessError as failure:
        said = failure.stderr.decode(errors="replace").strip().splitlines() or ["no word from pip"]
        raise PeerMissing(f"not installed: {said[-1][:120]}") from failure
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise PeerMissing(f"not installed: {failure}") from failure
    complete.write_text(wanted, encoding="utf-8")
    return python
