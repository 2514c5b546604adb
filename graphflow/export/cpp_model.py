"""The class Model of NAME.hpp, but for its signatures."""

# @P@ stands for the prefix of the model's C names, @U@ for the same in capitals.
OPENING = """\
/* A model, and what it has learned. Moves, and cannot be copied. Many threads may use one at once,
 * but for moving and destroying it.
 *
 * Functions that begin with try_ return a status; the others throw Error. */
class Model {
public:
    /* No model: every call fails. */
    Model() noexcept = default;
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;
    Model(Model &&other) noexcept : model_(std::exchange(other.model_, nullptr)) {}
    Model &operator=(Model &&other) noexcept
    {
        if (this != &other) {
            @P@_destroy(model_);
            model_ = std::exchange(other.model_, nullptr);
        }
        return *this;
    }
    ~Model() { @P@_destroy(model_); }

    [[nodiscard]] static Status try_create(const Options &options, Model &model) noexcept
    {
        @P@_options given = {};
        given.threads = options.threads;
        given.parallel = options.pool.parallel;
        given.pool = options.pool.pool;
        given.arena = options.arena.data();
        given.arena_bytes = static_cast<std::int64_t>(options.arena.size());
        given.weights = options.weights.empty() ? nullptr : options.weights.c_str();
        given.instruction_set =
            options.instruction_set.empty() ? nullptr : options.instruction_set.c_str();
        Model made;
        const Status status = detail::told(@P@_create(&given, &made.model_));
        if (status == Status::ok) {
            model = std::move(made);
        }
        return status;
    }

    explicit operator bool() const noexcept { return model_ != nullptr; }
    /* For the functions of @P@.h; stays the model's own. */
    @P@_model *handle() const noexcept { return model_; }
    /* The one that was chosen. */
    const char *instruction_set() const noexcept
    {
        return model_ != nullptr ? @P@_instruction_set(model_) : "";
    }

    /* Writes all variables to a safetensors file, as they are at one moment. A failed save leaves
     * the file that was there. */
    [[nodiscard]] Status try_save(const char *path) const noexcept
    {
        return detail::told(@P@_save(model_, path));
    }
    /* Gives all variables the values in a safetensors file, at one moment: runs under way end with
     * the old ones, those that begin later have the new ones. */
    [[nodiscard]] Status try_load(const char *path) noexcept
    {
        return detail::told(@P@_load(model_, path));
    }
"""

VARIABLES = """\

    /* Copies the value of a variable; `shape`, unless null, gets its sizes, also where there is too
     * little room. */
    template <Variable variable>
    [[nodiscard]] Status try_get(
        Span<typename Declared<variable>::value_type> into,
        std::array<std::int64_t, Declared<variable>::rank> *shape = nullptr) const noexcept
    {
        using T = typename Declared<variable>::value_type;
        return detail::told(@P@_get(model_, static_cast<std::int32_t>(variable), into.data(),
                                    static_cast<std::int64_t>(into.size() * sizeof(T)),
                                    shape != nullptr ? shape->data() : nullptr));
    }
    /* The same, with memory of its own: an Array, or of a scalar its value. */
    template <Variable variable>
    [[nodiscard]] Status try_get(typename Declared<variable>::array_type &value) const noexcept
    {
        using T = typename Declared<variable>::value_type;
        if constexpr (Declared<variable>::rank == 0) {
            return try_get<variable>(Span<T>(&value, 1));
        } else {
            value.shape = Declared<variable>::shape;
            for (;;) {
                Status status = detail::resize(value.values, detail::elements_of(value.shape));
                if (status != Status::ok) {
                    return status;
                }
                status = try_get<variable>(Span<T>(value), &value.shape);
                const auto found = detail::elements_of(value.shape).room();
                if (status == Status::ok) {
                    return detail::resize(value.values, found);
                }
                if (found <= static_cast<std::int64_t>(value.size())) {
                    return status;
                }
            }
        }
    }
    /* Gives a variable a value: a Span, or of a scalar its value. */
    template <Variable variable>
    [[nodiscard]] Status try_set(typename Declared<variable>::given_type value,
                                 const std::array<std::int64_t, Declared<variable>::rank> &shape =
                                     Declared<variable>::shape) noexcept
    {
        using T = typename Declared<variable>::value_type;
        const void *data;
        std::size_t count = 1;
        if constexpr (Declared<variable>::rank == 0) {
            data = &value;
        } else {
            data = value.data();
            count = value.size();
        }
        const bool is_declared = !Declared<variable>::is_open && shape == Declared<variable>::shape;
        return detail::told(@P@_set(model_, static_cast<std::int32_t>(variable), data,
                                    static_cast<std::int64_t>(count * sizeof(T)),
                                    is_declared ? nullptr : shape.data()));
    }
"""

THROWING = """\

#if defined(__cpp_exceptions)
    explicit Model(const Options &options) { detail::check(try_create(options, *this)); }
    void save(const std::string &path) const { detail::check(try_save(path.c_str())); }
    void load(const std::string &path) { detail::check(try_load(path.c_str())); }
"""

THROWING_VARIABLES = """\
    template <Variable variable>
    typename Declared<variable>::array_type get() const
    {
        typename Declared<variable>::array_type value{};
        detail::check(try_get<variable>(value));
        return value;
    }
    template <Variable variable>
    void set(typename Declared<variable>::given_type value,
             const std::array<std::int64_t, Declared<variable>::rank> &shape =
                 Declared<variable>::shape)
    {
        detail::check(try_set<variable>(value, shape));
    }
"""

CLOSING = """\

private:
    @P@_model *model_ = nullptr;
};
"""

__all__ = ["CLOSING", "OPENING", "THROWING", "THROWING_VARIABLES", "VARIABLES"]
