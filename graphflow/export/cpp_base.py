"""What the C++ headers of all models have alike, each in its own namespace: none of ours has to be
found, and models of any versions go together."""

INCLUDES = """\
#include <array>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
"""

# @P@ stands for the prefix of the model's C names, @U@ for the same in capitals.
ERRORS = """\
#if defined(__cpp_exceptions)
/* What is thrown: a status, and in what() what was wrong. */
class Error : public std::runtime_error {
public:
    Error(Status status, const char *text) : std::runtime_error(text), status_(status) {}
    Status status() const noexcept { return status_; }

private:
    Status status_;
};
#endif
"""

SPAN = """\
/* Elements that lie side by side somewhere else: a vector, an array, a std::span, or a pointer and
 * how many there are. Only for as long as they stay there. */
template <class T>
class Span {
public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;

    constexpr Span() noexcept = default;
    constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class Container, class Data = decltype(std::data(std::declval<Container &>())),
              class = decltype(std::size(std::declval<Container &>())),
              class = std::enable_if_t<
                  std::is_convertible_v<std::remove_pointer_t<Data> (*)[], T (*)[]> &&
                  !std::is_same_v<std::decay_t<Container>, Span>>>
    constexpr Span(Container &&container) noexcept
        : data_(std::data(container)), size_(std::size(container))
    {
    }

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/* Elements with their shape, in C order. */
template <class T, std::size_t rank>
struct Array {
    std::vector<T> values;
    std::array<std::int64_t, rank> shape{};

    T *data() noexcept { return values.data(); }
    const T *data() const noexcept { return values.data(); }
    std::size_t size() const noexcept { return values.size(); }
    auto begin() noexcept { return values.begin(); }
    auto begin() const noexcept { return values.begin(); }
    auto end() noexcept { return values.end(); }
    auto end() const noexcept { return values.end(); }
    T &operator[](std::size_t index) noexcept { return values[index]; }
    const T &operator[](std::size_t index) const noexcept { return values[index]; }
};

/* A feed or an output, as it was declared. */
struct Tensor {
    const char *name;
    const char *dtype;
    const char *shape;     /* in the names of the sizes */
    std::int32_t rank;
    std::int64_t elements; /* -1: that depends on sizes */
};

/* A size that is worked out from the lengths of feeds. */
inline constexpr std::int64_t deduced = -1;
"""

OPTIONS = """\
/* One of the tasks that a host's pool is given: call it with each number. */
class Task {
public:
    Task(void (*function)(void *, std::int32_t), void *data) : function_(function), data_(data) {}
    void operator()(std::int32_t index) const { function_(data_, index); }

private:
    void (*function_)(void *, std::int32_t);
    void *data_;
};

/* The host's own threads, as two pointers: `parallel` calls task(data, i) for each i in [0, tasks),
 * in any order and on any threads, and returns when all of them have returned. */
struct HostPool {
    void *pool = nullptr;
    void (*parallel)(void *pool, std::int32_t tasks, void (*task)(void *data, std::int32_t index),
                     void *data) = nullptr;
};

/* The same of anything that is called as pool(tasks, task), with a std::int32_t and a Task. The
 * pool must outlive the model, and not throw. */
template <class Pool>
HostPool host_pool(Pool &pool) noexcept
{
    return {&pool, [](void *self, std::int32_t tasks, void (*task)(void *, std::int32_t),
                      void *data) noexcept {
                (*static_cast<Pool *>(self))(tasks, Task(task, data));
            }};
}

/* How a model is to run. */
struct Options {
    std::string weights = {};         /* a file to load the variables from; empty: none */
    std::int32_t threads = 0;         /* that work on one run; 0: one for each processor */
    HostPool pool = {};               /* the host's threads, `threads` many */
    Span<std::byte> arena = {};       /* memory for runs, aligned to 64 bytes; runs take turns */
    std::string instruction_set = {}; /* empty: the best that this processor has */
};
"""

DETAIL = """\
namespace detail {

/* What was wrong, where this header found it out. */
struct Note {
    bool is_latest = false;
    char text[512] = {};
};

inline Note &note() noexcept
{
    static thread_local Note found;
    return found;
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
inline Status
refuse(Status status, const char *format, ...) noexcept
{
    Note &to = note();
    std::va_list values;
    va_start(values, format);
    std::vsnprintf(to.text, sizeof to.text, format, values);
    va_end(values);
    to.is_latest = true;
    return status;
}

/* A status of the C functions, which have their own text. */
inline Status told(std::int32_t status) noexcept
{
    if (status != @U@_OK) {
        note().is_latest = false;
    }
    return static_cast<Status>(status);
}

/* A number of elements. What is too large stays too large instead of overflowing. */
class Count {
public:
    constexpr Count(std::int64_t value) noexcept
        : value_(value > limit ? limit : value < -limit ? -limit : value)
    {
    }
    constexpr std::int64_t value() const noexcept { return value_; }
    constexpr std::int64_t room() const noexcept { return value_ < 0 ? 0 : value_; }
    friend constexpr Count operator+(Count a, Count b) noexcept { return {a.value_ + b.value_}; }
    friend constexpr Count operator-(Count a, Count b) noexcept { return {a.value_ - b.value_}; }
    friend constexpr Count operator*(Count a, Count b) noexcept
    {
        const double product = static_cast<double>(a.value_) * static_cast<double>(b.value_);
        const double most = static_cast<double>(limit);
        return product > most ? limit : product < -most ? -limit : a.value_ * b.value_;
    }
    /* Rounded down. */
    friend constexpr Count operator/(Count a, Count b) noexcept
    {
        if (b.value_ == 0) {
            return 0;
        }
        const bool below = a.value_ % b.value_ != 0 && (a.value_ < 0) != (b.value_ < 0);
        return a.value_ / b.value_ - (below ? 1 : 0);
    }
    friend constexpr Count larger(Count a, Count b) noexcept
    {
        return a.value_ > b.value_ ? a : b;
    }
    friend constexpr Count smaller(Count a, Count b) noexcept
    {
        return a.value_ < b.value_ ? a : b;
    }

private:
    static constexpr std::int64_t limit = std::int64_t{1} << 61;
    std::int64_t value_;
};

/* Works a size out from a feed that has `each` elements for every one of it. */
template <class T>
void deduce(std::int64_t &size, Span<T> feed, Count each) noexcept
{
    if (size < 0 && feed.data() != nullptr && each.value() > 0) {
        size = static_cast<std::int64_t>(feed.size()) / each.value();
    }
}

template <class T>
Status check_feed(const char *what, const char *shape, Span<T> feed, Count wanted) noexcept
{
    if (static_cast<std::int64_t>(feed.size()) == wanted.room()) {
        return Status::ok;
    }
    return refuse(Status::feed_mismatch, "%s has %lld elements, [%s] takes %lld", what,
                  static_cast<long long>(feed.size()), shape,
                  static_cast<long long>(wanted.room()));
}

template <class T>
Status check_room(const char *what, const char *shape, Span<T> room, Count wanted) noexcept
{
    if (room.data() == nullptr || static_cast<std::int64_t>(room.size()) >= wanted.room()) {
        return Status::ok;
    }
    return refuse(Status::bad_argument, "%s has room for %lld elements, [%s] takes %lld", what,
                  static_cast<long long>(room.size()), shape,
                  static_cast<long long>(wanted.room()));
}

/* Where a feed lies; an empty one lies somewhere, too. */
template <class T>
const T *place(Span<const T> feed) noexcept
{
    static const T nothing{};
    return feed.empty() ? &nothing : feed.data();
}

/* Makes a vector as long as an output. */
template <class T>
Status resize(std::vector<T> &values, Count count) noexcept
{
    const auto size = static_cast<std::uint64_t>(count.room());
    if (size > values.max_size()) {
        return refuse(Status::no_memory, "no memory for %llu elements",
                      static_cast<unsigned long long>(size));
    }
#if defined(__cpp_exceptions)
    try {
        values.resize(static_cast<std::size_t>(size));
    } catch (...) {
        return refuse(Status::no_memory, "no memory for %llu elements",
                      static_cast<unsigned long long>(size));
    }
#else
    values.resize(static_cast<std::size_t>(size));
#endif
    return Status::ok;
}

template <std::size_t rank>
constexpr Count elements_of(const std::array<std::int64_t, rank> &shape) noexcept
{
    Count count = 1;
    for (std::size_t axis = 0; axis < rank; axis++) {
        count = shape[axis] < 0 ? Count(-1) : count * shape[axis];
    }
    return count;
}

/* Room for an output whose length only a run tells: what there is, but some at least. */
template <class T, std::size_t rank>
Status make_room(Array<T, rank> &output) noexcept
{
    output.shape.fill(-1);
    return output.values.empty() ? resize(output.values, 256) : Status::ok;
}

/* Fits an output to its shape, which a run has told; `has_grown` if there was too little room. */
template <class T, std::size_t rank>
Status fit(Array<T, rank> &output, Status status, bool &has_grown) noexcept
{
    const Count found = elements_of(output.shape);
    const bool is_short = found.value() > static_cast<std::int64_t>(output.size());
    if (status != Status::ok && (status != Status::bad_argument || !is_short)) {
        return status;
    }
    const Status resized = resize(output.values, found);
    has_grown = resized == Status::ok && (has_grown || is_short);
    return resized == Status::ok ? status : resized;
}

/* The dtype and shape of a variable; -1 where any size will do. */
template <class T, std::int64_t... dims>
struct Declared {
    using value_type = T;
    static constexpr std::size_t rank = sizeof...(dims);
    static constexpr std::array<std::int64_t, rank> shape{dims...};
    static constexpr bool is_open = ((dims < 0) || ...);
    using array_type = std::conditional_t<rank == 0, T, Array<T, rank>>;
    using given_type = std::conditional_t<rank == 0, const T &, Span<const T>>;
};

} /* namespace detail */

/* What was wrong in this thread's last call that failed; valid until its next one. */
inline const char *message() noexcept
{
    return detail::note().is_latest ? detail::note().text : @P@_message();
}

#if defined(__cpp_exceptions)
namespace detail {
inline void check(Status status)
{
    if (status != Status::ok) {
        throw Error(status, message());
    }
}
} /* namespace detail */
#endif
"""

__all__ = ["DETAIL", "ERRORS", "INCLUDES", "OPTIONS", "SPAN"]
