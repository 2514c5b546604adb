#include "host.hpp"

#include <cstring>

#include "signals.hpp"

namespace graphflow
{
namespace
{

class InterpreterLock
{
public:
    InterpreterLock() : state_(PyGILState_Ensure()) {}
    InterpreterLock(const InterpreterLock &) = delete;
    InterpreterLock &operator=(const InterpreterLock &) = delete;
    ~InterpreterLock() { PyGILState_Release(state_); }

private:
    PyGILState_STATE state_;
};

bool store_result(const gf_run *run, const Operand &operand, PyObject *value)
{
    Py_INCREF(operand.descr.get());
    Ref array = Ref::steal(PyArray_FromAny(value, operand.descr.descr(), 0, 0,
                                           NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_FORCECAST, nullptr));
    if (!array) {
        return false;
    }
    auto rank = static_cast<int>(operand.dims.size());
    bool fits = PyArray_NDIM(array.array()) == rank;
    for (int i = 0; i < rank && fits; i++) {
        fits =
            PyArray_DIM(array.array(), i) == gf_run_size(run, operand.dims[static_cast<size_t>(i)]);
    }
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "a host call gave an array of another shape");
        return false;
    }
    std::memcpy(gf_run_frame(run)->pointers[operand.pointer], PyArray_DATA(array.array()),
                static_cast<size_t>(PyArray_NBYTES(array.array())));
    return true;
}

bool call_function(const gf_run *run, const HostCall &call)
{
    Ref arguments = Ref::steal(PyTuple_New(static_cast<Py_ssize_t>(call.inputs.size())));
    for (size_t i = 0; i < call.inputs.size() && arguments; i++) {
        PyObject *argument = argument_of(run, call.inputs[i]);
        if (argument == nullptr) {
            return false;
        }
        PyTuple_SET_ITEM(arguments.get(), static_cast<Py_ssize_t>(i), argument);
    }
    Ref function = call.function;
    Ref result =
        Ref::steal(arguments ? PyObject_CallObject(function.get(), arguments.get()) : nullptr);
    if (!result || call.outputs.empty()) {
        return static_cast<bool>(result);
    }
    bool many = PyTuple_Check(result.get()) || PyList_Check(result.get());
    if (call.outputs.size() == 1 && !(many && PySequence_Fast_GET_SIZE(result.get()) == 1)) {
        return store_result(run, call.outputs[0], result.get());
    }
    if (!many ||
        static_cast<size_t>(PySequence_Fast_GET_SIZE(result.get())) != call.outputs.size()) {
        PyErr_Format(PyExc_ValueError, "a host call gave other than the %zu results it should",
                     call.outputs.size());
        return false;
    }
    for (size_t i = 0; i < call.outputs.size(); i++) {
        if (!store_result(run, call.outputs[i],
                          PySequence_Fast_GET_ITEM(result.get(), static_cast<Py_ssize_t>(i)))) {
            return false;
        }
    }
    return true;
}

} // namespace

// The arena is reused as soon as the run ends, and who gets the array may keep it: a copy.
PyObject *argument_of(const gf_run *run, const Operand &operand)
{
    npy_intp dims[GF_MAX_RANK];
    auto rank = static_cast<int>(operand.dims.size());
    for (int i = 0; i < rank; i++) {
        dims[i] = gf_run_size(run, operand.dims[static_cast<size_t>(i)]);
    }
    Py_INCREF(operand.descr.get());
    PyObject *array = PyArray_NewFromDescr(&PyArray_Type, operand.descr.descr(), rank, dims,
                                           nullptr, nullptr, 0, nullptr);
    if (array != nullptr) {
        auto *to = reinterpret_cast<PyArrayObject *>(array);
        std::memcpy(PyArray_DATA(to), gf_run_frame(run)->pointers[operand.pointer],
                    static_cast<size_t>(PyArray_NBYTES(to)));
    }
    return array;
}

int32_t host_call(void *data, gf_run *run, int32_t index)
{
    auto *context = static_cast<Context *>(data);
    InterpreterLock lock;
    const auto &calls = context->executable->calls;
    if (index < 0 || static_cast<size_t>(index) >= calls.size()) {
        PyErr_Format(PyExc_SystemError, "host call %d does not exist", index);
    } else if (call_function(run, calls[static_cast<size_t>(index)])) {
        return GF_OK;
    }
    context->error.save();
    return GF_HOST_ERROR;
}

// A signal has arrived: lets Python's handler decide, here and now, whether the run goes on.
int32_t interrupted(void *data, gf_run *)
{
    auto *context = static_cast<Context *>(data);
    interrupt_attention = 0;
    InterpreterLock lock;
    if (PyErr_CheckSignals() == 0) {
        return 0;
    }
    context->error.save();
    return 1;
}

} // namespace graphflow
