// A session: variables, memory, threads, and the calls it has met.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "graphflow/executable.h"
#include "nest.hpp"
#include "program.hpp"
#include "python.hpp"
#include "threads.hpp"

namespace graphflow
{

struct Counters {
    int64_t runs = 0;         // calls of run and of callables that began
    int64_t native_calls = 0; // calls of a step function
    int64_t calls_prepared = 0;
    int64_t feeds_copied = 0;
    int64_t feeds_zero_copy = 0;
    int64_t outputs_copied = 0;
    int64_t outputs_zero_copy = 0;
    int64_t in_place_writes = 0;
    int64_t new_versions = 0;
};

struct StateInfo {
    Ref name;
    Ref descr;
    std::vector<int64_t> dims; // -1: unknown
    bool any_rank = false;
};

struct KnownCall {
    KeptSignature signature;
    Ref object; // a Call
    Call *call;
    KnownCall(const Signature &from, PyObject *call_object, Call *native)
        : signature(from), object(Ref::share(call_object)), call(native)
    {
    }
};

struct Release {
    void operator()(gf_heap *heap) const { gf_heap_close(heap); }
    void operator()(gf_store *store) const { gf_store_destroy(store); }
};

class Session
{
public:
    // Null pool: runs on the calling thread alone.
    Session(PyObject *self, Ref pool_object, gf_pool *pool, size_t retained_bytes);

    // The call for fetches and feed keys, prepared by Python the first time. Null: a Python error.
    KnownCall *find_call(const Signature &signature, PyObject *fetches, PyObject *feed_dict);
    void forget_calls();

    // Ends what can end now; the rest goes when the last run under way has ended.
    void close();
    bool check_open() const; // false: a Python error
    bool is_closed() const { return closed_; }
    void enter() { active_++; }
    void leave();

    PyObject *report() const;
    int traverse(visitproc visit, void *context) const;

    PyObject *self() const { return self_; }
    gf_pool *pool() const { return pool_; }
    gf_heap *heap() const { return heap_.get(); }
    gf_store *store() const { return store_.get(); }

    Counters counters;
    std::unordered_map<int32_t, StateInfo> states;

private:
    PyObject *self_; // borrowed: this lives inside it
    Ref pool_object_;
    gf_pool *pool_;
    std::unique_ptr<gf_heap, Release> heap_;
    std::unique_ptr<gf_store, Release> store_; // its buffers go back to the heap, so it goes first
    std::unordered_multimap<uint64_t, std::unique_ptr<KnownCall>> calls_;
    KnownCall *last_ = nullptr; // most calls repeat the one before
    int64_t active_ = 0;
    bool closed_ = false;
};

// One run. `values` are those of the call's feed keys, in order. Null: a Python error.
PyObject *run_call(Session &session, PyObject *call_object, Call &call, PyObject *const *values,
                   PyObject *options, PyObject *metadata);

// Makes the types Session and Callable. False: a Python error.
bool ready_sessions(PyObject *module);

// A callable that runs `call` with positional feeds. Null: a Python error.
PyObject *new_callable(PyObject *session, const KnownCall &call, bool accepts_options);
bool ready_callables(PyObject *module);

// The native part of a Python session object. Null, with a Python error, before its __init__ has
// run.
Session *native_session(PyObject *self);

// The methods on variables, in session's method table.
PyObject *state_define(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *state_set(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *state_get(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *state_initialized(PyObject *self, PyObject *slot);

// Waits for a transaction's turn without the interpreter's lock; `begin` tries for that many
// microseconds. GF_WOULD_BLOCK comes back only together with a Python error.
template <class Begin> int32_t await_turn(const Session &session, Begin begin)
{
    int32_t status = begin(0);
    while (status == GF_WOULD_BLOCK) {
        PyThreadState *saved = PyEval_SaveThread();
        status = begin(50000);
        PyEval_RestoreThread(saved);
        if (status == GF_WOULD_BLOCK && (PyErr_CheckSignals() < 0 || !session.check_open())) {
            break;
        }
    }
    return status;
}

} // namespace graphflow
