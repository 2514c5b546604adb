// Executables as Python holds them, and calls: a way of running one, with its fetches and feeds.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "graphflow/executable.h"
#include "nest.hpp"
#include "python.hpp"

namespace graphflow
{

// The dimensions and the element type of an array that goes to or comes from a host call.
struct Operand {
    int32_t pointer;
    Ref descr;
    std::vector<int64_t> dims;
};

struct HostCall {
    Ref function;
    std::vector<Operand> inputs;
    std::vector<Operand> outputs;
};

struct Destroy {
    void operator()(gf_executable *executable) const { gf_executable_destroy(executable); }
};

class Executable
{
public:
    std::unique_ptr<gf_executable, Destroy> handle;
    std::vector<Ref> feed_descrs;
    std::vector<Ref> output_descrs;
    std::vector<int32_t> output_sources;
    std::vector<int32_t> state_slots;
    std::vector<Ref> constants; // arrays whose memory the step reads
    std::vector<HostCall> calls;
    std::vector<std::vector<Operand>> evidence; // of each check: what belongs to its message
    int32_t symbol_count = 0;
    bool small = false; // runs so briefly that it keeps the interpreter's lock

    int traverse(visitproc visit, void *context) const;
    void clear();
};

class Call
{
public:
    Ref executable_object;
    Executable *executable; // owned by executable_object
    Nest nest;
    std::vector<int32_t> feed_order; // for each feed key of the call: a feed, or -1: not needed
    std::vector<Ref> converters;     // for each feed key: None, or a function applied to the value
    Ref info;                        // whatever Python wants to find again in a hook

    Call(PyObject *executable_object, Executable *executable, PyObject *nest,
         std::vector<int32_t> feed_order, PyObject *converters, PyObject *info);
    int traverse(visitproc visit, void *context) const;
    void clear();
};

bool is_call(PyObject *object);
Call &as_call(PyObject *object); // of an object that is one

// Adds Executable, Call and the loader's functions to the module.
void define_programs(PyObject *module);

} // namespace graphflow
