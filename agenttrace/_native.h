/* What the files of agenttrace._native share. */
#ifndef AGENTTRACE_NATIVE_H
#define AGENTTRACE_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifdef Py_GIL_DISABLED
#error "the GIL is what makes these functions whole; use the Python way"
#endif
#ifndef __GNUC__
#error "needs the atomic builtins of GCC or Clang; use the Python way"
#endif

#define INTERNAL __attribute__((visibility("hidden")))
#define FUNCTION(name) (PyCFunction)(void (*)(void))name

#define REVISION 3 /* native.REVISION: raise both when a function, or what it is given, changes */
#define MARK "$agenttrace" /* events.MARK */

INTERNAL int add_values(PyObject *module); /* _native_values.c */
INTERNAL int add_ring(PyObject *module);   /* _native_ring.c */
INTERNAL int add_scan(PyObject *module);   /* _native_scan.c */

#endif
