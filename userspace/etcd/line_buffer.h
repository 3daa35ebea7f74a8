// Cuts a stream into lines, of bounded length.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastnet {

class LineBuffer {
public:
    explicit LineBuffer(std::size_t max_line) : max_line_{max_line} {}

    /// False once a line is longer than allowed: nothing more is taken.
    bool append(std::string_view bytes) {
        while (!overflown_ && !bytes.empty()) {
            const std::size_t end = bytes.find('\n');
            const std::string_view piece = bytes.substr(0, end);
            if (piece.size() > max_line_ - rest_.size()) {
                overflown_ = true;
                rest_.clear();
                break;
            }
            rest_ += piece;
            if (end == std::string_view::npos) break;
            if (!rest_.empty()) lines_.push_back(std::move(rest_));
            rest_.clear();
            bytes.remove_prefix(end + 1);
        }
        return !overflown_;
    }
    /// The complete lines since the last call, without empty ones.
    std::vector<std::string> take() { return std::exchange(lines_, {}); }
    bool overflown() const { return overflown_; }

private:
    std::size_t max_line_;
    std::string rest_{};
    std::vector<std::string> lines_{};
    bool overflown_ = false;
};

}  // namespace fastnet
