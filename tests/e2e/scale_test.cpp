// Scale that only a whole node shows. Slow, so with a longer bound than the other end-to-end tests (CMakeLists.txt).
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

class Scale : public LabTest {};

TEST_F(Scale, Endpoint1024OfOneNetworkWorksOrIsRefusedWithTheReason) {
    // A Linux bridge has 1,023 ports.
    constexpr int kCount = 1024;
    lab().json({"network", "create", "big", "--subnet", "10.96.0.0/16"});
    CommandResult last;
    int attached = 0;
    for (; attached < kCount; ++attached) {
        const std::string label = "c" + std::to_string(attached);
        lab().container(label);
        last = lab().fastnet(lab().attach_args(label, {"--network", "big"}));
        if (last.status != 0) break;
    }
    EXPECT_GE(attached, 1000) << last;
    if (attached < kCount) {
        expect_error_in(last, {kFailed, kConflict}, {"1023"});
    } else {
        lab().attach("c1023", {"--network", "big"});
        const Socket listener = Socket::listener(lab().at("c1023"), {"0.0.0.0", 80});
        EXPECT_TRUE(Socket::connected(lab().at("c0"), Transport::kTcp, {lab().ip("c1023"), 80}).ok());
    }
    EXPECT_EQ(lab().count("endpoints"), static_cast<std::size_t>(attached));
}

}  // namespace
}  // namespace fastnet::test
