"""
What a model turn cost: token counts times the prices of an offline table.

The table is that of the optional library ``genai-prices`` (the extra ``prices``), as it stands in
the installed release: its own way of fetching newer prices is never started, and prices that a
program has fetched with it are not used, so that ``Price.priced_by`` tells the table exactly.
Invariants: nothing here opens a connection, and nothing raises; what cannot be priced is None,
never zero. Cost: 0.1 ms a turn; the first one brings the library in (20 ms beside an SDK that has
imported pydantic, 150 ms without), which is why turns are priced by the writer's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, NamedTuple

__all__ = ["Price", "Table", "load_table", "price_turn"]

_UNITS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
}
"""Our columns in the table's words."""
_MODELS_REMEMBERED = 256
_KNOWN_MODEL = ("gpt-4o", "openai")


class Price(NamedTuple):
    """What one turn cost, and by which table."""

    cost_usd: Decimal
    priced_by: str
    """``genai-prices 0.2.3``."""


class Table(NamedTuple):
    """The table that is installed here, if it is."""

    version: str | None
    """Of the library; None where it is not installed."""
    problem: str | None
    """Why it cannot be used, though it is installed."""

    @property
    def is_usable(self) -> bool:
        """Tell whether turns can be priced."""
        return self.version is not None and self.problem is None


def price_turn(
    model: str | None,
    provider: str | None,
    columns: Mapping[str, Any],
    *,
    usage: Any = None,
    service_tier: Any = None,
    at_ns: int | None = None,
) -> Price | None:
    """
    Price one turn.

    Args:
        model: The model that answered.
        provider: Who served it; where None, whoever is known for that model.
        columns: Its token counts by the names of our columns; others are ignored.
        usage: The provider's own usage object, for what our columns do not hold: how long a cache
            entry lives, audio, searches. Used where its sums are those of *columns*.
        service_tier: The provider's word for a cheaper or faster service, where it gave one.
        at_ns: When the request was made, as prices change; now, unless given.

    Returns:
        None where the library is not installed, the model or the provider is unknown to it, or the
        counts are missing or contradict each other.
    """
    try:
        return _price(model, provider, columns, usage, service_tier, at_ns)
    except Exception:  # LookupError: an unknown model; ValueError: counts at odds; or another major version
        return None


def load_table() -> Table:
    """Bring the library in, and try it."""
    from importlib import metadata  # late: only a diagnosis needs it

    try:
        version = metadata.version("genai-prices")
    except metadata.PackageNotFoundError:
        return Table(None, None)
    model, provider = _KNOWN_MODEL
    try:
        import genai_prices  # noqa: F401  # late: as in _library, and here what goes wrong is told

        found = _price(model, provider, {"input_tokens": 1_000_000}, None, None, None)
    except Exception as exc:
        return Table(version, f"{type(exc).__name__}: {exc}"[:200])
    return Table(version, None if found is not None else f"it has no price for {model}")


def _price(
    model: str | None,
    provider: str | None,
    columns: Mapping[str, Any],
    usage: Any,
    service_tier: Any,
    at_ns: int | None,
) -> Price | None:
    counts = {unit: columns[name] for name, unit in _UNITS.items() if columns.get(name) is not None}
    if not model or not counts or _library() is None:
        return None
    found_provider, found_model = _find(model, provider)
    details = _read_details(found_provider, usage, counts)
    at = None if at_ns is None else datetime.fromtimestamp(at_ns / 1_000_000_000, UTC)
    calculated = found_model.calc_price(
        details if details is not None else _library().Usage(**counts),
        found_provider,
        genai_request_timestamp=at,
        price_context=_build_context(usage, service_tier),
    )
    return Price(calculated.total_price, _label())


@cache
def _library() -> Any:
    """Give the library; None where it cannot be had, which is found out once."""
    try:
        import genai_prices  # late: optional, and it brings pydantic and an HTTP client with it
    except Exception:  # absent, or at odds with what it needs itself
        return None
    return genai_prices


@cache
def _label() -> str:
    return f"genai-prices {_library().__version__}"


@lru_cache(maxsize=_MODELS_REMEMBERED)
def _find(model: str, provider: str | None) -> tuple[Any, Any]:
    """Find a model in the table as released; LookupError where it is not there."""
    from genai_prices.data import providers  # late: as the library
    from genai_prices.data_snapshot import DataSnapshot

    # A snapshot for each search: its own memory of models and misses has no bound.
    snapshot = DataSnapshot(providers=providers, from_auto_update=False)
    found: tuple[Any, Any] = snapshot.find_provider_model(model, None, provider or None, None)
    return found


def _read_details(provider: Any, usage: Any, counts: dict[str, Any]) -> Any:
    """Read the provider's usage object as the table's own reader does; None where that says otherwise."""
    if not isinstance(usage, Mapping):
        return None
    for extractor in provider.extractors or ():
        try:
            _, found = extractor.extract({"usage": usage})
            if all(found.reported_value(unit) == count for unit, count in counts.items()):
                return found
        except (ValueError, TypeError):  # another interface of the same provider
            continue
    return None


def _build_context(usage: Any, service_tier: Any) -> dict[str, str]:
    """Name what makes a request cheaper or dearer than the list price."""
    said = usage if isinstance(usage, Mapping) else {}
    tier = service_tier if service_tier is not None else said.get("service_tier")
    named = {"service_tier": tier, "speed": said.get("speed")}
    if tier == "batch":
        named["processing"] = tier
    return {name: value for name, value in named.items() if isinstance(value, str)}
