#include "arrays.hpp"

#include <cstring>

namespace graphflow
{
namespace
{

// Keeps a buffer of the runtime alive as the base of an array.
struct BufferObject {
    PyObject_HEAD gf_buffer *buffer;
};

PyTypeObject *buffer_type;

// Freed buffer objects, for reuse: every small output makes one. Guarded by the interpreter's lock.
constexpr int most_spare = 32;
BufferObject *spare[most_spare];
int spare_count;

void buffer_dealloc(PyObject *self)
{
    auto *object = reinterpret_cast<BufferObject *>(self);
    gf_buffer_release(object->buffer);
    object->buffer = nullptr;
    if (spare_count < most_spare) {
        spare[spare_count++] = object;
    } else {
        PyTypeObject *type = Py_TYPE(self);
        PyObject_Free(self);
        Py_DECREF(type);
    }
}

PyObject *new_buffer_object(gf_buffer *buffer)
{
    BufferObject *object;
    if (spare_count > 0) {
        object = spare[--spare_count];
        Py_SET_REFCNT(reinterpret_cast<PyObject *>(object), 1);
    } else {
        object = PyObject_New(BufferObject, buffer_type);
        if (object == nullptr) {
            gf_buffer_release(buffer);
            return nullptr;
        }
    }
    object->buffer = buffer;
    return reinterpret_cast<PyObject *>(object);
}

PyType_Slot buffer_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void *>(buffer_dealloc)},
    {Py_tp_doc, const_cast<char *>("Memory of the runtime that an array shows.")},
    {0, nullptr},
};
PyType_Spec buffer_spec = {"graphflow._native.Buffer", sizeof(BufferObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, buffer_slots};

PyObject *new_array(PyArray_Descr *descr, const gf_output &output, void *data, int flags)
{
    Py_INCREF(descr);
    return PyArray_NewFromDescr(
        &PyArray_Type, descr, output.rank,
        const_cast<npy_intp *>(reinterpret_cast<const npy_intp *>(output.dims)), nullptr, data,
        flags, nullptr);
}

PyObject *copy_output(const gf_output &output, PyArray_Descr *descr)
{
    PyObject *array = new_array(descr, output, nullptr, 0);
    if (array != nullptr) {
        auto *to = reinterpret_cast<PyArrayObject *>(array);
        std::memcpy(PyArray_DATA(to), output.data, static_cast<size_t>(PyArray_NBYTES(to)));
    }
    return array;
}

// Text, or a list that begins with text: `np.asarray(value, dtype)` would parse it.
bool is_text(PyObject *value)
{
    while ((PyList_Check(value) || PyTuple_Check(value)) && PySequence_Fast_GET_SIZE(value) > 0) {
        value = PySequence_Fast_GET_ITEM(value, 0);
    }
    return PyUnicode_Check(value) || PyBytes_Check(value);
}

// Python's own numbers and lists: NumPy converts them to a given type and checks their range.
bool is_plain_python(PyObject *value)
{
    return PyLong_Check(value) || PyFloat_CheckExact(value) || PyList_Check(value) ||
           PyTuple_Check(value);
}

bool converts(PyArrayObject *array, const PyArray_Descr *to)
{
    int from = PyArray_TYPE(array);
    if (PyTypeNum_ISCOMPLEX(from)) {
        return PyTypeNum_ISCOMPLEX(to->type_num);
    }
    return PyTypeNum_ISNUMBER(from) || PyTypeNum_ISBOOL(from) || PyTypeNum_ISUSERDEF(from);
}

} // namespace

bool ready_arrays(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&buffer_spec);
    if (type == nullptr || PyModule_AddObjectRef(module, "Buffer", type) < 0) {
        return false;
    }
    buffer_type = reinterpret_cast<PyTypeObject *>(type);
    return true;
}

PyObject *wrap_output(const gf_output &output, PyArray_Descr *descr, bool writable)
{
    if (output.rank == 0) {
        PyObject *scalar = PyArray_Scalar(output.data, descr, nullptr);
        gf_buffer_release(output.buffer);
        return scalar;
    }
    if (output.buffer == nullptr) {
        return copy_output(output, descr);
    }
    Ref base = Ref::steal(new_buffer_object(output.buffer));
    if (!base) {
        return nullptr;
    }
    int flags = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED | (writable ? NPY_ARRAY_WRITEABLE : 0);
    Ref array = Ref::steal(new_array(descr, output, output.data, flags));
    if (!array || PyArray_SetBaseObject(array.array(), base.release()) < 0) {
        return nullptr;
    }
    return array.release();
}

PyObject *convert_feed(PyObject *value, PyArray_Descr *descr)
{
    if (is_text(value)) {
        return nullptr;
    }
    Ref source = is_plain_python(value) ? Ref::share(value) : Ref::steal(PyArray_FROM_O(value));
    if (!source || (PyArray_Check(source.get()) && !converts(source.array(), descr))) {
        return nullptr;
    }
    Py_INCREF(descr);
    return PyArray_FromAny(source.get(), descr, 0, 0,
                           NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_FORCECAST |
                               NPY_ARRAY_ENSUREARRAY,
                           nullptr);
}

} // namespace graphflow
