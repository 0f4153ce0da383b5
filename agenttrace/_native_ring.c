/* The ring: what a frame is stands in write/frames.py, where the words lie in write/header.py. Twin: write/ring.py. */
#include "_native.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

/* ------------------------------------------------------------------ check sum */

/* CRC-32 as binascii has it, sixteen bytes at a time: crc_table[k] is a byte k places further on. */
static uint32_t crc_table[16][256];

static void
build_crc_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
        }
        crc_table[0][byte] = crc;
    }
    for (int k = 1; k < 16; k++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = crc_table[k - 1][byte];
            crc_table[k][byte] = (before >> 8) ^ crc_table[0][before & 0xFF];
        }
    }
}

static uint32_t
read_u32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t
check_sum(const unsigned char *data, size_t size)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (; size >= 16; data += 16, size -= 16) {
        uint32_t next = 0;
        for (int part = 0; part < 4; part++) {
            uint32_t four = read_u32(data + 4 * part) ^ (part == 0 ? crc : 0);
            next ^= crc_table[15 - 4 * part][four & 0xFF] ^ crc_table[14 - 4 * part][four >> 8 & 0xFF]
                  ^ crc_table[13 - 4 * part][four >> 16 & 0xFF] ^ crc_table[12 - 4 * part][four >> 24];
        }
        crc = next;
    }
    for (; size > 0; data++, size--) {
        crc = (crc >> 8) ^ crc_table[0][(crc ^ *data) & 0xFF];
    }
    return ~crc;
}

PyDoc_STRVAR(crc32_doc, "crc32(data, /)\n--\n\nAs binascii.crc32, for the tests.");

static PyObject *
crc32_of(PyObject *Py_UNUSED(module), PyObject *data)
{
    if (!PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "crc32 takes bytes");
        return NULL;
    }
    size_t size = (size_t)PyBytes_GET_SIZE(data);
    return PyLong_FromUnsignedLong(check_sum((const unsigned char *)PyBytes_AS_STRING(data), size));
}

/* ------------------------------------------------------------------ the ring */

/* From write/header.py and write/frames.py; a test compares them. */
#define WORDS_AT 64
#define WORDS_BYTES 512
#define WORD_HEAD 0
#define WORD_TAIL 1
#define WORD_DROPS 8 /* of the reason "full" */
#define FRAME_BYTES 16
#define OUTSIDE 0x80000000u

/* From write/ring.py. */
enum { DONE = 0, NUDGE = 1, FULL = 2, OVERSIZE = 3, CLOSED = 4 };

typedef struct {
    PyObject_HEAD
    PyObject *mapping; /* asked for its memory at each use, so that it can be closed at any time */
    PyObject *waiting; /* a deque of ring_base.Waiting: what came while the ring was being made */
    Py_ssize_t size;
    Py_ssize_t data_at;
    uint64_t capacity;
    char is_closed;
    char is_resting;
    char is_urged;
} Gate;

/* What the methods work on while they run. */
typedef struct {
    Py_buffer buffer;
    unsigned char *memory;
    uint64_t *words;
} View;

static int
look(Gate *self, View *view)
{
    if (PyObject_GetBuffer(self->mapping, &view->buffer, PyBUF_WRITABLE) < 0) {
        return -1; /* ValueError: it is closed, because the process was forked or the ring disposed of */
    }
    if (view->buffer.len != self->size) {
        PyBuffer_Release(&view->buffer);
        PyErr_SetString(PyExc_ValueError, "the ring's memory has changed its size");
        return -1;
    }
    view->memory = view->buffer.buf;
    view->words = (uint64_t *)(void *)(view->memory + WORDS_AT);
    return 0;
}

/* Publish: a reader that sees the new value sees all that was written before it. */
static void
store_word(View *view, size_t word, uint64_t value)
{
    __atomic_store_n(&view->words[word], value, __ATOMIC_RELEASE);
}

static int
is_half_full(Gate *self, View *view)
{
    return (view->words[WORD_HEAD] - view->words[WORD_TAIL]) * 2 > self->capacity;
}

/* Copy to a place of the stream, around the end of the memory if need be. */
static void
copy_in(Gate *self, View *view, uint64_t place, const void *data, size_t size)
{
    size_t offset = (size_t)(place % self->capacity);
    size_t first = (size_t)self->capacity - offset;
    unsigned char *ring = view->memory + self->data_at;
    if (size <= first) {
        memcpy(ring + offset, data, size);
        return;
    }
    memcpy(ring + offset, data, first);
    memcpy(ring, (const char *)data + first, size - first);
}

/* Write one frame at head and move head behind it; 0 where there is no room. */
static int
write_frame(Gate *self, View *view, PyObject *body, uint32_t flags)
{
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(body);
    size_t size = (size_t)PyBytes_GET_SIZE(body);
    uint64_t place = view->words[WORD_HEAD];
    uint64_t end = place + FRAME_BYTES + size;
    if (end - view->words[WORD_TAIL] > self->capacity) {
        return 0;
    }
    uint64_t fields[2] = {(uint64_t)check_sum(data, size) << 32 | (uint32_t)size | flags, place};
    unsigned char head[FRAME_BYTES];
    for (int byte = 0; byte < FRAME_BYTES; byte++) {
        head[byte] = (unsigned char)(fields[byte / 8] >> 8 * (byte % 8)); /* little-endian anywhere */
    }
    copy_in(self, view, place, head, FRAME_BYTES);
    copy_in(self, view, place + FRAME_BYTES, data, size);
    store_word(view, WORD_HEAD, end);
    return 1;
}

static int
ask_for_writer(Gate *self, View *view)
{
    if (self->is_resting) {
        self->is_resting = 0;
        return NUDGE;
    }
    if (!self->is_urged && is_half_full(self, view)) {
        self->is_urged = 1;
        return NUDGE;
    }
    return DONE;
}

/* Read a number from one slot; -1 with an exception. */
static int
read_number(PyObject *entry, const char *name, uint64_t *number)
{
    PyObject *found = PyObject_GetAttrString(entry, name);
    if (found == NULL) {
        return -1;
    }
    *number = PyLong_AsUnsignedLongLong(found);
    Py_DECREF(found);
    return *number == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

/* Put one waiting entry in: an event, or (without a body) a number of drops. -1 with an exception. */
static int
put_entry(Gate *self, View *view, PyObject *entry)
{
    uint64_t flags, word, count;
    if (read_number(entry, "flags", &flags) < 0 || read_number(entry, "word", &word) < 0
        || read_number(entry, "count", &count) < 0) {
        return -1;
    }
    PyObject *body = PyObject_GetAttrString(entry, "body");
    if (body == NULL) {
        return -1;
    }
    int outcome = 0;
    if (!PyBytes_CheckExact(body) || word >= WORDS_BYTES / 8) {
        PyErr_SetString(PyExc_TypeError, "not what waits for a ring");
        outcome = -1;
    }
    else if (PyBytes_GET_SIZE(body) == 0) {
        store_word(view, word, view->words[word] + count);
    }
    else if (!write_frame(self, view, body, (uint32_t)flags)) {
        store_word(view, WORD_DROPS, view->words[WORD_DROPS] + 1);
    }
    Py_DECREF(body);
    return outcome;
}

/* Put in all that waits. Its Python objects are of builtin types and slots: no code of theirs runs. */
static int
put_waiting(Gate *self, View *view)
{
    while (PyObject_Size(self->waiting) > 0) {
        PyObject *name = PyUnicode_FromString("popleft");
        PyObject *entry = name == NULL ? NULL : PyObject_CallMethodNoArgs(self->waiting, name);
        Py_XDECREF(name);
        if (entry == NULL) {
            return -1;
        }
        int outcome = put_entry(self, view, entry);
        Py_DECREF(entry);
        if (outcome < 0) {
            store_word(view, WORD_DROPS, view->words[WORD_DROPS] + 1);
            return -1;
        }
    }
    return 0;
}

/* As Ring._put_carefully; -1 with an exception. */
static int
put_body(Gate *self, View *view, PyObject *body, uint32_t flags)
{
    if (PyObject_Size(self->waiting) != 0 && put_waiting(self, view) < 0) {
        return -1;
    }
    if (self->is_closed) {
        return CLOSED;
    }
    if ((uint64_t)PyBytes_GET_SIZE(body) > self->capacity / 4) {
        return OVERSIZE;
    }
    if (PyBytes_GET_SIZE(body) > 0 && !write_frame(self, view, body, flags)) {
        return FULL;
    }
    return ask_for_writer(self, view);
}

PyDoc_STRVAR(gate_put_doc,
"put(body, flags=0, /)\n--\n\n"
"Put one event in, whole or not at all; gives an outcome of write.ring.");

static PyObject *
gate_put(Gate *self, PyObject *const *args, Py_ssize_t count)
{
    uint32_t flags = 0;
    View view;
    if (count < 1 || count > 2 || !PyBytes_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "put takes bytes and flags");
        return NULL;
    }
    if (count == 2) {
        flags = (uint32_t)PyLong_AsUnsignedLongMask(args[1]);
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    if (look(self, &view) < 0) {
        return NULL;
    }
    int outcome = put_body(self, &view, args[0], flags);
    PyBuffer_Release(&view.buffer);
    return outcome < 0 ? NULL : PyLong_FromLong(outcome);
}

PyDoc_STRVAR(gate_absorb_doc,
"absorb(ask, /)\n--\n\n"
"Put in what came while the ring was being made; NUDGE or DONE, and DONE where *ask* is false.");

static PyObject *
gate_absorb(Gate *self, PyObject *ask)
{
    View view;
    int wanted = PyObject_IsTrue(ask);
    if (wanted < 0) {
        return NULL;
    }
    if (PyObject_Size(self->waiting) == 0) {
        return PyLong_FromLong(DONE);
    }
    if (look(self, &view) < 0) {
        return NULL;
    }
    int outcome = put_waiting(self, &view);
    if (outcome == 0 && wanted) {
        outcome = ask_for_writer(self, &view);
    }
    PyBuffer_Release(&view.buffer);
    return outcome < 0 ? NULL : PyLong_FromLong(outcome);
}

PyDoc_STRVAR(gate_count_doc, "count(word, number, /)\n--\n\nAdd to a counter of the ring's head.");

static PyObject *
gate_count(Gate *self, PyObject *args)
{
    unsigned int word;
    unsigned long long number;
    View view;
    if (!PyArg_ParseTuple(args, "IK:count", &word, &number)) {
        return NULL;
    }
    if (word < WORD_DROPS || word >= WORDS_BYTES / 8) {
        PyErr_SetString(PyExc_ValueError, "no counter has this place");
        return NULL;
    }
    if (look(self, &view) < 0) {
        return NULL;
    }
    store_word(&view, word, view.words[word] + number);
    PyBuffer_Release(&view.buffer);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(gate_advance_doc,
"advance(place, /)\n--\n\n"
"Give the room before *place* free; tells whether the ring still is more than half full.");

static PyObject *
gate_advance(Gate *self, PyObject *place)
{
    View view;
    unsigned long long tail = PyLong_AsUnsignedLongLong(place);
    if (tail == (unsigned long long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (look(self, &view) < 0) {
        return NULL;
    }
    store_word(&view, WORD_TAIL, tail);
    self->is_urged = 0;
    int full = is_half_full(self, &view);
    PyBuffer_Release(&view.buffer);
    return PyBool_FromLong(full);
}

/* Tell whether all that was put in is stored; -1 with an exception. */
static int
is_settled(Gate *self)
{
    View view;
    if (look(self, &view) < 0) {
        return -1;
    }
    int settled = PyObject_Size(self->waiting) == 0 && view.words[WORD_HEAD] == view.words[WORD_TAIL];
    PyBuffer_Release(&view.buffer);
    return settled;
}

PyDoc_STRVAR(gate_rest_doc,
"rest()\n--\n\nHave the next put give NUDGE; False, and nothing done, while something is not stored.");

static PyObject *
gate_rest(Gate *self, PyObject *Py_UNUSED(ignored))
{
    int settled = is_settled(self);
    if (settled < 0) {
        return NULL;
    }
    if (settled) {
        self->is_resting = 1;
    }
    return PyBool_FromLong(settled);
}

PyDoc_STRVAR(gate_close_empty_doc,
"close_empty()\n--\n\nTake no more events, unless there is one that is not stored; tells which.");

static PyObject *
gate_close_empty(Gate *self, PyObject *Py_UNUSED(ignored))
{
    int settled = is_settled(self);
    if (settled < 0) {
        return NULL;
    }
    if (settled) {
        self->is_closed = 1;
    }
    return PyBool_FromLong(settled);
}

static PyObject *
gate_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *mapping;
    PyObject *waiting;
    Py_ssize_t data_at;
    Py_buffer buffer;
    if (keywords != NULL && PyDict_GET_SIZE(keywords) > 0) {
        PyErr_SetString(PyExc_TypeError, "Gate takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OnO:Gate", &mapping, &data_at, &waiting)) {
        return NULL;
    }
    if (strcmp(Py_TYPE(waiting)->tp_name, "collections.deque") != 0) {
        PyErr_SetString(PyExc_TypeError, "what waits must be in a deque");
        return NULL;
    }
    if (PyObject_GetBuffer(mapping, &buffer, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    int is_aligned = (uintptr_t)buffer.buf % sizeof(uint64_t) == 0;
    Py_ssize_t size = buffer.len;
    PyBuffer_Release(&buffer);
    if (!is_aligned || data_at < WORDS_AT + WORDS_BYTES || size - data_at < 4 * FRAME_BYTES) {
        PyErr_SetString(PyExc_ValueError, "this is no memory of a ring");
        return NULL;
    }
    Gate *self = (Gate *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->mapping = Py_NewRef(mapping);
    self->waiting = Py_NewRef(waiting);
    self->size = size;
    self->data_at = data_at;
    self->capacity = (uint64_t)(size - data_at);
    self->is_resting = 1;
    return (PyObject *)self;
}

static void
gate_dealloc(Gate *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(self->mapping);
    Py_CLEAR(self->waiting);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef gate_methods[] = {
    {"put", FUNCTION(gate_put), METH_FASTCALL, gate_put_doc},
    {"absorb", (PyCFunction)gate_absorb, METH_O, gate_absorb_doc},
    {"count", (PyCFunction)gate_count, METH_VARARGS, gate_count_doc},
    {"advance", (PyCFunction)gate_advance, METH_O, gate_advance_doc},
    {"rest", (PyCFunction)gate_rest, METH_NOARGS, gate_rest_doc},
    {"close_empty", (PyCFunction)gate_close_empty, METH_NOARGS, gate_close_empty_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef gate_members[] = {
    {"is_closed", T_BOOL, offsetof(Gate, is_closed), 0, "It takes no more events."},
    {"is_resting", T_BOOL, offsetof(Gate, is_resting), 0, "The next put is to give NUDGE."},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(gate_doc,
"Gate(mapping, data_at, waiting)\n--\n\n"
"What moves the head and the tail of a ring, each in one step that nothing interrupts.");

static PyType_Slot gate_slots[] = {
    {Py_tp_doc, (void *)gate_doc},
    {Py_tp_new, gate_new},
    {Py_tp_dealloc, gate_dealloc},
    {Py_tp_methods, gate_methods},
    {Py_tp_members, gate_members},
    {0, NULL},
};

static PyType_Spec gate_spec = {
    .name = "agenttrace._native.Gate",
    .basicsize = sizeof(Gate),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = gate_slots,
};

/* ------------------------------------------------------------------ what Python sees */

static PyMethodDef functions[] = {
    {"crc32", crc32_of, METH_O, crc32_doc},
    {NULL, NULL, 0, NULL},
};

int
add_ring(PyObject *module)
{
    build_crc_table();
    if (PyModule_AddFunctions(module, functions) < 0) {
        return -1;
    }
    PyObject *type = PyType_FromModuleAndSpec(module, &gate_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    int outcome = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    if (outcome < 0) {
        return -1;
    }
    PyObject *constants = Py_BuildValue(
        "{s:s,s:i,s:i,s:i,s:i,s:i,s:I,s:i,s:i,s:i,s:i,s:i}",
        "MARK", MARK, "WORDS_AT", WORDS_AT, "WORDS_BYTES", WORDS_BYTES, "WORD_HEAD", WORD_HEAD,
        "WORD_TAIL", WORD_TAIL, "WORD_DROPS", WORD_DROPS, "OUTSIDE", OUTSIDE, "DONE", DONE, "NUDGE", NUDGE,
        "FULL", FULL, "OVERSIZE", OVERSIZE, "CLOSED", CLOSED);
    outcome = constants == NULL ? -1 : PyModule_AddObjectRef(module, "CONSTANTS", constants);
    Py_XDECREF(constants);
    return outcome; /* a test compares them with those of Python */
}
