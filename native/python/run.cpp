// The path of a run, from Python's feeds to Python's results.
//
// All locks of the runtime except the one on which runs wait for variables are taken while the
// interpreter's lock is held, so a fork made by Python finds them free.
#include "arrays.hpp"
#include "host.hpp"
#include "session.hpp"
#include "signals.hpp"

namespace graphflow
{
namespace
{

// Strong references to the arrays of one run, without an allocation for the usual number.
class Held
{
public:
    explicit Held(size_t count)
    {
        if (count > room) {
            more_.resize(count);
            items_ = more_.data();
        }
    }
    Held(const Held &) = delete;
    Held &operator=(const Held &) = delete;
    ~Held()
    {
        for (size_t i = 0; i < used_; i++) {
            Py_DECREF(items_[i]);
        }
    }
    void push(PyObject *object) { items_[used_++] = object; }
    PyObject *const *data() const { return items_; }
    size_t size() const { return used_; }

private:
    static constexpr size_t room = 16;
    PyObject *few_[room];
    std::vector<PyObject *> more_;
    PyObject **items_ = few_;
    size_t used_ = 0;
};

constexpr int most_replacements = 64;

// One run; whatever was not finished when this goes is undone.
class Run
{
public:
    Run(Session &session, PyObject *call_object, Call &call)
        : session_(session), call_object_(Ref::share(call_object)), call_(call),
          executable_(*call.executable), feeds_(call.feed_order.size())
    {
        session_.enter();
        context_.executable = &executable_;
    }
    Run(const Run &) = delete;
    Run &operator=(const Run &) = delete;
    ~Run()
    {
        if (run_ != nullptr) {
            gf_run_end(run_);
        }
        session_.leave();
    }

    bool begin();
    bool feed(PyObject *const *values);
    bool pin();
    bool bind();
    bool step(bool profile);
    PyObject *results();
    void commit();
    bool report_profile(PyObject *options, PyObject *metadata);
    // After a failure: the call that a hook gave to be run instead, or null.
    Ref replacement() { return std::move(replacement_); }

private:
    bool feed_one(size_t position, PyObject *value);
    // The shapes of the feeds given so far, for hooks. Null: a Python error.
    Ref fed_shapes() const;
    // Each raises, through the session's Python method that words the message, unless that knows
    // another call to be run in this one's place.
    bool feed_error(int32_t feed, PyObject *value);
    bool uninitialized();
    bool bind_error(int32_t status);
    bool run_error(int32_t status);
    bool raised(const char *hook, PyObject *returned);

    Session &session_;
    Ref call_object_;
    Call &call_;
    Executable &executable_;
    gf_run *run_ = nullptr;
    Context context_;
    Held feeds_;
    Ref replacement_;
};

bool Run::raised(const char *hook, PyObject *returned)
{
    Ref answer = Ref::steal(returned);
    if (answer && is_call(answer.get())) {
        replacement_ = std::move(answer);
    } else if (answer) {
        PyErr_Format(PyExc_SystemError, "%s did not raise", hook);
    }
    return false;
}

Ref Run::fed_shapes() const
{
    Ref shapes = Ref::steal(PyList_New(0));
    for (size_t i = 0; i < feeds_.size() && shapes; i++) {
        auto *array = reinterpret_cast<PyArrayObject *>(feeds_.data()[i]);
        Ref shape = Ref::steal(PyArray_IntTupleFromIntp(PyArray_NDIM(array), PyArray_DIMS(array)));
        if (!shape || PyList_Append(shapes.get(), shape.get()) < 0) {
            return Ref();
        }
    }
    return shapes;
}

bool Run::feed_error(int32_t feed, PyObject *value)
{
    PyObject *type = nullptr, *error = nullptr, *traceback = nullptr;
    PyErr_Fetch(&type, &error, &traceback);
    if (type != nullptr) {
        PyErr_NormalizeException(&type, &error, &traceback);
        if (!PyErr_GivenExceptionMatches(type, PyExc_Exception)) {
            PyErr_Restore(type, error, traceback); // Ctrl-C while converting is not about the feed
            return false;
        }
    }
    Ref holds[] = {Ref::steal(type), Ref::steal(error), Ref::steal(traceback)};
    return raised("_feed_error",
                  PyObject_CallMethod(session_.self(), "_feed_error", "OiOO", call_object_.get(),
                                      feed, value, error ? error : Py_None));
}

bool Run::uninitialized()
{
    Ref slots = Ref::steal(PyList_New(0));
    for (size_t i = 0; i < executable_.state_slots.size() && slots; i++) {
        const gf_use *use = gf_run_use(run_, static_cast<int32_t>(i));
        if (use->reads && use->before == nullptr) {
            Ref slot = Ref::steal(PyLong_FromLong(use->slot));
            if (!slot || PyList_Append(slots.get(), slot.get()) < 0) {
                return false;
            }
        }
    }
    return slots &&
           raised("_uninitialized", PyObject_CallMethod(session_.self(), "_uninitialized", "OO",
                                                        call_object_.get(), slots.get()));
}

bool Run::bind_error(int32_t status)
{
    const gf_problem *problem = gf_run_problem(run_);
    if (status == GF_SIZE_MISMATCH || status == GF_BAD_SIZE) {
        bool mismatch = status == GF_SIZE_MISMATCH;
        Ref shapes = fed_shapes();
        return shapes &&
               raised("_size_error", PyObject_CallMethod(
                                         session_.self(), "_size_error", "OiLLO",
                                         call_object_.get(), mismatch ? problem->index : -1,
                                         mismatch ? static_cast<long long>(problem->actual) : 0LL,
                                         mismatch ? static_cast<long long>(problem->expected) : 0LL,
                                         shapes.get()));
    }
    if (status == GF_FEED_MISMATCH) {
        return raised("_feed_size_error",
                      PyObject_CallMethod(session_.self(), "_feed_size_error", "OiiLL",
                                          call_object_.get(), problem->index, problem->axis,
                                          static_cast<long long>(problem->actual),
                                          static_cast<long long>(problem->expected)));
    }
    return run_error(status);
}

bool Run::run_error(int32_t status)
{
    if ((status == GF_HOST_ERROR || status == GF_INTERRUPTED) && context_.error.restore()) {
        return false;
    }
    const gf_frame *frame = gf_run_frame(run_);
    bool failed = status == GF_FAILED;
    Ref evidence = Ref::steal(PyList_New(0));
    if (failed && static_cast<size_t>(frame->site) < executable_.evidence.size()) {
        for (const Operand &operand : executable_.evidence[static_cast<size_t>(frame->site)]) {
            Ref array = Ref::steal(argument_of(run_, operand));
            if (!array || PyList_Append(evidence.get(), array.get()) < 0) {
                return false;
            }
        }
    }
    return evidence &&
           raised("_run_error",
                  PyObject_CallMethod(session_.self(), "_run_error", "Oii(LL)iO",
                                      call_object_.get(), status, failed ? frame->site : -1,
                                      failed ? static_cast<long long>(frame->fail_values[0]) : 0LL,
                                      failed ? static_cast<long long>(frame->fail_values[1]) : 0LL,
                                      failed ? frame->launch : -1, evidence.get()));
}

bool Run::begin()
{
    const gf_host host = {&context_, host_call, nullptr, &interrupt_attention};
    run_ = gf_run_begin(executable_.handle.get(), session_.pool(), &host);
    if (run_ == nullptr) {
        PyErr_NoMemory();
        return false;
    }
    return true;
}

bool Run::feed_one(size_t position, PyObject *value)
{
    int32_t feed = call_.feed_order[position];
    if (feed < 0) {
        return true;
    }
    Ref converted;
    if (!call_.converters.empty() && call_.converters[position].get() != Py_None) {
        converted = Ref::steal(PyObject_CallOneArg(call_.converters[position].get(), value));
        if (!converted) {
            return feed_error(feed, value);
        }
    }
    PyObject *given = converted ? converted.get() : value;
    PyArray_Descr *descr = executable_.feed_descrs[static_cast<size_t>(feed)].descr();
    PyArrayObject *array;
    if (is_direct(given, descr->type_num)) {
        Py_INCREF(given);
        array = reinterpret_cast<PyArrayObject *>(given);
        session_.counters.feeds_zero_copy++;
    } else {
        array = reinterpret_cast<PyArrayObject *>(convert_feed(given, descr));
        if (array == nullptr) {
            return feed_error(feed, value);
        }
        session_.counters.feeds_copied++;
    }
    feeds_.push(reinterpret_cast<PyObject *>(array));
    int32_t status = gf_run_feed(run_, feed, PyArray_DATA(array), PyArray_NDIM(array),
                                 reinterpret_cast<const int64_t *>(PyArray_DIMS(array)));
    return status == GF_OK || feed_error(feed, value);
}

bool Run::feed(PyObject *const *values)
{
    for (size_t i = 0; i < call_.feed_order.size(); i++) {
        if (!feed_one(i, values[i])) {
            return false;
        }
    }
    return true;
}

bool Run::pin()
{
    if (executable_.state_slots.empty()) {
        return true;
    }
    int32_t status =
        await_turn(session_, [this](int64_t us) { return gf_run_pin(run_, session_.store(), us); });
    if (status == GF_OK) {
        return true;
    }
    if (status == GF_WOULD_BLOCK) {
        return false;
    }
    return status == GF_UNINITIALIZED ? uninitialized() : run_error(status);
}

bool Run::bind()
{
    int32_t status = gf_run_bind(run_, session_.heap());
    return status == GF_OK || bind_error(status);
}

bool Run::step(bool profile)
{
    int32_t status;
    session_.counters.native_calls++;
    if (executable_.small) {
        status = gf_run_step(run_, profile);
    } else {
        if (watch_interrupts()) {
            /* Cleared before Python handles what came so far, so nothing is missed between. */
            interrupt_attention = 0;
            if (PyErr_CheckSignals() < 0) {
                return false;
            }
            gf_run_allow_interrupts(run_, interrupted);
        }
        PyThreadState *saved = PyEval_SaveThread();
        status = gf_run_step(run_, profile);
        PyEval_RestoreThread(saved);
    }
    return status == GF_OK || run_error(status);
}

PyObject *Run::results()
{
    size_t count = executable_.output_descrs.size();
    Held outputs(count);
    for (size_t i = 0; i < count; i++) {
        gf_output output = gf_run_output(run_, static_cast<int32_t>(i));
        bool own = executable_.output_sources[i] == GF_FROM_BUFFER;
        PyObject *array = wrap_output(output, executable_.output_descrs[i].descr(), own);
        if (array == nullptr) {
            return nullptr;
        }
        outputs.push(array);
        (output.buffer != nullptr ? session_.counters.outputs_zero_copy
                                  : session_.counters.outputs_copied)++;
    }
    return call_.nest.build(outputs.data());
}

void Run::commit()
{
    for (size_t i = 0; i < executable_.state_slots.size(); i++) {
        const gf_use *use = gf_run_use(run_, static_cast<int32_t>(i));
        if (use->writes) {
            (use->in_place ? session_.counters.in_place_writes : session_.counters.new_versions)++;
        }
    }
    gf_run_commit(run_);
}

bool Run::report_profile(PyObject *options, PyObject *metadata)
{
    int64_t count;
    const gf_record *records = gf_run_records(run_, &count);
    Ref rows = Ref::steal(PyList_New(static_cast<Py_ssize_t>(count)));
    for (int64_t i = 0; i < count && rows; i++) {
        PyObject *row = Py_BuildValue("(iiLL)", records[i].launch, records[i].thread,
                                      static_cast<long long>(records[i].begin_ns),
                                      static_cast<long long>(records[i].end_ns));
        if (row == nullptr) {
            return false;
        }
        PyList_SET_ITEM(rows.get(), static_cast<Py_ssize_t>(i), row);
    }
    Ref done =
        Ref::steal(rows ? PyObject_CallMethod(session_.self(), "_profiled", "OOOO",
                                              call_object_.get(), rows.get(), options, metadata)
                        : nullptr);
    return static_cast<bool>(done);
}

// The results, or null with either a Python error or another call to try.
PyObject *run_once(Session &session, PyObject *call_object, Call &call, PyObject *const *values,
                   PyObject *options, PyObject *metadata, Ref *replacement)
{
    bool profile = options != Py_None || metadata != Py_None;
    Run run(session, call_object, call);
    if (!run.begin() || !run.feed(values) || !run.pin() || !run.bind() || !run.step(profile)) {
        *replacement = run.replacement();
        return nullptr;
    }
    // Results are complete before the commit: a run that raises changes no variable.
    Ref results = Ref::steal(run.results());
    if (!results) {
        return nullptr;
    }
    run.commit();
    if (profile && !run.report_profile(options, metadata)) {
        return nullptr;
    }
    return results.release();
}

} // namespace

PyObject *run_call(Session &session, PyObject *call_object, Call &call, PyObject *const *values,
                   PyObject *options, PyObject *metadata)
{
    session.counters.runs++;
    Ref kept = Ref::share(call_object); // a hook may make the session forget its calls
    Ref replacement;
    PyObject *results =
        run_once(session, call_object, call, values, options, metadata, &replacement);
    // Each one fixes a rank or a size, of which there are not many.
    for (int tries = 0; replacement && tries < most_replacements; tries++) {
        Ref other = std::move(replacement);
        Call &next = as_call(other.get());
        if (next.feed_order.size() != call.feed_order.size()) {
            PyErr_SetString(PyExc_ValueError, "a hook gave a call for other feeds");
            return nullptr;
        }
        results = run_once(session, other.get(), next, values, options, metadata, &replacement);
    }
    if (replacement) {
        PyErr_SetString(PyExc_SystemError, "no call fits these feeds");
    }
    return results;
}

} // namespace graphflow
