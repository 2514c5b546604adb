#include "threads.hpp"

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace graphflow
{

void define_threads(PyObject *object)
{
    auto module = py::reinterpret_borrow<py::module_>(object);
    py::class_<ThreadPool>(module, "ThreadPool")
        .def(py::init([](int32_t threads, int32_t spin_us) {
                 auto pool = std::make_unique<ThreadPool>();
                 pool->handle.reset(gf_pool_create(threads, spin_us));
                 if (pool->handle == nullptr) {
                     throw std::bad_alloc();
                 }
                 return pool;
             }),
             py::arg("threads") = 0, py::arg("spin_us") = 200)
        .def_property_readonly(
            "threads", [](const ThreadPool &pool) { return gf_pool_threads(pool.handle.get()); });
    module.def("processor_count", &gf_processor_count);
}

} // namespace graphflow
