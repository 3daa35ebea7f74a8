// Owners of C resources: each is released exactly once, by whoever reads the declaration can see where.
#pragma once

#include <unistd.h>

#include <memory>
#include <utility>

namespace fastnet {

/// A unique_ptr whose deleter is a function known at compile time; as large as a pointer.
template <auto Destroy>
struct Destroyer {
    template <typename T>
    void operator()(T* object) const noexcept {
        Destroy(object);
    }
};
template <typename T, auto Destroy>
using Handle = std::unique_ptr<T, Destroyer<Destroy>>;

/// An owned file descriptor; -1 is "none".
class UniqueFd {
public:
    UniqueFd() noexcept = default;
    explicit UniqueFd(int fd) noexcept : fd_{fd} {}
    UniqueFd(UniqueFd&& other) noexcept : fd_{other.release()} {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;
    ~UniqueFd() { reset(); }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int release() noexcept { return std::exchange(fd_, -1); }
    void reset(int fd = -1) noexcept {
        if (fd_ >= 0) ::close(fd_);
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

}  // namespace fastnet
