#include "loader/features.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <vector>

#include "loader/base/handle.h"

namespace fastnet {
namespace {

constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr __u32 kFibLookupSrc = 1U << 4;
constexpr __u64 kCsumIpv6 = 1ULL << 7;
constexpr __u64 kDecapL3Ipv4 = 1ULL << 7;

bpf_insn insn(int code, int dst, int src, int off, int imm) {
    bpf_insn result{};
    result.code = static_cast<__u8>(code);
    result.dst_reg = static_cast<__u8>(dst & 0xf);
    result.src_reg = static_cast<__u8>(src & 0xf);
    result.off = static_cast<__s16>(off);
    result.imm = imm;
    return result;
}
bpf_insn mov_imm(int dst, int imm) {
    return insn(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm);
}
bpf_insn mov_reg(int dst, int src) {
    return insn(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}
bpf_insn call(int helper) {
    return insn(BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}
bpf_insn exit_insn() {
    return insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

Result<UniqueFd> load_probe(const std::vector<bpf_insn>& code) {
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    UniqueFd fd{bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "fn_probe", "GPL", code.data(), code.size(), &options)};
    if (!fd) return sys_error(errno, "load a BPF program");
    return fd;
}

/// The program's return value on an empty IPv4 frame seen at `lo`.
Result<int> run_probe(const std::vector<bpf_insn>& code) {
    const UniqueFd program = TRY(load_probe(code));
    std::array<unsigned char, 64> frame{};
    frame[12] = 0x08;  // ETH_P_IP
    frame[14] = 0x45;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()));
    if (bpf_prog_test_run_opts(program.get(), &options) != 0) return sys_error(errno, "run a BPF program");
    return static_cast<int>(options.retval);
}

/// bpf_fib_lookup refuses flags that it does not know with -EINVAL.
Result<bool> probe_fib_lookup_src() {
    const int size = sizeof(bpf_fib_lookup);
    std::vector<bpf_insn> code;
    code.push_back(mov_reg(6, 1));
    code.push_back(mov_imm(0, 0));
    for (int offset = -size; offset < 0; offset += 8) code.push_back(insn(BPF_STX | BPF_MEM | BPF_DW, 10, 0, offset, 0));
    code.push_back(insn(BPF_ST | BPF_MEM | BPF_B, 10, 0, -size, 2));  // family = AF_INET
    code.push_back(insn(BPF_ST | BPF_MEM | BPF_W, 10, 0, -size + static_cast<int>(offsetof(bpf_fib_lookup, ifindex)), 1));
    code.push_back(mov_reg(1, 6));
    code.push_back(mov_reg(2, 10));
    code.push_back(insn(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -size));
    code.push_back(mov_imm(3, size));
    code.push_back(mov_imm(4, static_cast<int>(kFibLookupSrc)));
    code.push_back(call(BPF_FUNC_fib_lookup));
    code.push_back(exit_insn());
    return TRY(run_probe(code)) != -EINVAL;
}

/// bpf_l4_csum_replace likewise.
Result<bool> probe_csum_ipv6() {
    const std::vector<bpf_insn> code{
        mov_imm(2, 50),
        mov_imm(3, 0),
        mov_imm(4, 1),
        mov_imm(5, static_cast<int>(kCsumIpv6 | BPF_F_PSEUDO_HDR)),
        call(BPF_FUNC_l4_csum_replace),
        exit_insn(),
    };
    return TRY(run_probe(code)) != -EINVAL;
}

/// bpf_skb_adjust_room likewise; without room to take away it says so with another error.
Result<bool> probe_decap_l3() {
    const std::vector<bpf_insn> code{
        mov_imm(2, -8), mov_imm(3, BPF_ADJ_ROOM_MAC), mov_imm(4, static_cast<int>(kDecapL3Ipv4)), call(BPF_FUNC_skb_adjust_room),
        exit_insn(),
    };
    return TRY(run_probe(code)) != -EINVAL;
}

bool probe_tcx() {
    __u32 count = 0;
    const unsigned lo = if_nametoindex("lo");
    // A kernel without tcx refuses the attach type with EINVAL before it looks at the device.
    return bpf_prog_query(static_cast<int>(lo), kTcxIngress, 0, nullptr, nullptr, &count) == 0;
}

bool probe_batch_lookup() {
    LIBBPF_OPTS(bpf_map_create_opts, options);
    const UniqueFd map{bpf_map_create(BPF_MAP_TYPE_HASH, "fn_probe", 4, 4, 1, &options)};
    if (!map) return false;
    __u32 key = 0, value = 0, count = 1, cursor = 0;
    LIBBPF_OPTS(bpf_map_batch_opts, batch);
    return bpf_map_lookup_batch(map.get(), nullptr, &cursor, &key, &value, &count, &batch) == 0 || errno == ENOENT;
}

}  // namespace

Result<Features> probe_features() {
    Features features;
    utsname name{};
    if (uname(&name) == 0) features.kernel = name.release;
    if (auto minimal = run_probe({mov_imm(0, 7), exit_insn()}); !minimal) {
        const bool privilege = minimal.error().sys_errno == EPERM || minimal.error().sys_errno == EACCES;
        return std::move(minimal)
            .error()
            .in("probe the kernel " + features.kernel)
            .with_hint(privilege ? "run as root, or with CAP_BPF and CAP_NET_ADMIN"
                                 : "fastnet needs Linux 6.1 or later with CONFIG_BPF_SYSCALL");
    }
    if (auto loop = load_probe({mov_imm(1, 1), mov_imm(0, 0), call(BPF_FUNC_ktime_get_coarse_ns), mov_imm(0, 0), exit_insn()}); !loop)
        return std::move(loop).error().in("probe the kernel " + features.kernel).with_hint("fastnet needs Linux 6.1 or later");
    features.tcx = probe_tcx();
    features.fib_lookup_src = TRY(probe_fib_lookup_src());
    features.csum_ipv6 = TRY(probe_csum_ipv6());
    features.decap_l3 = TRY(probe_decap_l3());
    features.batch_lookup = probe_batch_lookup();
    features.btf = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
    if (!features.fib_lookup_src || !features.batch_lookup)
        return failed(
            "probe the kernel " + features.kernel + ": it lacks " + (features.batch_lookup ? "BPF_FIB_LOOKUP_SRC" : "BPF_MAP_LOOKUP_BATCH"),
            "fastnet needs Linux 6.1 with the stable updates that Debian ships, or later");
    return features;
}

}  // namespace fastnet
