/* Values and bodies: what orjson may see, and the joining of what it gave. Twins: encode/plain.py, encode/keys.py
 * and capture/bodies.py. */
#include "_native.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ values */

#define MARK_BYTES (sizeof(MARK) - 1)
#define DEEPEST 254 /* orjson refuses what is deeper; this bounds our own recursion */

/*
 * Tell whether orjson may see a container: exact types, finite floats, no more than fits.
 * Gives `left` less the entries and characters found; negative when it may not.
 *
 * References are borrowed: nothing else can run, so nothing can go away meanwhile.
 */
static Py_ssize_t
count_left(PyObject *container, Py_ssize_t left, Py_ssize_t depth)
{
    int is_dict = PyDict_CheckExact(container);
    int is_list = PyList_CheckExact(container);
    Py_ssize_t size = is_dict ? PyDict_GET_SIZE(container) : Py_SIZE(container);
    Py_ssize_t place = 0;

    left -= size;
    if (left < 0 || depth <= 0) {
        return -1;
    }
    for (;;) {
        PyObject *item;
        if (is_dict) {
            if (!PyDict_Next(container, &place, NULL, &item)) {
                return left;
            }
        }
        else {
            if (place >= size) {
                return left;
            }
            item = is_list ? PyList_GET_ITEM(container, place) : PyTuple_GET_ITEM(container, place);
            place++;
        }
        if (PyUnicode_CheckExact(item)) {
            left -= PyUnicode_GET_LENGTH(item);
        }
        else if (PyDict_CheckExact(item) || PyList_CheckExact(item) || PyTuple_CheckExact(item)) {
            left = count_left(item, left, depth - 1);
        }
        else if (PyFloat_CheckExact(item)) {
            if (!isfinite(PyFloat_AS_DOUBLE(item))) {
                return -1;
            }
        }
        else if (!PyLong_CheckExact(item) && !PyBool_Check(item) && item != Py_None) {
            return -1;
        }
        if (left < 0) {
            return -1;
        }
    }
}

/* Tell whether orjson alone writes `value` exactly. */
static int
is_plain(PyObject *value, Py_ssize_t limit, Py_ssize_t depth)
{
    if (PyUnicode_CheckExact(value)) {
        return PyUnicode_GET_LENGTH(value) <= limit;
    }
    if (PyDict_CheckExact(value) || PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
        return count_left(value, limit, depth < DEEPEST ? depth : DEEPEST) >= 0;
    }
    if (PyFloat_CheckExact(value)) {
        return isfinite(PyFloat_AS_DOUBLE(value));
    }
    return PyLong_CheckExact(value) || PyBool_Check(value) || value == Py_None;
}

static int
has_mark(const char *text, Py_ssize_t size)
{
    const char *end = text + size;
    while ((text = memchr(text, MARK[0], (size_t)(end - text))) != NULL) {
        if ((size_t)(end - text) < MARK_BYTES) {
            return 0;
        }
        if (memcmp(text, MARK, MARK_BYTES) == 0) {
            return 1;
        }
        text++;
    }
    return 0;
}

PyDoc_STRVAR(encode_plain_doc,
"encode_plain(dumps, value, limit_bytes, depth, /)\n--\n\n"
"As encode.plain.encode_plain_in_python; *dumps* is that of orjson.");

static PyObject *
encode_plain(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) {
        PyErr_Format(PyExc_TypeError, "encode_plain takes 4 arguments, not %zd", count);
        return NULL;
    }
    PyObject *value = args[1];
    Py_ssize_t limit = PyNumber_AsSsize_t(args[2], NULL);
    if (limit == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t depth = PyNumber_AsSsize_t(args[3], NULL);
    if (depth == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (!is_plain(value, limit, depth)) {
        Py_RETURN_NONE;
    }
    PyObject *encoded = PyObject_CallOneArg(args[0], value);
    if (encoded == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return NULL;
        }
        PyErr_Clear(); /* a lone surrogate, an int beyond 64 bits, a key that is no str */
        Py_RETURN_NONE;
    }
    if (!PyBytes_CheckExact(encoded)) {
        Py_DECREF(encoded);
        PyErr_SetString(PyExc_TypeError, "dumps gave no bytes");
        return NULL;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(encoded);
    if (size > limit || has_mark(PyBytes_AS_STRING(encoded), size)) {
        Py_DECREF(encoded);
        Py_RETURN_NONE;
    }
    return encoded;
}

/* A str has its own hash and comparison, so this runs no code of a class that another key may have. */
PyDoc_STRVAR(has_key_of_doc,
"has_key_of(members, names, limit_count, /)\n--\n\n"
"Tell whether one of the first keys of the dict *members* is in the frozenset *names* of str.");

static PyObject *
has_key_of(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyDict_CheckExact(args[0]) || !PyFrozenSet_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "has_key_of takes a dict, a frozenset and a number");
        return NULL;
    }
    Py_ssize_t left = PyNumber_AsSsize_t(args[2], NULL);
    if (left == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *key;
    Py_ssize_t place = 0;
    while (left-- > 0 && PyDict_Next(args[0], &place, &key, NULL)) {
        int found = PyUnicode_CheckExact(key) ? PySet_Contains(args[1], key) : 0;
        if (found != 0) {
            return found < 0 ? NULL : Py_NewRef(Py_True);
        }
    }
    Py_RETURN_FALSE;
}

/* ------------------------------------------------------------------ bodies */

/* A body is joined from texts, numbers and JSON that is there already, in one allocation. */
typedef struct {
    const char *text;
    Py_ssize_t size;
} Piece;

enum { NUMBER_CHARACTERS = 24 };

#define LITERAL(text) ((Piece){text, sizeof(text) - 1})

static int
piece_of(PyObject *value, Piece *piece)
{
    if (PyBytes_CheckExact(value)) {
        *piece = (Piece){PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)};
        return 0;
    }
    piece->text = PyUnicode_AsUTF8AndSize(value, &piece->size); /* TypeError for all but a str */
    return piece->text == NULL ? -1 : 0;
}

static int
piece_of_number(PyObject *value, Piece *piece, char *room)
{
    long long number = PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    unsigned long long rest = number < 0 ? 0 - (unsigned long long)number : (unsigned long long)number;
    char *at = room + NUMBER_CHARACTERS;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) {
        *--at = '-';
    }
    *piece = (Piece){at, room + NUMBER_CHARACTERS - at};
    return 0;
}

static PyObject *
join(const Piece *pieces, int count)
{
    Py_ssize_t size = 0;
    for (int i = 0; i < count; i++) {
        if (pieces[i].size > PY_SSIZE_T_MAX - size) {
            return PyErr_NoMemory();
        }
        size += pieces[i].size;
    }
    PyObject *body = PyBytes_FromStringAndSize(NULL, size);
    if (body == NULL) {
        return NULL;
    }
    char *at = PyBytes_AS_STRING(body);
    for (int i = 0; i < count; i++) {
        memcpy(at, pieces[i].text, (size_t)pieces[i].size);
        at += pieces[i].size;
    }
    return body;
}

PyDoc_STRVAR(tool_call_body_doc,
"tool_call_body(ts_ns, identity, span_id, parent_span_id, name_json, arguments, /)\n--\n\n"
"As capture.bodies.tool_call_body_in_python.");

static PyObject *
tool_call_body(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    char room[NUMBER_CHARACTERS];
    Piece ts, identity, span, parent, name, arguments;
    if (count != 6) {
        PyErr_Format(PyExc_TypeError, "tool_call_body takes 6 arguments, not %zd", count);
        return NULL;
    }
    if (piece_of_number(args[0], &ts, room) < 0 || piece_of(args[1], &identity) < 0
        || piece_of(args[2], &span) < 0 || piece_of(args[3], &parent) < 0
        || piece_of(args[4], &name) < 0 || piece_of(args[5], &arguments) < 0) {
        return NULL;
    }
    Piece pieces[] = {
        LITERAL("[\"tool_call\","), ts, LITERAL(","), identity, LITERAL(",\""), span, LITERAL("\",\""),
        parent, LITERAL("\","), name,
        LITERAL(",null,null,null,null,null,null]\n{\"arguments\":"), arguments, LITERAL("}"),
    };
    return join(pieces, sizeof(pieces) / sizeof(pieces[0]));
}

PyDoc_STRVAR(tool_result_body_doc,
"tool_result_body(ts_ns, identity, span_id, parent_span_id, name_json, duration_ns, output, /)\n--\n\n"
"As capture.bodies.tool_result_body_in_python.");

static PyObject *
tool_result_body(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    char ts_room[NUMBER_CHARACTERS], duration_room[NUMBER_CHARACTERS];
    Piece ts, identity, span, parent, name, duration, output;
    if (count != 7) {
        PyErr_Format(PyExc_TypeError, "tool_result_body takes 7 arguments, not %zd", count);
        return NULL;
    }
    if (piece_of_number(args[0], &ts, ts_room) < 0 || piece_of(args[1], &identity) < 0
        || piece_of(args[2], &span) < 0 || piece_of(args[3], &parent) < 0
        || piece_of(args[4], &name) < 0 || piece_of_number(args[5], &duration, duration_room) < 0
        || piece_of(args[6], &output) < 0) {
        return NULL;
    }
    Piece pieces[] = {
        LITERAL("[\"tool_result\","), ts, LITERAL(","), identity, LITERAL(",\""), span, LITERAL("\",\""),
        parent, LITERAL("\","), name, LITERAL(",\"ok\","), duration,
        LITERAL("e-6,null,null,null,null]\n{\"is_error\":false,\"output\":"), output, LITERAL("}"),
    };
    return join(pieces, sizeof(pieces) / sizeof(pieces[0]));
}

PyDoc_STRVAR(span_id_doc, "span_id(prefix, number, /)\n--\n\nAs capture.span_ids.span_id_in_python.");

static PyObject *
span_id(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    enum { FEWEST = 8, MOST = 16 };
    if (count != 2 || !PyUnicode_Check(args[0]) || !PyUnicode_IS_ASCII(args[0])) {
        PyErr_SetString(PyExc_TypeError, "span_id takes a text in ASCII and a number");
        return NULL;
    }
    unsigned long long number = PyLong_AsUnsignedLongLong(args[1]);
    if (number == (unsigned long long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    int digits = FEWEST;
    while (digits < MOST && number >> 4 * digits > 0) {
        digits++;
    }
    Py_ssize_t size = PyUnicode_GET_LENGTH(args[0]);
    PyObject *text = PyUnicode_New(size + digits, 127);
    if (text == NULL) {
        return NULL;
    }
    Py_UCS1 *at = PyUnicode_1BYTE_DATA(text);
    memcpy(at, PyUnicode_1BYTE_DATA(args[0]), (size_t)size);
    for (int place = 0; place < digits; place++) {
        at[size + place] = (Py_UCS1)"0123456789abcdef"[number >> 4 * (digits - 1 - place) & 15];
    }
    return text;
}

/* ------------------------------------------------------------------ what Python sees */

static PyMethodDef functions[] = {
    {"encode_plain", FUNCTION(encode_plain), METH_FASTCALL, encode_plain_doc},
    {"has_key_of", FUNCTION(has_key_of), METH_FASTCALL, has_key_of_doc},
    {"tool_call_body", FUNCTION(tool_call_body), METH_FASTCALL, tool_call_body_doc},
    {"tool_result_body", FUNCTION(tool_result_body), METH_FASTCALL, tool_result_body_doc},
    {"span_id", FUNCTION(span_id), METH_FASTCALL, span_id_doc},
    {NULL, NULL, 0, NULL},
};

int
add_values(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
