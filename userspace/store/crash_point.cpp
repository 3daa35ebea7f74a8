#include "userspace/store/crash_point.h"

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string_view>

namespace fastnet {
namespace {

unsigned long crash_at() {
    const char* text = std::getenv("FASTNET_CRASH_AT");
    if (text == nullptr) return 0;
    unsigned long count = 0;
    const std::string_view view{text};
    (void)std::from_chars(view.data(), view.data() + view.size(), count);  // nonsense stays 0: never
    return count;
}

}  // namespace

void crash_point() {
    // Read at each call, so that a forked child can be told to die when its parent was not.
    const unsigned long at = crash_at();
    static std::atomic<unsigned long> calls{0};
    if (at != 0 && ++calls == at) (void)std::raise(SIGKILL);
}

}  // namespace fastnet
