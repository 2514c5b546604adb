// CPython and NumPy for every file of the module, and the owning pointer they share.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define PY_ARRAY_UNIQUE_SYMBOL graphflow_numpy
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#ifndef GRAPHFLOW_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <new>
#include <utility>

namespace graphflow
{

static_assert(sizeof(npy_intp) == sizeof(int64_t), "dimensions are passed on as they are");

// Owns one reference.
class Ref
{
public:
    Ref() = default;
    static Ref steal(PyObject *object) { return Ref(object); }
    template <class T> static Ref steal(T *object)
    {
        return Ref(reinterpret_cast<PyObject *>(object));
    }
    static Ref share(PyObject *object)
    {
        Py_XINCREF(object);
        return Ref(object);
    }
    Ref(const Ref &other) : object_(other.object_) { Py_XINCREF(object_); }
    Ref(Ref &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Ref &operator=(Ref other) noexcept
    {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Ref() { Py_XDECREF(object_); }

    PyObject *get() const { return object_; }
    PyObject *release() { return std::exchange(object_, nullptr); }
    PyArrayObject *array() const { return reinterpret_cast<PyArrayObject *>(object_); }
    PyArray_Descr *descr() const { return reinterpret_cast<PyArray_Descr *>(object_); }
    explicit operator bool() const { return object_ != nullptr; }

private:
    explicit Ref(PyObject *object) : object_(object) {}
    PyObject *object_ = nullptr;
};

template <auto function> struct WithoutExceptions;
template <class... Arguments, PyObject *(*function)(Arguments...)>
struct WithoutExceptions<function> {
    static PyObject *call(Arguments... arguments)
    {
        try {
            return function(arguments...);
        } catch (const std::bad_alloc &) {
            return PyErr_NoMemory();
        }
    }
};

// The function for a table that Python calls: C++ runs out of memory by exception, C does not.
template <auto function>
inline constexpr auto without_exceptions = &WithoutExceptions<function>::call;

} // namespace graphflow
