// The thread pool as Python holds it; sessions may share one.
#pragma once

#include <memory>

#include "graphflow/threads.h"
#include "python.hpp"

namespace graphflow
{

struct DestroyPool {
    void operator()(gf_pool *pool) const { gf_pool_destroy(pool); }
};

struct ThreadPool {
    std::unique_ptr<gf_pool, DestroyPool> handle;
};

void define_threads(PyObject *module);

} // namespace graphflow
