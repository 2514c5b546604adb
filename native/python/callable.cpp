// What make_callable gives: a call with its signature resolved once and for all.
#include "session.hpp"

#include <structmember.h>

#include <cstddef>

namespace graphflow
{
namespace
{

struct CallableObject {
    PyObject_HEAD vectorcallfunc vectorcall;
    PyObject *session;
    PyObject *call_object;
    Call *call; // owned by call_object
    bool accepts_options;
};

PyTypeObject *callable_type;

CallableObject *as_callable(PyObject *self)
{
    return reinterpret_cast<CallableObject *>(self);
}

PyObject *callable_call(PyObject *self, PyObject *const *args, size_t flagged_count,
                        PyObject *keywords)
{
    auto count = static_cast<size_t>(PyVectorcall_NARGS(flagged_count));
    CallableObject *callable = as_callable(self);
    Session *session = callable->session ? native_session(callable->session) : nullptr;
    if (session == nullptr || !session->check_open()) {
        return nullptr;
    }
    size_t wanted = callable->call->feed_order.size();
    PyObject *options = Py_None, *metadata = Py_None;
    Py_ssize_t keyword_count = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t i = 0; i < keyword_count; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        bool is_options = PyUnicode_CompareWithASCIIString(keyword, "options") == 0;
        if (!callable->accepts_options ||
            (!is_options && PyUnicode_CompareWithASCIIString(keyword, "run_metadata") != 0)) {
            return PyErr_Format(PyExc_TypeError, "a callable takes no argument '%U'", keyword);
        }
        (is_options ? options : metadata) = args[count + static_cast<size_t>(i)];
    }
    if (count != wanted) {
        return PyErr_Format(PyExc_TypeError, "the callable takes %zu values, but got %zu", wanted,
                            count);
    }
    return run_call(*session, callable->call_object, *callable->call, args, options, metadata);
}

int callable_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(as_callable(self)->session);
    Py_VISIT(as_callable(self)->call_object);
    return 0;
}

int callable_clear(PyObject *self)
{
    Py_CLEAR(as_callable(self)->session);
    return 0;
}

void callable_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(as_callable(self)->session);
    Py_CLEAR(as_callable(self)->call_object);
    type->tp_free(self);
    Py_DECREF(type);
}

PyMemberDef callable_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(CallableObject, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot callable_slots[] = {
    {Py_tp_doc, const_cast<char *>("A function of the values of some feeds.")},
    {Py_tp_call, reinterpret_cast<void *>(PyVectorcall_Call)},
    {Py_tp_dealloc, reinterpret_cast<void *>(callable_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void *>(callable_traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(callable_clear)},
    {Py_tp_members, callable_members},
    {0, nullptr},
};
PyType_Spec callable_spec = {"graphflow._native.Callable", sizeof(CallableObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                                 Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             callable_slots};

} // namespace

PyObject *new_callable(PyObject *session, const KnownCall &call, bool accepts_options)
{
    auto *callable = PyObject_GC_New(CallableObject, callable_type);
    if (callable == nullptr) {
        return nullptr;
    }
    callable->vectorcall = without_exceptions<callable_call>;
    Py_INCREF(session);
    callable->session = session;
    callable->call_object = Ref(call.object).release();
    callable->call = call.call;
    callable->accepts_options = accepts_options;
    PyObject_GC_Track(reinterpret_cast<PyObject *>(callable));
    return reinterpret_cast<PyObject *>(callable);
}

bool ready_callables(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&callable_spec);
    if (type == nullptr || PyModule_AddObjectRef(module, "Callable", type) < 0) {
        return false;
    }
    callable_type = reinterpret_cast<PyTypeObject *>(type);
    return true;
}

} // namespace graphflow
