// A real etcd of one or more members for a test, with TLS and users if wanted. Members run in namespaces of the test, so their
// ports (2379, 2380) are free; several in one namespace have addresses of their own (127.0.0.1, 127.0.0.2, ...).
// Knows nothing of fastnet. Invariant: members and data are gone with the object; only its own processes are ever signalled.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tests/harness/netns.h"
#include "tests/harness/process.h"
#include "tests/harness/root_dir.h"

namespace fastnet::test {

/// Where a member runs: the name of a namespace, and an address of it that the other members reach.
struct EtcdPlace {
    std::string netns;
    std::string address = "127.0.0.1";
};

struct EtcdOptions {
    bool tls = false;                  ///< https for clients; the authority is ca_file()
    bool client_certificates = false;  ///< with tls: clients have to show one of that authority
    std::string user{};                ///< with password: authentication is on, and this user may use what begins with prefix
    std::string password{};
    std::string prefix = "/fastnet";
};

class EtcdCluster {
public:
    /// Ready, each member healthy, when the constructor returns; a test failure if not. From the test's own thread.
    explicit EtcdCluster(std::vector<EtcdPlace> places, EtcdOptions options = {});
    EtcdCluster(const EtcdCluster&) = delete;
    EtcdCluster& operator=(const EtcdCluster&) = delete;
    ~EtcdCluster();

    std::size_t size() const { return members_.size(); }
    std::string url(std::size_t member) const;
    std::vector<std::string> urls() const;
    std::string ca_file() const;    ///< the authority that signed the members' certificates
    std::string cert_file() const;  ///< a client's certificate, of the same authority, and its key
    std::string key_file() const;
    std::string named_cert_file() const;  ///< another, with a CommonName: with users, etcd's gateway refuses it
    std::string named_key_file() const;
    std::string other_ca_file() const;  ///< an authority that signed nothing here

    void kill(std::size_t member);     ///< -9
    void restart(std::size_t member);  ///< with its data; kills it first if it runs
    void freeze(std::size_t member);   ///< SIGSTOP: connections stay, answers don't come
    void thaw(std::size_t member);
    /// All members end, and begin again with nothing.
    void wipe();

    /// Each of @p members (all, if none is named) answers a read that takes a quorum.
    bool wait_healthy(const std::vector<std::size_t>& members = {}, Millis bound = Millis{30'000}) const;
    /// The running member that the running members take for their leader, once they agree.
    std::optional<std::size_t> leader(Millis bound = Millis{10'000});
    /// As root (with users) against @p member.
    CommandResult etcdctl(const Argv& words, std::size_t member = 0) const;
    std::string log(std::size_t member);

private:
    struct Member {
        EtcdPlace place;
        std::string name;
        Background process{};
        bool frozen = false;
    };
    void start(std::size_t member);
    void make_certificates() const;
    void enable_users() const;
    std::string curl_tls() const;
    std::string initial_cluster() const;

    RootDir root_;  ///< for its place and its end, should this run crash
    std::filesystem::path directory_;
    EtcdOptions options_;
    std::vector<Member> members_;
    bool users_enabled_ = false;
};

}  // namespace fastnet::test

/// etcd, etcdctl and openssl are Debian packages; without them there is nothing to test against.
#define FASTNET_SKIP_WITHOUT_ETCD()                                                            \
    do {                                                                                       \
        for (const char* program : {"etcd", "etcdctl", "openssl", "curl"}) {                   \
            const std::string missing_etcd_reason = ::fastnet::test::missing_program(program); \
            if (!missing_etcd_reason.empty()) GTEST_SKIP() << missing_etcd_reason;             \
        }                                                                                      \
    } while (false)
