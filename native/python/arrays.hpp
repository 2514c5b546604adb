// Between NumPy arrays and the runtime's buffers.
#pragma once

#include "graphflow/executable.h"
#include "python.hpp"

namespace graphflow
{

// Makes the type of the objects that keep a buffer alive under an array. False: a Python error.
bool ready_arrays(PyObject *module);

// An array over the memory of `output`, whose buffer it takes over; a NumPy scalar for rank 0; a
// copy where the output has no buffer. Null: a Python error (and the buffer is released).
PyObject *wrap_output(const gf_output &output, PyArray_Descr *descr, bool writable);

// Whether a feed of type `descr` can use the memory of `value` as it is.
inline bool is_direct(PyObject *value, int type_number)
{
    if (!PyArray_Check(value)) {
        return false;
    }
    auto *array = reinterpret_cast<PyArrayObject *>(value);
    return (PyArray_TYPE(array) == type_number ||
            PyArray_EquivTypenums(PyArray_TYPE(array), type_number)) &&
           PyArray_IS_C_CONTIGUOUS(array) && PyArray_ISNOTSWAPPED(array);
}

// `value` as a C-contiguous array of type `descr`, by TensorFlow 1's rule np.asarray(value, dtype),
// except that text, objects and complex numbers are refused. Null: refused, with a Python error
// where there is something to say.
PyObject *convert_feed(PyObject *value, PyArray_Descr *descr);

} // namespace graphflow
