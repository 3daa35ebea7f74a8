// Result<T>: a value or an Error, never both, never ignored.
// The names follow std::expected (C++23), which g++ 12 has only outside C++20: a later swap is mechanical.
// Nothing in fastnet throws on purpose; constructors cannot fail, factories return Result.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

namespace fastnet {

/// What the user can do about a failure decides the exit status (design.md section 4).
enum class ErrorKind {
    kFailed = 1,    ///< the operation was tried and failed
    kUsage = 2,     ///< the request itself makes no sense
    kConflict = 3,  ///< port, name, address or subnet is taken
    kNotFound = 4,  ///< the named thing does not exist
};

/// A failure on its way to the user: each layer may prepend one clause, main() prints it once.
struct Error {
    ErrorKind kind = ErrorKind::kFailed;
    std::string message;  ///< `<what failed>: <why>`, without the program's name
    std::string hint;     ///< one line on what to do; may be empty
    int sys_errno = 0;    ///< errno of the failing call, 0 if there was none

    Error with_hint(std::string_view text) && {
        hint = text;
        return std::move(*this);
    }
    Error in(std::string_view what) && {
        message = std::string{what} + ": " + message;
        return std::move(*this);
    }
};

inline Error failed(std::string message, std::string hint = {}) {
    return {ErrorKind::kFailed, std::move(message), std::move(hint), 0};
}
inline Error usage_error(std::string message, std::string hint = {}) {
    return {ErrorKind::kUsage, std::move(message), std::move(hint), 0};
}
inline Error conflict(std::string message, std::string hint = {}) {
    return {ErrorKind::kConflict, std::move(message), std::move(hint), 0};
}
inline Error not_found(std::string message, std::string hint = {}) {
    return {ErrorKind::kNotFound, std::move(message), std::move(hint), 0};
}
/// `what: strerror(error)`. @p error is positive (errno) or negative (libbpf's convention).
inline Error sys_error(int error, std::string_view what) {
    const int positive = std::abs(error);
    return {ErrorKind::kFailed, std::string{what} + ": " + std::generic_category().message(positive), {}, positive};
}

struct Ok {};

template <typename T = Ok>
class [[nodiscard]] Result {
public:
    using value_type = T;

    Result(T value) : state_{std::in_place_index<0>, std::move(value)} {}      // NOLINT(google-explicit-constructor)
    Result(Error error) : state_{std::in_place_index<1>, std::move(error)} {}  // NOLINT(google-explicit-constructor)

    bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    T& value() & { return *checked(); }
    const T& value() const& { return *std::get_if<0>(&state_); }
    T value() && { return std::move(*checked()); }  // by value: `for (x : f().value())` must not dangle
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T operator*() && { return std::move(*this).value(); }
    T* operator->() { return checked(); }
    const T* operator->() const { return std::get_if<0>(&state_); }

    Error& error() & { return *std::get_if<1>(&state_); }
    const Error& error() const& { return *std::get_if<1>(&state_); }
    Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

    T value_or(T fallback) && { return has_value() ? std::move(*this).value() : std::move(fallback); }

private:
    T* checked() {
        T* value = std::get_if<0>(&state_);
        if (value == nullptr) std::abort();  // a bug of ours: the caller did not look
        return value;
    }
    std::variant<T, Error> state_;
};

using Status = Result<Ok>;
inline Status ok() {
    return Ok{};
}

}  // namespace fastnet

// TRY(expr): the value of a Result, or return its error from the enclosing function.
// Variadic for commas in template arguments. Never nest two of them in one expression: the inner name shadows.
#define TRY(...)                                                           \
    __extension__({                                                        \
        auto try_result = (__VA_ARGS__);                                   \
        if (!try_result.has_value()) return std::move(try_result).error(); \
        std::move(try_result).value();                                     \
    })

// CHECK_OK(expr): like TRY for a Status whose value nobody wants.
#define CHECK_OK(...)                                                                                             \
    do {                                                                                                          \
        if (auto check_result = (__VA_ARGS__); !check_result.has_value()) return std::move(check_result).error(); \
    } while (0)
