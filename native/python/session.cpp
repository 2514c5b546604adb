// The type Session: finding the call, and the life of what a session owns.
#include "session.hpp"

#include <pybind11/pybind11.h>

#include <new>

namespace py = pybind11;

namespace graphflow
{
namespace
{

// Beyond so many calls, keys made anew for each call (and never seen again) are the likely reason.
constexpr size_t most_calls = 4096;

struct SessionObject {
    PyObject_HEAD Session *session;
};

Session *&slot_of(PyObject *self)
{
    return reinterpret_cast<SessionObject *>(self)->session;
}

// Positional and keyword arguments of a vectorcall, by name; the rest is None.
template <size_t n>
bool parse_arguments(const char *function, const char *const (&names)[n], PyObject *(&values)[n],
                     PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    if (count > static_cast<Py_ssize_t>(n)) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zu arguments", function, n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        values[i] = static_cast<Py_ssize_t>(i) < count ? args[i] : nullptr;
    }
    Py_ssize_t keyword_count = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t k = 0; k < keyword_count; k++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, k);
        size_t i = 0;
        while (i < n && PyUnicode_CompareWithASCIIString(keyword, names[i]) != 0) {
            i++;
        }
        if (i == n || values[i] != nullptr) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected argument '%U'", function,
                         keyword);
            return false;
        }
        values[i] = args[count + k];
    }
    if (values[0] == nullptr) {
        PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", function, names[0]);
        return false;
    }
    for (PyObject *&value : values) {
        value = value ? value : Py_None;
    }
    return true;
}

// The values of a feed dictionary, held: another thread may change the dictionary meanwhile.
class FeedValues
{
public:
    explicit FeedValues(size_t count)
    {
        if (count > room) {
            more_.resize(count);
            items_ = more_.data();
        }
    }
    FeedValues(const FeedValues &) = delete;
    FeedValues &operator=(const FeedValues &) = delete;
    ~FeedValues()
    {
        for (size_t i = 0; i < used_; i++) {
            Py_DECREF(items_[i]);
        }
    }
    void push(PyObject *value)
    {
        Py_INCREF(value);
        items_[used_++] = value;
    }
    PyObject *const *data() const { return items_; }

private:
    static constexpr size_t room = 16;
    PyObject *few_[room];
    std::vector<PyObject *> more_;
    PyObject **items_ = few_;
    size_t used_ = 0;
};

PyObject *session_run(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"fetches", "feed_dict", "options", "run_metadata"};
    PyObject *values[4];
    Session *session = native_session(self);
    if (session == nullptr || !session->check_open() ||
        !parse_arguments("run", names, values, args, count, keywords)) {
        return nullptr;
    }
    Ref feed_dict;
    if (values[1] != Py_None && !PyDict_Check(values[1])) {
        feed_dict =
            Ref::steal(PyObject_CallOneArg(reinterpret_cast<PyObject *>(&PyDict_Type), values[1]));
        if (!feed_dict) {
            return nullptr;
        }
        values[1] = feed_dict.get();
    }
    bool fed = values[1] != Py_None;
    auto feed_count = static_cast<size_t>(fed ? PyDict_GET_SIZE(values[1]) : 0);
    Signature signature;
    FeedValues feeds(feed_count);
    if (!signature.add_nest(values[0])) {
        return nullptr;
    }
    signature.add_feeds(feed_count);
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (fed && PyDict_Next(values[1], &position, &key, &value)) {
        signature.add_leaf(key);
        feeds.push(value);
    }
    KnownCall *known = session->find_call(signature, values[0], values[1]);
    if (known == nullptr) {
        return nullptr;
    }
    return run_call(*session, known->object.get(), *known->call, feeds.data(), values[2],
                    values[3]);
}

PyObject *session_make_callable(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                PyObject *keywords)
{
    static const char *const names[] = {"fetches", "feed_list", "accept_options"};
    PyObject *values[3];
    Session *session = native_session(self);
    if (session == nullptr || !session->check_open() ||
        !parse_arguments("make_callable", names, values, args, count, keywords)) {
        return nullptr;
    }
    Ref keys = Ref::steal(values[1] == Py_None ? PyTuple_New(0) : PySequence_Tuple(values[1]));
    int accepts_options = PyObject_IsTrue(values[2]);
    Ref feed_dict = Ref::steal(PyDict_New());
    Signature signature;
    if (!keys || accepts_options < 0 || !feed_dict || !signature.add_nest(values[0])) {
        return nullptr;
    }
    signature.add_feeds(static_cast<size_t>(PyTuple_GET_SIZE(keys.get())));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keys.get()); i++) {
        signature.add_leaf(PyTuple_GET_ITEM(keys.get(), i));
        if (PyDict_SetItem(feed_dict.get(), PyTuple_GET_ITEM(keys.get(), i), Py_None) < 0) {
            return nullptr;
        }
    }
    if (PyDict_GET_SIZE(feed_dict.get()) != PyTuple_GET_SIZE(keys.get())) {
        PyErr_SetString(PyExc_ValueError, "feed_list names a tensor twice");
        return nullptr;
    }
    KnownCall *known = session->find_call(signature, values[0], feed_dict.get());
    return known ? new_callable(self, *known, accepts_options != 0) : nullptr;
}

PyObject *session_close(PyObject *self, PyObject *)
{
    if (slot_of(self) != nullptr) {
        slot_of(self)->close();
    }
    Py_RETURN_NONE;
}

PyObject *session_forget(PyObject *self, PyObject *)
{
    if (slot_of(self) != nullptr) {
        slot_of(self)->forget_calls();
    }
    Py_RETURN_NONE;
}

PyObject *session_forget_peak(PyObject *self, PyObject *)
{
    Session *session = native_session(self);
    if (session == nullptr || !session->check_open()) {
        return nullptr;
    }
    gf_heap_forget_peak(session->heap());
    Py_RETURN_NONE;
}

PyObject *session_counters(PyObject *self, PyObject *)
{
    Session *session = native_session(self);
    return session ? session->report() : nullptr;
}

PyObject *session_closed(PyObject *self, void *)
{
    return PyBool_FromLong(slot_of(self) != nullptr && slot_of(self)->is_closed());
}

int session_init(PyObject *self, PyObject *args, PyObject *keywords)
{
    static const char *names[] = {"pool", "retained_bytes", nullptr};
    PyObject *pool = Py_None;
    Py_ssize_t retained_bytes = Py_ssize_t{256} << 20;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|On", const_cast<char **>(names), &pool,
                                     &retained_bytes)) {
        return -1;
    }
    if (slot_of(self) != nullptr) {
        PyErr_SetString(PyExc_RuntimeError, "the session is initialised already");
        return -1;
    }
    if (pool != Py_None && !py::isinstance<ThreadPool>(pool)) {
        PyErr_SetString(PyExc_TypeError, "pool is a ThreadPool or None");
        return -1;
    }
    try {
        gf_pool *native =
            pool == Py_None ? nullptr : py::handle(pool).cast<ThreadPool &>().handle.get();
        slot_of(self) = new Session(self, Ref::share(pool), native,
                                    retained_bytes < 0 ? 0 : static_cast<size_t>(retained_bytes));
    } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

int session_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return slot_of(self) ? slot_of(self)->traverse(visit, arg) : 0;
}

int session_clear(PyObject *self)
{
    if (slot_of(self) != nullptr) {
        slot_of(self)->forget_calls();
    }
    return 0;
}

void session_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    delete std::exchange(slot_of(self), nullptr);
    type->tp_free(self);
    Py_DECREF(type);
}

template <class Function> PyCFunction as_method(Function function)
{
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef session_methods[] = {
    {"run", as_method(without_exceptions<session_run>), METH_FASTCALL | METH_KEYWORDS,
     "run(fetches, feed_dict=None, options=None, run_metadata=None)\n--\n\n"
     "Runs what the fetches need and returns their values in the same nest."},
    {"make_callable", as_method(without_exceptions<session_make_callable>),
     METH_FASTCALL | METH_KEYWORDS,
     "make_callable(fetches, feed_list=None, accept_options=False)\n--\n\n"
     "A function of the values of feed_list, in order, that does what run would."},
    {"close", session_close, METH_NOARGS,
     "close()\n--\n\nFrees variables, memory and calls; runs under way finish first."},
    {"counters", session_counters, METH_NOARGS,
     "counters()\n--\n\nWhat has been counted so far, by name."},
    {"_forget_calls", session_forget, METH_NOARGS,
     "_forget_calls()\n--\n\nLets every kind of call be prepared anew."},
    {"forget_peak", session_forget_peak, METH_NOARGS,
     "forget_peak()\n--\n\nStarts to count peak_bytes anew."},
    {"state_define", as_method(without_exceptions<state_define>), METH_FASTCALL,
     "state_define(slot, name, dtype, dims)\n--\n\n"
     "Makes a variable exist, without a value. A dimension of -1, or dims of None, is unknown."},
    {"state_set", as_method(without_exceptions<state_set>), METH_FASTCALL,
     "state_set(slot, value)\n--\n\nGives a variable a copy of this value."},
    {"state_get", as_method(without_exceptions<state_get>), METH_FASTCALL,
     "state_get(slot, copy=False)\n--\n\n"
     "The value of a variable: read-only and shared, or a copy; None when it has none."},
    {"state_initialized", state_initialized, METH_O,
     "state_initialized(slot)\n--\n\nWhether a variable has a value."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef session_properties[] = {
    {"closed", session_closed, nullptr, "Whether close() was called.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot session_slots[] = {
    {Py_tp_doc, const_cast<char *>("Session(pool=None, retained_bytes=2**28)\n--\n\n"
                                   "Variables, memory, and a fast path to compiled calls.")},
    {Py_tp_init, reinterpret_cast<void *>(session_init)},
    {Py_tp_new, reinterpret_cast<void *>(PyType_GenericNew)},
    {Py_tp_dealloc, reinterpret_cast<void *>(session_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void *>(session_traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(session_clear)},
    {Py_tp_methods, session_methods},
    {Py_tp_getset, session_properties},
    {0, nullptr},
};
PyType_Spec session_spec = {"graphflow._native.Session", sizeof(SessionObject), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                            session_slots};

} // namespace

Session::Session(PyObject *self, Ref pool_object, gf_pool *pool, size_t retained_bytes)
    : self_(self), pool_object_(std::move(pool_object)), pool_(pool),
      heap_(gf_heap_create(retained_bytes))
{
    if (heap_ != nullptr) {
        store_.reset(gf_store_create(heap_.get()));
    }
    if (store_ == nullptr) {
        throw std::bad_alloc();
    }
}

KnownCall *Session::find_call(const Signature &signature, PyObject *fetches, PyObject *feed_dict)
{
    if (last_ != nullptr && last_->signature.matches(signature)) {
        return last_;
    }
    uint64_t hash = signature.hash();
    auto range = calls_.equal_range(hash);
    for (auto it = range.first; it != range.second; ++it) {
        if (it->second->signature.matches(signature)) {
            return last_ = it->second.get();
        }
    }
    Ref keys = Ref::steal(feed_dict == Py_None ? PyTuple_New(0) : PySequence_Tuple(feed_dict));
    Ref call = Ref::steal(keys ? PyObject_CallMethod(self_, "_prepare", "OOO", fetches, keys.get(),
                                   PyDict_Check(feed_dict) ? feed_dict : Py_None)
                               : nullptr);
    if (!call || !check_open()) {
        return nullptr;
    }
    if (!is_call(call.get())) {
        PyErr_SetString(PyExc_TypeError, "_prepare gives a Call");
        return nullptr;
    }
    Call &native = as_call(call.get());
    if (native.feed_order.size() != static_cast<size_t>(PyTuple_GET_SIZE(keys.get()))) {
        PyErr_SetString(PyExc_ValueError, "_prepare gave a call for other feeds");
        return nullptr;
    }
    if (calls_.size() >= most_calls) {
        forget_calls();
    }
    counters.calls_prepared++;
    auto known = std::make_unique<KnownCall>(signature, call.get(), &native);
    return last_ = calls_.emplace(hash, std::move(known))->second.get();
}

// Dropping calls can run Python code, which must not find them half gone.
void Session::forget_calls()
{
    last_ = nullptr;
    auto dropped = std::exchange(calls_, {});
}

bool Session::check_open() const
{
    if (closed_) {
        PyErr_SetString(PyExc_RuntimeError, "the session is closed");
        return false;
    }
    return true;
}

void Session::close()
{
    closed_ = true;
    forget_calls();
    if (active_ == 0) {
        store_.reset();
        heap_.reset();
    }
}

void Session::leave()
{
    if (--active_ == 0 && closed_) {
        close();
    }
}

PyObject *Session::report() const
{
    gf_heap_report memory = heap_ ? gf_heap_inspect(heap_.get()) : gf_heap_report{};
    return Py_BuildValue("{sLsLsLsLsLsLsLsLsLsLsLsLsLsLsL}", "runs",
                         static_cast<long long>(counters.runs), "native_calls",
                         static_cast<long long>(counters.native_calls), "calls_prepared",
                         static_cast<long long>(counters.calls_prepared), "feeds_copied",
                         static_cast<long long>(counters.feeds_copied), "feeds_zero_copy",
                         static_cast<long long>(counters.feeds_zero_copy), "outputs_copied",
                         static_cast<long long>(counters.outputs_copied), "outputs_zero_copy",
                         static_cast<long long>(counters.outputs_zero_copy), "in_place_writes",
                         static_cast<long long>(counters.in_place_writes), "new_versions",
                         static_cast<long long>(counters.new_versions), "live_bytes",
                         static_cast<long long>(memory.live_bytes), "peak_bytes",
        static_cast<long long>(memory.peak_bytes), "retained_bytes",
                         static_cast<long long>(memory.retained_bytes), "live_buffers",
                         static_cast<long long>(memory.live_buffers), "buffers_taken",
                         static_cast<long long>(memory.taken), "buffers_reused",
                         static_cast<long long>(memory.reused));
}

int Session::traverse(visitproc visit, void *arg) const
{
    Py_VISIT(pool_object_.get());
    for (const auto &entry : calls_) {
        if (int stop = entry.second->signature.traverse(visit, arg)) {
            return stop;
        }
        Py_VISIT(entry.second->object.get());
    }
    return 0;
}

Session *native_session(PyObject *self)
{
    Session *session = slot_of(self);
    if (session == nullptr) {
        PyErr_SetString(PyExc_RuntimeError, "Session.__init__ has not been called");
    }
    return session;
}

bool ready_sessions(PyObject *module)
{
    Ref type = Ref::steal(PyType_FromSpec(&session_spec));
    return type && PyModule_AddObjectRef(module, "Session", type.get()) == 0;
}

} // namespace graphflow
