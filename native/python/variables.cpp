// The methods of Session on single variables: define, set, get.
#include "arrays.hpp"
#include "session.hpp"

#include <cstring>
#include <new>

namespace graphflow
{
namespace
{

bool parse_slot(PyObject *value, int32_t *slot)
{
    long number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred()) {
        return false;
    }
    if (number < 0 || number > 1 << 24) {
        PyErr_SetString(PyExc_ValueError, "a variable's slot is out of range");
        return false;
    }
    *slot = static_cast<int32_t>(number);
    return true;
}

// The variable `args[0]` of an open session; null: a Python error.
StateInfo *find_state(PyObject *self, PyObject *argument, Session **session, int32_t *slot)
{
    *session = native_session(self);
    if (*session == nullptr || !(*session)->check_open() || !parse_slot(argument, slot)) {
        return nullptr;
    }
    auto found = (*session)->states.find(*slot);
    if (found == (*session)->states.end()) {
        PyErr_Format(PyExc_KeyError, "no variable has slot %d", *slot);
        return nullptr;
    }
    return &found->second;
}

bool parse_dims(PyObject *dims, StateInfo *info)
{
    info->any_rank = dims == Py_None;
    Ref items = Ref::steal(info->any_rank ? PyTuple_New(0) : PySequence_Tuple(dims));
    if (!items || PyTuple_GET_SIZE(items.get()) > GF_MAX_RANK) {
        if (items) {
            PyErr_SetString(PyExc_ValueError, "a variable has too many dimensions");
        }
        return false;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items.get()); i++) {
        PyObject *item = PyTuple_GET_ITEM(items.get(), i);
        int64_t dim = item == Py_None ? -1 : PyLong_AsLongLong(item);
        if (PyErr_Occurred()) {
            return false;
        }
        info->dims.push_back(dim);
    }
    return true;
}

bool has_declared_shape(PyArrayObject *array, const StateInfo &info)
{
    if (info.any_rank) {
        return true;
    }
    bool fits = PyArray_NDIM(array) == static_cast<int>(info.dims.size());
    for (size_t i = 0; i < info.dims.size() && fits; i++) {
        fits = info.dims[i] < 0 || PyArray_DIM(array, static_cast<int>(i)) == info.dims[i];
    }
    return fits;
}

// Ends the transaction, and the session's count of what is under way, on every path.
class Transaction
{
public:
    Transaction(Session &session, gf_use *use) : session_(session), use_(use) { session_.enter(); }
    Transaction(const Transaction &) = delete;
    Transaction &operator=(const Transaction &) = delete;
    ~Transaction()
    {
        if (open_) {
            gf_store_end(session_.store(), use_, 1, committed_);
        } else if (ticket_.queued) {
            gf_store_drop_ticket(session_.store(), &ticket_);
        }
        session_.leave();
    }
    // GF_OK, GF_UNINITIALIZED, or -1 with a Python error.
    int32_t begin()
    {
        int32_t status = await_turn(session_, [this](int64_t us) {
            return gf_store_begin(session_.store(), use_, 1, &ticket_, us);
        });
        open_ = status == GF_OK;
        if (open_ || status == GF_UNINITIALIZED) {
            return status;
        }
        if (status == GF_REENTERED) {
            PyErr_SetString(PyExc_RuntimeError,
                            "a function called by a run uses a variable that this run is writing");
        } else if (status != GF_WOULD_BLOCK) {
            PyErr_Format(PyExc_SystemError, "the variable store answers %d", status);
        }
        return -1;
    }
    void commit() { committed_ = 1; }

private:
    Session &session_;
    gf_use *use_;
    gf_ticket ticket_ = {};
    bool open_ = false;
    int32_t committed_ = 0;
};

} // namespace

PyObject *state_define(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Session *session = native_session(self);
    int32_t slot;
    PyArray_Descr *descr = nullptr;
    StateInfo info;
    if (session == nullptr || !session->check_open()) {
        return nullptr;
    }
    if (count != 4) {
        return PyErr_Format(PyExc_TypeError, "state_define(slot, name, dtype, dims)");
    }
    if (!parse_slot(args[0], &slot) || !PyArray_DescrConverter(args[2], &descr)) {
        return nullptr;
    }
    info.name = Ref::share(args[1]);
    info.descr = Ref::steal(descr);
    if (!parse_dims(args[3], &info)) {
        return nullptr;
    }
    if (gf_store_define(session->store(), slot) != GF_OK) {
        return PyErr_NoMemory();
    }
    session->states[slot] = std::move(info);
    Py_RETURN_NONE;
}

PyObject *state_set(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Session *session;
    int32_t slot;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "state_set(slot, value)");
    }
    StateInfo *info = find_state(self, args[0], &session, &slot);
    if (info == nullptr) {
        return nullptr;
    }
    Ref name = info->name;
    Ref array = Ref::steal(convert_feed(args[1], info->descr.descr()));
    if (!array) {
        return PyErr_Occurred()
                   ? nullptr
                   : PyErr_Format(PyExc_TypeError, "variable %S takes numbers of type %S, not %R",
                                  name.get(), info->descr.get(), Py_TYPE(args[1]));
    }
    if (!has_declared_shape(array.array(), *info)) {
        Ref shape = Ref::steal(PyObject_GetAttrString(array.get(), "shape"));
        return shape
                   ? PyErr_Format(PyExc_ValueError, "variable %S does not take a value of shape %S",
                                  name.get(), shape.get())
                   : nullptr;
    }
    gf_use use = {};
    use.slot = slot;
    use.writes = 1;
    Transaction transaction(*session, &use);
    if (transaction.begin() != GF_OK) {
        return nullptr;
    }
    auto bytes = static_cast<size_t>(PyArray_NBYTES(array.array()));
    use.after = gf_buffer_take(session->heap(), bytes);
    if (use.after == nullptr) {
        return PyErr_NoMemory();
    }
    std::memcpy(gf_buffer_data(use.after), PyArray_DATA(array.array()), bytes);
    use.new_rank = PyArray_NDIM(array.array());
    for (int i = 0; i < use.new_rank; i++) {
        use.new_dims[i] = PyArray_DIM(array.array(), i);
    }
    transaction.commit();
    Py_RETURN_NONE;
}

PyObject *state_get(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Session *session;
    int32_t slot;
    int copy = count == 2 ? PyObject_IsTrue(args[1]) : 0;
    if (count < 1 || count > 2 || copy < 0) {
        return PyErr_Format(PyExc_TypeError, "state_get(slot, copy=False)");
    }
    StateInfo *info = find_state(self, args[0], &session, &slot);
    if (info == nullptr) {
        return nullptr;
    }
    Ref descr = info->descr;
    gf_use use = {};
    use.slot = slot;
    use.reads = 1;
    Transaction transaction(*session, &use);
    int32_t status = transaction.begin();
    if (status == GF_UNINITIALIZED) {
        Py_RETURN_NONE;
    }
    if (status != GF_OK) {
        return nullptr;
    }
    gf_output output = {gf_buffer_data(use.before), nullptr, use.rank, use.dims};
    if (!copy) {
        gf_buffer_retain(use.before);
        output.buffer = use.before;
    }
    return wrap_output(output, descr.descr(), false);
}

PyObject *state_initialized(PyObject *self, PyObject *argument)
{
    Session *session;
    int32_t slot;
    if (find_state(self, argument, &session, &slot) == nullptr) {
        return nullptr;
    }
    return PyBool_FromLong(gf_store_initialized(session->store(), slot));
}

} // namespace graphflow
