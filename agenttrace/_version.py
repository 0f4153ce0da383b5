"""The version of the package; setup.cfg reads it from here."""

__all__ = ["VERSION"]

VERSION = "0.1.0"
