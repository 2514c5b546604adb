// Python's own handler only notes the signal for the interpreter's loop, which does not turn while
// a step runs. So a handler in front of it raises a flag that the step's `poll` can read without
// the interpreter's lock, and passes the signal on. It stays in place: one system call at the
// start of a long run finds out whether Python code has installed another since.
#include "signals.hpp"

#include <csignal>
#include <sys/syscall.h>
#include <unistd.h>

#include "graphflow/threads.h"

#ifdef __APPLE__
#include <pthread.h>
#endif

namespace graphflow
{

volatile int interrupt_attention;

namespace
{

struct sigaction chained; // written by the main thread only, before the handler is installed

void on_interrupt(int number, siginfo_t *info, void *context)
{
    interrupt_attention = 1;
    if (chained.sa_flags & SA_SIGINFO) {
        chained.sa_sigaction(number, info, context);
    } else if (chained.sa_handler != SIG_DFL && chained.sa_handler != SIG_IGN) {
        chained.sa_handler(number);
    }
}

bool is_main_thread()
{
#ifdef __APPLE__
    return pthread_main_np() != 0;
#else
    // A forked child's only thread is its main one, whichever it was in the parent.
    thread_local int known = -1;
    thread_local uint32_t generation;
    if (known < 0 || generation != gf_fork_generation()) {
        known = static_cast<long>(getpid()) == syscall(SYS_gettid);
        generation = gf_fork_generation();
    }
    return known != 0;
#endif
}

} // namespace

bool watch_interrupts()
{
    if (!is_main_thread()) {
        return false;
    }
    struct sigaction current;
    if (sigaction(SIGINT, nullptr, &current) != 0) {
        return false;
    }
    if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_interrupt) {
        return true;
    }
    if (!(current.sa_flags & SA_SIGINFO) &&
        (current.sa_handler == SIG_DFL || current.sa_handler == SIG_IGN)) {
        return false;
    }
    chained = current;
    struct sigaction ours = current;
    ours.sa_flags |= SA_SIGINFO;
    ours.sa_sigaction = on_interrupt;
    return sigaction(SIGINT, &ours, nullptr) == 0;
}

} // namespace graphflow
