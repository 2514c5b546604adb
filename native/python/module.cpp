// graphflow._native: the runtime for Python. graphflow/runtime.py is the only module that imports
// it.
#define GRAPHFLOW_IMPORTS_NUMPY
#include "python.hpp"

#include <pybind11/pybind11.h>

#include "arrays.hpp"
#include "graphflow/arena.h"
#include "program.hpp"
#include "session.hpp"
#include "threads.hpp"

namespace py = pybind11;

namespace
{

// Offsets for (bytes, first, last) blocks: the planner that runs use, for tests and reports.
py::tuple plan_arena(const py::list &rows, int32_t launches)
{
    std::vector<gf_block> blocks;
    for (const py::handle &row : rows) {
        auto fields = row.cast<py::tuple>();
        blocks.push_back(
            {fields[0].cast<int64_t>(), fields[1].cast<int32_t>(), fields[2].cast<int32_t>(), 0});
    }
    gf_arena_size size{};
    int32_t status =
        gf_arena_plan(blocks.data(), static_cast<int32_t>(blocks.size()), launches, &size);
    if (status == GF_NO_MEMORY) {
        throw std::bad_alloc();
    }
    if (status != GF_OK) {
        throw py::value_error("a block's size or lifetime is out of range");
    }
    py::list offsets;
    for (const gf_block &block : blocks) {
        offsets.append(block.offset);
    }
    return py::make_tuple(offsets, size.bytes, size.lower_bound);
}

} // namespace

PYBIND11_MODULE(_native, module)
{
    if (_import_array() < 0) {
        throw py::error_already_set();
    }
    graphflow::define_threads(module.ptr());
    graphflow::define_programs(module.ptr());
    if (!graphflow::ready_arrays(module.ptr()) || !graphflow::ready_callables(module.ptr()) ||
        !graphflow::ready_sessions(module.ptr())) {
        throw py::error_already_set();
    }
    module.def("plan_arena", &plan_arena, py::arg("blocks"), py::arg("launches"));
    module.attr("ABI_VERSION") = GF_ABI_VERSION;
    for (auto [name, value] : {std::pair{"FAILED", int{GF_FAILED}},
                               {"INTERRUPTED", int{GF_INTERRUPTED}},
                               {"NO_MEMORY", int{GF_NO_MEMORY}},
                               {"HOST_ERROR", int{GF_HOST_ERROR}},
                               {"BAD_SIZE", int{GF_BAD_SIZE}},
                               {"REENTERED", int{GF_REENTERED}},
                               {"BAD_DESCRIPTION", int{GF_BAD_DESCRIPTION}}}) {
        module.attr(name) = value;
    }
}
