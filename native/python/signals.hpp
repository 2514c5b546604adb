// Ctrl-C while a step runs without the interpreter's lock.
#pragma once

namespace graphflow
{

// Nonzero from the moment SIGINT arrives until a step has looked into it.
extern volatile int interrupt_attention;

// Whether this is the thread whose runs Ctrl-C stops; if so, SIGINT raises the flag above before
// whatever handler is installed, Python's as a rule, gets it. Does nothing where SIGINT is ignored
// or ends the process.
bool watch_interrupts();

} // namespace graphflow
