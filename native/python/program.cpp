#include "program.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>

#include "graphflow/loader.h"

namespace py = pybind11;

namespace graphflow
{
namespace
{

using Dims = std::vector<int64_t>;
using Binds = std::vector<int32_t>;

Ref as_descr(const py::handle &dtype)
{
    PyArray_Descr *descr = nullptr;
    if (!PyArray_DescrConverter(dtype.ptr(), &descr)) {
        throw py::error_already_set();
    }
    return Ref::steal(descr);
}

// Arrays that a description points into while an executable is made of it.
struct Storage {
    std::vector<Dims> dims;
    std::vector<Binds> binds;

    gf_shape shape(const PyArray_Descr *descr, const py::handle &from_dims,
                   const py::handle &from_binds)
    {
        dims.push_back(from_dims.cast<Dims>());
        gf_shape result = {static_cast<int32_t>(PyDataType_ELSIZE(descr)),
                           static_cast<int32_t>(dims.back().size()), dims.back().data(), nullptr};
        if (!from_binds.is_none()) {
            binds.push_back(from_binds.cast<Binds>());
            if (binds.back().size() != dims.back().size()) {
                throw py::value_error("a shape has one bind for each dimension");
            }
            result.binds = binds.back().data();
        }
        return result;
    }
};

std::vector<Operand> read_operands(const py::handle &rows)
{
    std::vector<Operand> operands;
    for (const py::handle &row : rows) {
        auto fields = row.cast<py::tuple>();
        operands.push_back(
            {fields[0].cast<int32_t>(), as_descr(fields[1]), fields[2].cast<Dims>()});
    }
    return operands;
}

// What generated code reads: contiguous, in this machine's byte order.
Ref constant_array(const py::handle &value)
{
    Ref array = Ref::steal(PyArray_FROM_OF(value.ptr(), NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED |
                                                            NPY_ARRAY_NOTSWAPPED));
    if (!array) {
        throw py::error_already_set();
    }
    return array;
}

// Everything `Executable` is made of, row by row as graphflow/runtime.py writes it.
class Reader
{
public:
    explicit Reader(Executable &executable) : executable_(executable) {}

    void read_feeds(const py::list &rows)
    {
        for (const py::handle &row : rows) {
            auto [pointer, dtype, dims, binds] =
                row.cast<std::tuple<int32_t, py::object, py::object, py::object>>();
            executable_.feed_descrs.push_back(as_descr(dtype));
            feeds_.push_back(
                {pointer, storage_.shape(executable_.feed_descrs.back().descr(), dims, binds)});
        }
    }

    void read_value_binds(const py::list &rows)
    {
        for (const py::handle &row : rows) {
            auto [symbol, feed, element] = row.cast<std::tuple<int32_t, int32_t, int64_t>>();
            if (feed >= 0 && static_cast<size_t>(feed) < executable_.feed_descrs.size() &&
                !PyTypeNum_ISSIGNED(
                    executable_.feed_descrs[static_cast<size_t>(feed)].descr()->type_num)) {
                throw py::value_error("sizes are bound from int32 and int64 feeds only");
            }
            value_binds_.push_back({symbol, feed, element});
        }
    }

    void read_constants(const py::list &rows)
    {
        for (const py::handle &row : rows) {
            auto [pointer, value] = row.cast<std::tuple<int32_t, py::object>>();
            executable_.constants.push_back(constant_array(value));
            constants_.push_back({pointer, PyArray_DATA(executable_.constants.back().array())});
        }
    }

    void read_states(const py::list &rows)
    {
        for (const py::handle &row : rows) {
            auto [slot, in, out, in_place, dtype, dims, binds] = row.cast<
                std::tuple<int32_t, int32_t, int32_t, bool, py::object, py::object, py::object>>();
            Ref descr = as_descr(dtype);
            executable_.state_slots.push_back(slot);
            states_.push_back(
                {slot, in, out, in_place, storage_.shape(descr.descr(), dims, binds)});
        }
    }

    void read_outputs(const py::list &rows)
    {
        for (const py::handle &row : rows) {
            auto [pointer, source, index, dtype, dims, late] =
                row.cast<std::tuple<int32_t, int32_t, int32_t, py::object, py::object, bool>>();
            executable_.output_descrs.push_back(as_descr(dtype));
            executable_.output_sources.push_back(source);
            outputs_.push_back(
                {pointer, source, index,
                 storage_.shape(executable_.output_descrs.back().descr(), dims, py::none()),
                 late});
        }
    }

    void read_late(const py::list &late, const py::list &stacks, const std::vector<int32_t> &rows)
    {
        for (const py::handle &row : late) {
            auto [pointer, bytes] = row.cast<std::tuple<int32_t, int64_t>>();
            late_.push_back({pointer, bytes});
        }
        for (const py::handle &row : stacks) {
            auto [pointer, bytes] = row.cast<std::tuple<int32_t, int64_t>>();
            stacks_.push_back({pointer, bytes});
        }
        rows_ = rows;
    }

    void read_buffers(const py::list &rows)
    {
        for (const py::handle &row : rows) {
            auto [pointer, bytes, first, last, alias_of, offset] =
                row.cast<std::tuple<int32_t, int64_t, int32_t, int32_t, int32_t, int64_t>>();
            buffers_.push_back({pointer, alias_of, bytes, first, last, offset});
        }
    }

    void read_checks(const py::list &rows)
    {
        for (const py::handle &row : rows) {
            auto [a, b, message] = row.cast<std::tuple<int64_t, int64_t, int32_t>>();
            checks_.push_back({a, b, message});
        }
    }

    void read_calls(const py::list &rows)
    {
        for (const py::handle &row : rows) {
            auto fields = row.cast<py::tuple>();
            executable_.calls.push_back({Ref::share(py::object(fields[0]).ptr()),
                                         read_operands(fields[1]), read_operands(fields[2])});
        }
    }

    void read_kept(const py::list &rows)
    {
        for (const py::handle &row : rows) {
            auto fields = row.cast<py::tuple>();
            kept_.push_back({fields[0].cast<int32_t>(), fields[1].cast<int64_t>()});
        }
    }

    void create(const py::bytes &object, int32_t symbols, int32_t late, int32_t values,
                int32_t moments,
                const std::vector<int32_t> &sources, int64_t outside_bytes, int64_t budget)
    {
        gf_description description = {symbols,
                                      late,
                                      values,
                                      moments,
                                      count(feeds_),
                                      count(value_binds_),
                                      count(constants_),
                                      count(states_),
                                      count(outputs_),
                                      count(buffers_),
                                      count(late_),
                                      count(stacks_),
                                      count(rows_),
                                      count(kept_),
                                      count(sources),
                                      count(checks_),
                                      feeds_.data(),
                                      value_binds_.data(),
                                      constants_.data(),
                                      states_.data(),
                                      outputs_.data(),
                                      buffers_.data(),
                                      late_.data(),
                                      stacks_.data(),
                                      rows_.data(),
                                      kept_.data(),
                                      sources.data(),
                                      checks_.data(),
                                      outside_bytes,
                                      budget};
        char message[512] = "";
        gf_code *code = nullptr;
        gf_executable *executable = nullptr;
        int32_t status = gf_code_load(PyBytes_AS_STRING(object.ptr()),
                                      static_cast<size_t>(PyBytes_GET_SIZE(object.ptr())), 0, &code,
                                      message, sizeof message);
        if (status == GF_OK) {
            gf_step_code step = gf_code_step(code);
            status = gf_executable_create(&description, &step, &executable, message, sizeof message);
        }
        if (status == GF_NO_MEMORY) {
            throw std::bad_alloc();
        }
        if (status != GF_OK) {
            throw py::value_error(message);
        }
        executable_.handle.reset(executable);
    }

private:
    template <class T> static int32_t count(const std::vector<T> &rows)
    {
        return static_cast<int32_t>(rows.size());
    }

    Executable &executable_;
    Storage storage_;
    std::vector<gf_feed_spec> feeds_;
    std::vector<gf_value_bind> value_binds_;
    std::vector<gf_constant_spec> constants_;
    std::vector<gf_state_spec> states_;
    std::vector<gf_output_spec> outputs_;
    std::vector<gf_buffer_spec> buffers_;
    std::vector<gf_late_spec> late_;
    std::vector<gf_stack_spec> stacks_;
    std::vector<int32_t> rows_;
    std::vector<gf_kept_spec> kept_;
    std::vector<gf_check_spec> checks_;
};

std::unique_ptr<Executable>
make_executable(const py::bytes &object, int32_t symbol_count, int32_t late_count,
                int32_t value_count, int32_t moment_count, const py::list &feeds, const py::list &value_binds,
                const py::list &constants, const py::list &states, const py::list &outputs,
                const py::list &buffers, const py::list &late,
                const py::list &stacks, const std::vector<int32_t> &rows, const py::list &kept,
                const std::vector<int32_t> &prepares_from, const py::list &checks,
                const py::list &calls, const py::list &evidence, int64_t outside_bytes, int64_t budget, bool small)
{
    auto executable = std::make_unique<Executable>();
    Reader reader(*executable);
    reader.read_feeds(feeds);
    reader.read_value_binds(value_binds);
    reader.read_constants(constants);
    reader.read_states(states);
    reader.read_outputs(outputs);
    reader.read_buffers(buffers);
    reader.read_late(late, stacks, rows);
    reader.read_kept(kept);
    reader.read_checks(checks);
    reader.read_calls(calls);
    reader.create(object, symbol_count, late_count, value_count, moment_count, prepares_from, outside_bytes,
                  budget);
    executable->symbol_count = symbol_count;
    for (const py::handle &operands : evidence) {
        executable->evidence.push_back(read_operands(operands));
    }
    executable->small = small && calls.empty();
    return executable;
}

py::dict inspect(const Executable &executable)
{
    gf_executable_report report = gf_executable_inspect(executable.handle.get());
    py::dict result;
    result["code_bytes"] = report.code_bytes;
    result["arena_bytes"] = report.arena_bytes;
    result["arena_lower_bound"] = report.arena_lower_bound;
    result["arenas"] = report.arenas;
    result["arena_total_bytes"] = report.arena_total_bytes;
    result["bindings"] = report.bindings;
    result["kept_bytes"] = report.kept_bytes;
    result["preparations"] = report.preparations;
    return result;
}

// The arena for given symbols: (bytes, lower bound), before any run.
py::tuple arena_of(const Executable &executable, std::vector<int64_t> symbols)
{
    int64_t bytes, lower_bound;
    if (static_cast<int32_t>(symbols.size()) != executable.symbol_count) {
        throw py::value_error("an arena is asked for with one size for each symbol");
    }
    symbols.push_back(0); // so that there is something to point at
    int32_t status =
        gf_executable_arena(executable.handle.get(), symbols.data(), &bytes, &lower_bound);
    if (status != GF_OK) {
        throw py::value_error("no run can have these sizes");
    }
    return py::make_tuple(bytes, lower_bound);
}

// Links an object without running it: its image, the address it is linked for, what was asked for.
py::tuple link_object(const py::bytes &object, const std::vector<std::string> &names)
{
    char message[512] = "";
    gf_code *code = nullptr;
    int32_t status = gf_code_load(PyBytes_AS_STRING(object.ptr()),
                                  static_cast<size_t>(PyBytes_GET_SIZE(object.ptr())),
                                  GF_LOAD_ANY_MACHINE, &code, message, sizeof message);
    if (status != GF_OK) {
        throw py::value_error(message);
    }
    std::unique_ptr<gf_code, decltype(&gf_code_free)> owner(code, gf_code_free);
    size_t bytes;
    const void *image = gf_code_image(code, &bytes);
    py::dict addresses;
    for (const std::string &name : names) {
        void *address = gf_code_symbol(code, name.c_str());
        addresses[py::str(name)] =
            address ? py::object(py::int_(reinterpret_cast<uintptr_t>(address))) : py::none();
    }
    return py::make_tuple(py::bytes(static_cast<const char *>(image), bytes),
                          reinterpret_cast<uintptr_t>(image), addresses);
}

// Lets the collector of cycles see through a class that pybind11 made.
template <class T> void collect_cycles(PyHeapTypeObject *heap_type)
{
    PyTypeObject *type = &heap_type->ht_type;
    type->tp_flags |= Py_TPFLAGS_HAVE_GC;
    type->tp_traverse = [](PyObject *self, visitproc visit, void *arg) -> int {
        Py_VISIT(Py_TYPE(self));
        if (py::detail::is_holder_constructed(self)) {
            return py::cast<T &>(py::handle(self)).traverse(visit, arg);
        }
        return 0;
    };
    type->tp_clear = [](PyObject *self) -> int {
        if (py::detail::is_holder_constructed(self)) {
            py::cast<T &>(py::handle(self)).clear();
        }
        return 0;
    };
}

} // namespace

int Executable::traverse(visitproc visit, void *arg) const
{
    for (const HostCall &call : calls) {
        Py_VISIT(call.function.get());
    }
    return 0;
}

// A run that is under way keeps its executable alive, so nobody is calling these.
void Executable::clear()
{
    for (HostCall &call : calls) {
        call.function = Ref::share(Py_None);
    }
}

Call::Call(PyObject *object, Executable *owned, PyObject *shape, std::vector<int32_t> order,
           PyObject *functions, PyObject *information)
    : executable_object(Ref::share(object)), executable(owned),
      nest(shape, owned->output_descrs.size()), feed_order(std::move(order)),
      info(Ref::share(information))
{
    for (int32_t feed : feed_order) {
        if (feed < -1 || feed >= static_cast<int32_t>(executable->feed_descrs.size())) {
            throw py::value_error("a call names a feed that its executable does not have");
        }
    }
    for (int32_t feed = 0; feed < static_cast<int32_t>(executable->feed_descrs.size()); feed++) {
        if (std::count(feed_order.begin(), feed_order.end(), feed) != 1) {
            throw py::value_error("a call gives each feed of its executable once");
        }
    }
    if (functions != Py_None) {
        for (const py::handle &function : py::reinterpret_borrow<py::list>(functions)) {
            converters.push_back(Ref::share(function.ptr()));
        }
        if (converters.size() != feed_order.size()) {
            throw py::value_error("a call has one converter, or None, for each of its feeds");
        }
    }
}

int Call::traverse(visitproc visit, void *arg) const
{
    Py_VISIT(executable_object.get());
    Py_VISIT(info.get());
    for (const Ref &converter : converters) {
        Py_VISIT(converter.get());
    }
    return nest.traverse(visit, arg);
}

// The executable stays: a call is usable as long as it exists.
void Call::clear()
{
    info = Ref::share(Py_None);
}

bool is_call(PyObject *object)
{
    return py::isinstance<Call>(py::handle(object));
}

Call &as_call(PyObject *object)
{
    return py::handle(object).cast<Call &>();
}

void define_programs(PyObject *object)
{
    auto module = py::reinterpret_borrow<py::module_>(object);
    py::class_<Executable>(module, "Executable", py::custom_type_setup(collect_cycles<Executable>))
        .def(py::init(&make_executable), py::arg("object"), py::kw_only(), py::arg("symbol_count"),
             py::arg("late_count"), py::arg("value_count"), py::arg("launch_count"), py::arg("feeds"),
             py::arg("value_binds"), py::arg("constants"), py::arg("states"), py::arg("outputs"),
             py::arg("buffers"), py::arg("late"), py::arg("stacks"), py::arg("rows"),
             py::arg("kept"), py::arg("prepares_from"), py::arg("checks"), py::arg("calls"),
             py::arg("evidence"),
             py::arg("outside_bytes"), py::arg("budget"), py::arg("small"))
        .def("arena", &arena_of, py::arg("symbols"))
        .def("inspect", &inspect);
    py::class_<Call>(module, "Call", py::custom_type_setup(collect_cycles<Call>))
        .def(py::init([](const py::object &executable, const py::object &nest,
                         std::vector<int32_t> feed_order, const py::object &converters,
                         const py::object &info) {
                 return std::make_unique<Call>(executable.ptr(), &executable.cast<Executable &>(),
                                               nest.ptr(), std::move(feed_order), converters.ptr(),
                                               info.ptr());
             }),
             py::arg("executable"), py::arg("nest"), py::arg("feed_order"),
             py::arg("converters") = py::none(), py::arg("info") = py::none())
        .def_property_readonly("executable",
                               [](const Call &call) {
                                   return py::reinterpret_borrow<py::object>(
                                       call.executable_object.get());
                               })
        .def_property_readonly("info", [](const Call &call) {
            return py::reinterpret_borrow<py::object>(call.info.get());
        });
    module.def("link_object", &link_object, py::arg("object"), py::arg("names"));
}

} // namespace graphflow
