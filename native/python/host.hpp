// What generated code calls back into Python for.
#pragma once

#include "program.hpp"
#include "python.hpp"

namespace graphflow
{

// A Python error put aside while generated code unwinds.
class SavedError
{
public:
    SavedError() = default;
    SavedError(const SavedError &) = delete;
    SavedError &operator=(const SavedError &) = delete;
    ~SavedError() { clear(); }
    void save()
    {
        clear();
        PyErr_Fetch(&type_, &value_, &traceback_);
    }
    bool restore()
    {
        if (type_ == nullptr) {
            return false;
        }
        PyErr_Restore(type_, value_, traceback_);
        type_ = value_ = traceback_ = nullptr;
        return true;
    }

private:
    void clear()
    {
        Py_CLEAR(type_);
        Py_CLEAR(value_);
        Py_CLEAR(traceback_);
    }
    PyObject *type_ = nullptr, *value_ = nullptr, *traceback_ = nullptr;
};

// What the callbacks of one run find again.
struct Context {
    Executable *executable;
    SavedError error;
};

// A copy of an array of the step, as it is now. Null: a Python error.
PyObject *argument_of(const gf_run *run, const Operand &operand);

// For gf_host.call and gf_host.interrupted; `context` is a Context. What Python raises is saved
// there. Both may be called with or without the interpreter's lock.
int32_t host_call(void *context, gf_run *run, int32_t index);
int32_t interrupted(void *context, gf_run *run);

} // namespace graphflow
