#include "nest.hpp"

#include <pybind11/pybind11.h>

namespace graphflow
{
namespace
{

bool is_leaf_word(uintptr_t word)
{
    return (word & 1) == 0;
}

PyObject *leaf_of(uintptr_t word)
{
    return reinterpret_cast<PyObject *>(word);
}

bool same_text(uintptr_t left, uintptr_t right)
{
    return is_leaf_word(left) && is_leaf_word(right) && PyUnicode_CheckExact(leaf_of(left)) &&
           PyUnicode_CheckExact(leaf_of(right)) &&
           PyUnicode_Compare(leaf_of(left), leaf_of(right)) == 0;
}

bool is_named_tuple(PyObject *value)
{
    return PyTuple_Check(value) && PyObject_HasAttrString(value, "_fields");
}

} // namespace

void Signature::push_beyond(uintptr_t word)
{
    if (more_.empty()) {
        more_.assign(words_, words_ + size_);
    }
    more_.push_back(word);
}

bool Signature::add_sequence(PyObject *sequence, Kind kind)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    if (kind == typed) {
        add_leaf(reinterpret_cast<PyObject *>(Py_TYPE(sequence)));
    }
    push(mark(kind, static_cast<size_t>(count)));
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!add_nest(PySequence_Fast_GET_ITEM(sequence, i))) {
            return false;
        }
    }
    return true;
}

bool Signature::add_mapping(PyObject *mapping)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    if (!PyDict_CheckExact(mapping)) {
        add_leaf(reinterpret_cast<PyObject *>(Py_TYPE(mapping)));
    }
    push(mark(dict, static_cast<size_t>(PyDict_GET_SIZE(mapping))));
    while (PyDict_Next(mapping, &position, &key, &value)) {
        add_leaf(key);
        if (!add_nest(value)) {
            return false;
        }
    }
    return true;
}

bool Signature::add_nest(PyObject *fetches)
{
    bool is_list = PyList_Check(fetches), is_tuple = PyTuple_Check(fetches);
    if (!is_list && !is_tuple && !PyDict_Check(fetches)) {
        add_leaf(fetches);
        return true;
    }
    if (Py_EnterRecursiveCall(" in fetches")) {
        return false;
    }
    bool exact = PyList_CheckExact(fetches) || PyTuple_CheckExact(fetches);
    bool done = is_list || is_tuple ? add_sequence(fetches, !exact    ? typed
                                                            : is_list ? list
                                                                      : tuple)
                                    : add_mapping(fetches);
    Py_LeaveRecursiveCall();
    return done;
}

uint64_t Signature::hash() const
{
    uint64_t hash = 0xcbf29ce484222325u;
    const uintptr_t *all = words();
    for (size_t i = 0, count = size(); i < count; i++) {
        uintptr_t word = all[i];
        if (is_leaf_word(word) && PyUnicode_CheckExact(leaf_of(word))) {
            word = static_cast<uintptr_t>(PyObject_Hash(leaf_of(word)));
        }
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    return hash;
}

KeptSignature::KeptSignature(const Signature &signature)
    : words_(signature.words(), signature.words() + signature.size())
{
    for (uintptr_t word : words_) {
        if (is_leaf_word(word)) {
            Py_INCREF(leaf_of(word));
        }
    }
}

KeptSignature::~KeptSignature()
{
    for (uintptr_t word : words_) {
        if (is_leaf_word(word)) {
            Py_DECREF(leaf_of(word));
        }
    }
}

bool KeptSignature::matches(const Signature &signature) const
{
    if (signature.size() != words_.size()) {
        return false;
    }
    const uintptr_t *other = signature.words();
    for (size_t i = 0; i < words_.size(); i++) {
        if (words_[i] != other[i] && !same_text(words_[i], other[i])) {
            return false;
        }
    }
    return true;
}

int KeptSignature::traverse(visitproc visit, void *arg) const
{
    for (uintptr_t word : words_) {
        if (is_leaf_word(word)) {
            Py_VISIT(leaf_of(word));
        }
    }
    return 0;
}

Nest::Nest(PyObject *shape, size_t outputs) : kind_(output)
{
    if (shape == Py_None) {
        kind_ = none;
    } else if (PyLong_Check(shape)) {
        index_ = PyLong_AsSize_t(shape);
        if (PyErr_Occurred() != nullptr || index_ >= outputs) {
            PyErr_Clear();
            throw pybind11::value_error("a fetch refers to an output that does not exist");
        }
    } else if (PyList_Check(shape) || PyTuple_Check(shape)) {
        kind_ = is_named_tuple(shape) ? named_tuple : PyList_Check(shape) ? list : tuple;
        type_ = Ref::share(reinterpret_cast<PyObject *>(Py_TYPE(shape)));
        for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(shape); i++) {
            items_.emplace_back(PySequence_Fast_GET_ITEM(shape, i), outputs);
        }
    } else if (PyDict_Check(shape)) {
        PyObject *key, *value;
        Py_ssize_t position = 0;
        kind_ = PyDict_CheckExact(shape) ? dict : other_dict;
        type_ = Ref::share(reinterpret_cast<PyObject *>(Py_TYPE(shape)));
        while (PyDict_Next(shape, &position, &key, &value)) {
            keys_.push_back(Ref::share(key));
            items_.emplace_back(value, outputs);
        }
    } else {
        throw pybind11::type_error("a nest of fetches holds integers, None and containers");
    }
}

PyObject *Nest::build(PyObject *const *outputs) const
{
    if (kind_ == output) {
        Py_INCREF(outputs[index_]);
        return outputs[index_];
    }
    if (kind_ == none) {
        Py_RETURN_NONE;
    }
    auto count = static_cast<Py_ssize_t>(items_.size());
    if (kind_ == dict || kind_ == other_dict) {
        Ref result = Ref::steal(kind_ == dict ? PyDict_New() : PyObject_CallNoArgs(type_.get()));
        for (size_t i = 0; i < items_.size() && result; i++) {
            Ref value = Ref::steal(items_[i].build(outputs));
            if (!value || PyObject_SetItem(result.get(), keys_[i].get(), value.get()) < 0) {
                return nullptr;
            }
        }
        return result.release();
    }
    Ref result = Ref::steal(kind_ == list ? PyList_New(count) : PyTuple_New(count));
    for (Py_ssize_t i = 0; i < count && result; i++) {
        PyObject *item = items_[static_cast<size_t>(i)].build(outputs);
        if (item == nullptr) {
            return nullptr;
        }
        if (kind_ == list) {
            PyList_SET_ITEM(result.get(), i, item);
        } else {
            PyTuple_SET_ITEM(result.get(), i, item);
        }
    }
    if (kind_ == named_tuple && result) {
        return PyObject_Call(type_.get(), result.get(), nullptr);
    }
    return result.release();
}

int Nest::traverse(visitproc visit, void *arg) const
{
    Py_VISIT(type_.get());
    for (const Ref &key : keys_) {
        Py_VISIT(key.get());
    }
    for (const Nest &item : items_) {
        if (int stop = item.traverse(visit, arg)) {
            return stop;
        }
    }
    return 0;
}

} // namespace graphflow
