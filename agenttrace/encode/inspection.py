"""
Read what an object holds without running any of its code.

Invariant: only C slots and descriptors of CPython are called, never ``getattr`` on
a foreign object: no ``__getattr__``, ``__class__``, property, ``__len__``, ``__repr__``
or metaclass ``__hash__`` of the user's runs here. Cost: one look over the class's
bases, kept for the last classes seen.
"""

from __future__ import annotations

import types
from itertools import islice
from typing import Any, NamedTuple

__all__ = ["class_attribute", "is_a", "is_record", "iter_state", "mro_of", "type_name"]

_MRO = type.__dict__["__mro__"].__get__
_CLASS_DICT = type.__dict__["__dict__"].__get__
_NAME = type.__dict__["__name__"].__get__
_QUALNAME = type.__dict__["__qualname__"].__get__

_RECORD_MARKERS = (
    "__dataclass_fields__",
    "__attrs_attrs__",
    "__pydantic_fields__",
    "__pydantic_core_schema__",
    "__struct_fields__",
)
_RECORD_EXTRA = ("__pydantic_extra__",)
"""Slots that hold fields in spite of their name."""
_RECORD_NAMES = ("types.SimpleNamespace", "argparse.Namespace", "subprocess.CompletedProcess")
_MAX_NAME_CHARACTERS = 200
_MAX_PLANS = 2048


class _Plan(NamedTuple):
    """How to read the instances of one class."""

    cls: type
    """Held so that the id under which the plan is kept stays its own."""
    is_record: bool
    dict_descriptor: Any
    slots: tuple[tuple[str, Any], ...]


_plans: dict[int, _Plan] = {}
_MISSING: Any = object()


def mro_of(cls: type) -> tuple[type, ...]:
    """Give the class and its bases in order, past any metaclass."""
    found: tuple[type, ...] = _MRO(cls)
    return found


def is_a(cls: type, base: type) -> bool:
    """Tell whether *base* really is among the bases of *cls*; no ABC hook is asked."""
    return any(candidate is base for candidate in _MRO(cls))


def class_attribute(cls: type, name: str) -> Any:
    """Give the raw attribute *name* of *cls* or of its bases; None when there is none."""
    for base in _MRO(cls):
        namespace = _CLASS_DICT(base)
        if name in namespace:
            return namespace[name]
    return None


def type_name(cls: type) -> str:
    """Render the class as ``module.Qualified.Name``, builtins without their module."""
    name = _QUALNAME(cls)
    module = _read(type.__dict__["__module__"], cls)
    if type(module) is str and module != "builtins":
        name = f"{module[:_MAX_NAME_CHARACTERS]}.{name}"
    return str(name[:_MAX_NAME_CHARACTERS]).encode("utf-8", "backslashreplace").decode()


def is_record(cls: type) -> bool:
    """Tell whether instances are meant as data: dataclass, attrs, pydantic, msgspec, namespace."""
    return _plan_of(cls).is_record


def iter_state(value: Any, limit_items: int) -> list[tuple[Any, Any]]:
    """
    Give up to *limit_items* attributes that *value* really stores, slots first.

    Names that begin with two underscores are left out. An object without a
    ``__dict__`` and without slots gives an empty list.
    """
    plan = _plan_of(type(value))
    found: list[tuple[Any, Any]] = []
    for name, descriptor in plan.slots[:limit_items]:
        stored = _read(descriptor, value)
        if stored is not _MISSING:
            found.append((name, stored))
    if plan.dict_descriptor is not None:
        stored = _read(plan.dict_descriptor, value)
        if is_a(type(stored), dict):
            for name, attribute in list(islice(dict.items(stored), limit_items - len(found))):
                if type(name) is not str or name[:2] != "__":
                    found.append((name, attribute))
    return found


def _plan_of(cls: type) -> _Plan:
    plan = _plans.get(id(cls))
    if plan is None:
        plan = _build_plan(cls)
        if len(_plans) >= _MAX_PLANS:
            _plans.clear()
        _plans[id(cls)] = plan
    return plan


def _build_plan(cls: type) -> _Plan:
    record = False
    dict_descriptor: Any = None
    slots: dict[str, Any] = {}
    for base in reversed(_MRO(cls)):
        namespace = _CLASS_DICT(base)
        record = record or any(marker in namespace for marker in _RECORD_MARKERS)
        record = record or type_name(base) in _RECORD_NAMES
        for name, descriptor in list(namespace.items()):
            kind = type(descriptor)
            if kind is not types.MemberDescriptorType and kind is not types.GetSetDescriptorType:
                continue
            if name == "__dict__":
                dict_descriptor = descriptor
            elif kind is types.MemberDescriptorType and (name[:2] != "__" or name in _RECORD_EXTRA):
                slots[name] = descriptor
    return _Plan(cls, record, dict_descriptor, tuple(slots.items()))


def _read(descriptor: Any, value: Any) -> Any:
    try:
        return descriptor.__get__(value)
    except Exception:  # an empty slot, or a descriptor of another layout
        return _MISSING
