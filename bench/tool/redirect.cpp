// Attaches bench_redirect.bpf.c as a clsact filter: it stays until its device goes.
#include <arpa/inet.h>
#include <net/if.h>

#include <cerrno>
#include <memory>

#include "bench.h"
#include "bench_redirect.skel.h"

namespace fnbench {
namespace {

struct SkeletonDestroyer {
    void operator()(bench_redirect* skeleton) const { bench_redirect__destroy(skeleton); }
};

unsigned index_of(const std::string& device) {
    const unsigned ifindex = if_nametoindex(device.c_str());
    if (ifindex == 0) die_errno("device " + device);
    return ifindex;
}

}  // namespace

void redirect(const RedirectOptions& options) {
    const std::unique_ptr<bench_redirect, SkeletonDestroyer> skeleton{bench_redirect__open()};
    if (!skeleton) die_errno("open the redirecting program");
    skeleton->rodata->to_ifindex = index_of(options.to);
    skeleton->rodata->to_peer = options.into_peer ? 1 : 0;
    if (!options.destination.empty()) inet_pton(AF_INET, options.destination.c_str(), &skeleton->rodata->destination);
    if (bench_redirect__load(skeleton.get()) != 0) die_errno("load the redirecting program");
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(index_of(options.from)), .attach_point = BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = bpf_program__fd(skeleton->progs.redirect));
    if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST) die_errno("make a clsact qdisc");
    if (bpf_tc_attach(&hook, &filter) != 0) die_errno("attach the redirecting program");
}

}  // namespace fnbench
