/* A look over a payload before it is searched for secrets. Twins: encode/scan.py. */
#include "_native.h"

#include <string.h>

#define RUN_BYTES 16
#define PAIRS_BYTES 8192
#define FIRSTS_BYTES 256

/* What a key is made of: letters, digits, - and _. */
static const unsigned char of_key[256] = {
    ['-'] = 1, ['_'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

static inline unsigned char
lower(unsigned char byte)
{
    return byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte;
}

static int
begins_with_piece(const unsigned char *data, Py_ssize_t size, PyObject *pieces)
{
    for (Py_ssize_t number = 0; number < PyTuple_GET_SIZE(pieces); number++) {
        PyObject *piece = PyTuple_GET_ITEM(pieces, number);
        const unsigned char *wanted = (const unsigned char *)PyBytes_AS_STRING(piece);
        Py_ssize_t length = PyBytes_GET_SIZE(piece), same = 0;
        if (length > size) {
            continue;
        }
        while (same < length && lower(data[same]) == wanted[same]) {
            same++;
        }
        if (same == length) {
            return 1;
        }
    }
    return 0;
}

static const char has_piece_of_doc[] =
    "has_piece_of(payload, pieces, pairs)\n--\n\n"
    "Twin of encode.scan.has_piece_of_in_python.";

static PyObject *
has_piece_of(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyBytes_CheckExact(args[0]) || !PyTuple_CheckExact(args[1]) ||
        !PyBytes_CheckExact(args[2]) || PyBytes_GET_SIZE(args[2]) != PAIRS_BYTES + FIRSTS_BYTES) {
        PyErr_SetString(PyExc_TypeError, "has_piece_of takes bytes, a tuple of bytes and what build_pairs gives");
        return NULL;
    }
    for (Py_ssize_t number = 0; number < PyTuple_GET_SIZE(args[1]); number++) {
        if (!PyBytes_CheckExact(PyTuple_GET_ITEM(args[1], number))) {
            PyErr_SetString(PyExc_TypeError, "has_piece_of: a piece is bytes");
            return NULL;
        }
    }
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    const unsigned char *pairs = (const unsigned char *)PyBytes_AS_STRING(args[2]);
    const unsigned char *firsts = pairs + PAIRS_BYTES;
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]);

    for (Py_ssize_t at = 0; at < size; at++) {
        if (firsts[data[at]]) {
            unsigned pair = (unsigned)lower(data[at]) << 8 | (at + 1 < size ? lower(data[at + 1]) : 0);
            if (pairs[pair >> 3] >> (pair & 7) & 1 && begins_with_piece(data + at, size - at, args[1])) {
                Py_RETURN_TRUE;
            }
        }
    }
    Py_RETURN_FALSE;
}

static const char find_runs_doc[] =
    "find_runs(payload)\n--\n\n"
    "Twin of encode.scan.find_runs_in_python.";

/* A run that is long enough covers a place that RUN_BYTES divides, but for the first: look around those only. */
static PyObject *
find_runs(PyObject *Py_UNUSED(module), PyObject *payload)
{
    if (!PyBytes_CheckExact(payload)) {
        PyErr_SetString(PyExc_TypeError, "find_runs takes bytes");
        return NULL;
    }
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(payload);
    Py_ssize_t size = PyBytes_GET_SIZE(payload);
    PyObject *runs = PyList_New(0);
    if (runs == NULL) {
        return NULL;
    }
    for (Py_ssize_t at = RUN_BYTES - 1, end = 0; at < size; at += RUN_BYTES) {
        if (!of_key[data[at]] || at < end) {
            continue;
        }
        Py_ssize_t start = at;
        while (start > end && of_key[data[start - 1]]) {
            start--;
        }
        end = at + 1;
        while (end < size && of_key[data[end]]) {
            end++;
        }
        if (end - start >= RUN_BYTES) {
            PyObject *run = Py_BuildValue("(nn)", start, end);
            if (run == NULL || PyList_Append(runs, run) < 0) {
                Py_XDECREF(run);
                Py_DECREF(runs);
                return NULL;
            }
            Py_DECREF(run);
        }
    }
    return runs;
}

static PyMethodDef functions[] = {
    {"has_piece_of", FUNCTION(has_piece_of), METH_FASTCALL, has_piece_of_doc},
    {"find_runs", FUNCTION(find_runs), METH_O, find_runs_doc},
    {NULL, NULL, 0, NULL},
};

int
add_scan(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
