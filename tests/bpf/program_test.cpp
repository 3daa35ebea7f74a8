// The programs as programs: limits of the oldest kernel that must load them, checked on whatever kernel this is.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/shared_maps.h"

// The skeletons need the ABI's types before them.
#include "datapath.skel.h"
#include "xdp_uplink.skel.h"

namespace fastnet::test {
namespace {

class Programs : public DatapathTest {
protected:
    /// Of each function of @p program in the order of its code, as the verifier measured it.
    std::vector<unsigned> stack_depths(const std::string& program) const {
        const std::string log = verifier_log(program), title = "stack depth ";
        const std::size_t at = log.find(title);
        std::istringstream numbers{at == std::string::npos ? "" : log.substr(at + title.size())};
        std::vector<unsigned> depths;
        for (unsigned depth = 0; numbers >> depth; numbers.ignore(numbers.peek() == '+' ? 1 : 0)) {
            depths.push_back(depth);
            if (numbers.peek() != '+') break;
        }
        return depths;
    }
};

/// Bytes of stack of the deepest chain of calls from the function that begins at @p start, each rounded up as Linux
/// before 6.8 does (check_max_stack_depth in kernel/bpf/verifier.c). Callbacks of bpf_loop() count as calls.
unsigned deepest_chain(const bpf_insn* code, const std::vector<std::size_t>& starts, const std::vector<unsigned>& depths,
                       std::size_t function, std::size_t code_size) {
    const std::size_t end = function + 1 < starts.size() ? starts[function + 1] : code_size;
    unsigned below = 0;
    for (std::size_t i = starts[function]; i < end; ++i) {
        const bool call = code[i].code == (BPF_JMP | BPF_CALL) && code[i].src_reg == BPF_PSEUDO_CALL;
        const bool callback = code[i].code == (BPF_LD | BPF_IMM | BPF_DW) && code[i].src_reg == BPF_PSEUDO_FUNC;
        if (!call && !callback) continue;
        const std::size_t target = i + 1 + static_cast<std::size_t>(static_cast<std::ptrdiff_t>(code[i].imm));
        const auto callee = static_cast<std::size_t>(std::lower_bound(starts.begin(), starts.end(), target) - starts.begin());
        below = std::max(below, deepest_chain(code, starts, depths, callee, code_size));
    }
    return (std::max(depths[function], 1U) + 31U) / 32U * 32U + below;
}

TEST_F(Programs, EveryChainOfCallsFitsTheStackAsLinux61CountsIt) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton()->obj) {
        const std::string name = bpf_program__name(program);
        const bpf_insn* code = bpf_program__insns(program);
        const std::size_t size = bpf_program__insn_cnt(program);
        std::set<std::size_t> found{0};
        for (std::size_t i = 0; i < size; ++i) {
            const bool call = code[i].code == (BPF_JMP | BPF_CALL) && code[i].src_reg == BPF_PSEUDO_CALL;
            const bool callback = code[i].code == (BPF_LD | BPF_IMM | BPF_DW) && code[i].src_reg == BPF_PSEUDO_FUNC;
            if (call || callback) found.insert(i + 1 + static_cast<std::size_t>(static_cast<std::ptrdiff_t>(code[i].imm)));
        }
        const std::vector<std::size_t> starts(found.begin(), found.end());
        const std::vector<unsigned> depths = stack_depths(name);
        ASSERT_EQ(depths.size(), starts.size()) << name << "\n" << verifier_log(name);
        EXPECT_LE(deepest_chain(code, starts, depths, 0, size), 512U) << name << ", depths " << ::testing::PrintToString(depths);
        RecordProperty(name, static_cast<int>(deepest_chain(code, starts, depths, 0, size)));
    }
}

struct ProgramSize {
    std::uint32_t verified = 0;  ///< instructions that the verifier walked, all paths
    std::uint32_t jited = 0;     ///< bytes of machine code, all functions
};

struct SizeLimits {
    std::string kernel;  ///< "6.18": the release that they were read on; verifier and JIT of another give other numbers
    std::map<std::string, ProgramSize> programs;
};

SizeLimits read_limits(const std::string& path) {
    SizeLimits limits;
    std::ifstream file{path};
    for (std::string line; std::getline(file, line);) {
        std::istringstream words{line.substr(0, line.find('#'))};
        std::string name;
        if (!(words >> name)) continue;
        if (name == "kernel") {
            words >> limits.kernel;
        } else {
            ProgramSize& size = limits.programs[name];
            words >> size.verified >> size.jited;
        }
    }
    return limits;
}

ProgramSize size_of(const bpf_program* program) {
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    EXPECT_EQ(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length), 0) << bpf_program__name(program);
    return {.verified = info.verified_insns, .jited = info.jited_prog_len};
}

bool runs_on(const std::string& release) {
    utsname machine{};
    return uname(&machine) == 0 && std::string{machine.release}.starts_with(release + ".");
}

TEST_F(Programs, GrowNoLargerThanTheirLimits) {
    const SizeLimits limits = read_limits(FASTNET_PROGRAM_LIMITS);
    const bool exact = runs_on(limits.kernel);
    // Elsewhere: twice as large is no difference between kernels any more.
    const std::uint32_t slack = exact ? 1 : 2;
    std::set<std::string> seen;
    std::ostringstream now;
    const auto look_at = [&](const bpf_program* program) {
        const std::string name = bpf_program__name(program);
        const ProgramSize size = size_of(program);
        now << name << ' ' << size.verified << ' ' << size.jited << '\n';
        seen.insert(name);
        if (!limits.programs.contains(name)) {
            ADD_FAILURE() << name << " has no row in " << FASTNET_PROGRAM_LIMITS;
            return;
        }
        const ProgramSize& limit = limits.programs.at(name);
        EXPECT_GT(size.jited, 0U) << name << ": not compiled (net.core.bpf_jit_enable)";
        EXPECT_LE(size.verified, limit.verified * slack) << name;
        EXPECT_LE(size.jited, limit.jited * slack) << name;
        if (exact) {  // a limit that is far away guards nothing
            EXPECT_GE(size.verified * 10, limit.verified * 9) << name << ": much smaller now, lower its limit";
            EXPECT_GE(size.jited * 10, limit.jited * 9) << name << ": much smaller now, lower its limit";
        }
    };
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton()->obj) look_at(program);
    const std::unique_ptr<xdp_uplink, decltype(&xdp_uplink__destroy)> xdp{xdp_uplink__open(), xdp_uplink__destroy};
    ASSERT_NE(xdp, nullptr);
    share_maps(xdp->obj, [this](const char* name) { return map_fd(name); });
    ASSERT_EQ(xdp_uplink__load(xdp.get()), 0);
    look_at(xdp->progs.xdp_uplink);
    for (const auto& [name, limit] : limits.programs) EXPECT_TRUE(seen.contains(name)) << name << " is a program no more";
    if (HasFailure()) std::cout << "as they are now (name, verified instructions, JITed bytes):\n" << now.str();
}

TEST_F(Programs, NamesAreNoLongerThanTheKernelKeeps) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton()->obj)
        EXPECT_LT(std::string{bpf_program__name(program)}.size(), std::size_t{BPF_OBJ_NAME_LEN});
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton()->obj) {
        if (!bpf_map__is_internal(map)) {
            EXPECT_LT(std::string{bpf_map__name(map)}.size(), std::size_t{BPF_OBJ_NAME_LEN});
        }
    }
}

}  // namespace
}  // namespace fastnet::test
