"""
Builds the optional C part; everything else is declared in setup.cfg, which cannot say this.

Without a compiler the package installs and runs the same, in Python alone. So it does
with AGENTTRACE_PURE=1, on interpreters without a GIL, and on those that are not CPython.
"""

from __future__ import annotations

import os
import sys
import sysconfig

from setuptools import Extension, setup

_IS_WANTED = (
    sys.implementation.name == "cpython"
    and os.name == "posix"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and os.environ.get("AGENTTRACE_PURE", "").strip().lower() not in ("1", "true", "yes", "on")
)
_NATIVE = Extension(
    "agenttrace._native",
    [
        "agenttrace/_native.c",
        "agenttrace/_native_values.c",
        "agenttrace/_native_ring.c",
        "agenttrace/_native_scan.c",
    ],
    depends=["agenttrace/_native.h"],
    # Said here, because CFLAGS of the environment take the place of those that Python was built with.
    extra_compile_args=["-O3", "-Wall", "-Wextra"],
    optional=True,
)

setup(ext_modules=[_NATIVE] if _IS_WANTED else [])
