"""Instances made quickly: nobody can tell them from those that the class makes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from agenttrace.frozen import build_maker
from agenttrace.query.tree import TreeNode
from agenttrace.store.rows import ConversationRow, Event, Failure, OpenOperation, ProcessRow

__all__: list[str] = []


@pytest.mark.parametrize("row_type", [Event, ConversationRow, Failure, OpenOperation, ProcessRow, TreeNode])
class TestMadeRow:
    def test_is_what_the_class_makes(self, row_type: Any) -> None:
        """Equal, of the same class, with the same text, hash and copies."""
        values = [f"value {number}" for number, _ in enumerate(dataclasses.fields(row_type))]
        made, plain = build_maker(row_type)(*values), row_type(*values)
        assert type(made) is row_type
        assert made == plain and hash(made) == hash(plain) and repr(made) == repr(plain)
        assert copy.copy(made) == plain
        assert pickle.loads(pickle.dumps(made)) == plain
        assert dataclasses.asdict(made) == dataclasses.asdict(plain)

    def test_cannot_be_changed(self, row_type: Any) -> None:
        """It is as frozen as its class says."""
        made = build_maker(row_type)(*dataclasses.fields(row_type))
        name = dataclasses.fields(row_type)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(made, name)

    def test_is_made_the_quick_way(self, row_type: Any) -> None:
        """This interpreter does not refuse it."""
        assert build_maker(row_type) is not row_type


class TestMaker:
    def test_takes_names_and_defaults_as_the_class_does(self) -> None:
        """What may be left out may be left out, and nothing else may."""
        made = build_maker(Event)(1, "c", "a", None, 0, 5, kind="note", payload_json="{}")
        assert made == Event(1, "c", "a", None, 0, 5, "note", "{}")
        with pytest.raises(TypeError):
            build_maker(Event)(1)
        with pytest.raises(TypeError):
            build_maker(Event)(1, nothing=2)

    def test_of_another_layout_is_the_class_itself(self) -> None:
        """Where the short way is not open, the class makes its instances."""

        @dataclass(frozen=True)
        class Loose:
            one: int

        assert build_maker(Loose)(1) == Loose(1)
        assert build_maker(Loose) is Loose
