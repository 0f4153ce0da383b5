/*
 * agenttrace._native: the parts of recording that Python is too slow for.
 *
 * The look at a value and the making of bodies are in _native_values.c, the way of a
 * frame into the ring in _native_ring.c, the look for secrets in _native_scan.c. Everything has a twin in Python that does the
 * same, byte for byte, and that is used where this could not be compiled; see
 * agenttrace/native.py.
 *
 * Invariant: between its first look and its last store no function here runs Python
 * code, allocates an object that the garbage collector tracks, or gives up the GIL. So
 * no signal handler, finaliser or other thread ever sees, or adds to, a half-done thing,
 * and no lock is needed. That is why interpreters without a GIL use the Python way.
 */
#include "_native.h"

static int
module_exec(PyObject *module)
{
    if (add_values(module) < 0 || add_ring(module) < 0 || add_scan(module) < 0) {
        return -1;
    }
    return PyModule_AddIntConstant(module, "REVISION", REVISION);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "agenttrace._native",
    .m_doc = "The parts of recording that are written in C; see agenttrace.native.",
    .m_size = 0,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&module_def);
}
