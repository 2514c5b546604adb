// Fetches: what a call of `run` is recognised by, and the nest its results are put into.
#pragma once

#include <cstdint>
#include <vector>

#include "python.hpp"

namespace graphflow
{

// A call's fetches and feed keys as a sequence of words: the addresses of leaves, and marks (odd
// numbers) for the containers around them. Leaves are told apart by identity, strings by value.
class Signature
{
public:
    static constexpr size_t room = 62;

    Signature() = default;
    Signature(const Signature &) = delete;
    Signature &operator=(const Signature &) = delete;

    // Appends a nest; false: a Python error.
    bool add_nest(PyObject *fetches);
    void add_leaf(PyObject *leaf) { push(reinterpret_cast<uintptr_t>(leaf)); }
    void add_feeds(size_t count) { push(mark(feeds, count)); }

    size_t size() const { return more_.empty() ? size_ : more_.size(); }
    const uintptr_t *words() const { return more_.empty() ? words_ : more_.data(); }
    uint64_t hash() const;

private:
    enum Kind { list = 1, tuple = 3, dict = 5, typed = 7, feeds = 9 };
    static uintptr_t mark(Kind kind, size_t count) { return count << 4 | kind; }

    void push(uintptr_t word)
    {
        if (size_ < room) {
            words_[size_++] = word;
        } else {
            push_beyond(word);
        }
    }
    void push_beyond(uintptr_t word);
    bool add_sequence(PyObject *sequence, Kind kind);
    bool add_mapping(PyObject *mapping);

    size_t size_ = 0;
    uintptr_t words_[room];
    std::vector<uintptr_t> more_; // everything, once there is no room
};

// A signature that is kept: it holds its leaves, so no other object can get their addresses.
class KeptSignature
{
public:
    explicit KeptSignature(const Signature &signature);
    KeptSignature(const KeptSignature &) = delete;
    KeptSignature &operator=(const KeptSignature &) = delete;
    ~KeptSignature();

    bool matches(const Signature &signature) const;
    int traverse(visitproc visit, void *context) const;
    // The feed keys, which are the last `count` words.
    PyObject *last_leaf(size_t from_end) const
    {
        return reinterpret_cast<PyObject *>(words_[words_.size() - 1 - from_end]);
    }

private:
    std::vector<uintptr_t> words_;
};

// The shape of results: containers of outputs by number, and None for what gives no value.
class Nest
{
public:
    // From the same containers holding integers and None. Throws pybind11::error_already_set.
    explicit Nest(PyObject *shape, size_t outputs);

    // New containers around the outputs. Null: a Python error.
    PyObject *build(PyObject *const *outputs) const;
    int traverse(visitproc visit, void *context) const;

private:
    enum Kind { output, none, list, tuple, named_tuple, dict, other_dict };
    Kind kind_;
    size_t index_ = 0;
    Ref type_;
    std::vector<Ref> keys_;
    std::vector<Nest> items_;
};

} // namespace graphflow
