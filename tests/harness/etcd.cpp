#include "tests/harness/etcd.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "tests/harness/wait.h"

namespace fastnet::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRootPassword = "root-of-the-test";

}  // namespace

EtcdCluster::EtcdCluster(std::vector<EtcdPlace> places, EtcdOptions options)
    : root_{unique_prefix() + "-etcd"}, directory_{root_.path()}, options_{std::move(options)} {
    for (EtcdPlace& place : places) members_.push_back({std::move(place), "member" + std::to_string(members_.size())});
    if (options_.tls) make_certificates();
    for (std::size_t member = 0; member < members_.size(); ++member) start(member);
    if (!wait_healthy()) ADD_FAILURE() << "etcd is not healthy:\n" << log(0);
    if (!options_.user.empty()) {
        enable_users();
        users_enabled_ = true;
    }
}

EtcdCluster::~EtcdCluster() {
    for (Member& member : members_) member.process.kill();
}

std::string EtcdCluster::url(std::size_t member) const {
    return (options_.tls ? "https://" : "http://") + members_[member].place.address + ":2379";
}

std::vector<std::string> EtcdCluster::urls() const {
    std::vector<std::string> result;
    for (std::size_t member = 0; member < members_.size(); ++member) result.push_back(url(member));
    return result;
}

std::string EtcdCluster::ca_file() const {
    return directory_ / "ca.crt";
}
std::string EtcdCluster::cert_file() const {
    return directory_ / "client.crt";
}
std::string EtcdCluster::key_file() const {
    return directory_ / "client.key";
}
std::string EtcdCluster::named_cert_file() const {
    return directory_ / "named.crt";
}
std::string EtcdCluster::named_key_file() const {
    return directory_ / "named.key";
}
std::string EtcdCluster::other_ca_file() const {
    return directory_ / "other.crt";
}

void EtcdCluster::make_certificates() const {
    std::string names = "DNS:localhost";
    for (const Member& member : members_) names += ",IP:" + member.place.address;
    const std::string script =
        "set -e; cd " + directory_.string() +
        "\nmake() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout $1.key -out $1.crt -subj /$2 "
        "\"${@:3}\"; }"
        "\nsigned() { make $1 $2 -CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:FALSE \"${@:3}\"; }"
        "\nmake ca CN=ca; make other CN=other"
        // The gateway calls its own member with the server's certificate, as a client.
        "\nsigned server CN=server -addext extendedKeyUsage=serverAuth,clientAuth -addext subjectAltName=" +
        names +
        "\nsigned client O=clients -addext extendedKeyUsage=clientAuth\nsigned named CN=somebody -addext extendedKeyUsage=clientAuth\n";
    const CommandResult made = run({"bash", "-c", script});
    if (!made.ok()) ADD_FAILURE() << "certificates: " << made;
}

std::string EtcdCluster::initial_cluster() const {
    std::string list;
    for (const Member& member : members_) list += (list.empty() ? "" : ",") + member.name + "=http://" + member.place.address + ":2380";
    return list;
}

void EtcdCluster::start(std::size_t index) {
    Member& member = members_[index];
    const std::string peer = "http://" + member.place.address + ":2380";
    Argv argv{"etcd",
              "--name",
              member.name,
              "--data-dir",
              directory_ / member.name,
              "--listen-client-urls",
              url(index),
              "--advertise-client-urls",
              url(index),
              "--listen-peer-urls",
              peer,
              "--initial-advertise-peer-urls",
              peer,
              "--initial-cluster",
              initial_cluster(),
              "--initial-cluster-state",
              "new",
              "--unsafe-no-fsync",
              "--logger",
              "zap",
              "--log-level",
              "warn"};
    if (options_.tls) {
        const Argv tls{"--cert-file", directory_ / "server.crt", "--key-file", directory_ / "server.key"};
        argv.insert(argv.end(), tls.begin(), tls.end());
    }
    if (options_.client_certificates) {
        const Argv clients{"--client-cert-auth", "--trusted-ca-file", ca_file()};
        argv.insert(argv.end(), clients.begin(), clients.end());
    }
    member.process = Background{argv, {.netns = member.place.netns}};
    member.frozen = false;
}

void EtcdCluster::kill(std::size_t member) {
    members_[member].process.kill();
}

void EtcdCluster::restart(std::size_t member) {
    kill(member);
    start(member);
}

void EtcdCluster::freeze(std::size_t member) {
    members_[member].process.signal(SIGSTOP);
    members_[member].frozen = true;
}

void EtcdCluster::thaw(std::size_t member) {
    members_[member].process.signal(SIGCONT);
    members_[member].frozen = false;
}

void EtcdCluster::wipe() {
    for (Member& member : members_) {
        member.process.kill();
        std::error_code ignored;
        fs::remove_all(directory_ / member.name, ignored);
    }
    users_enabled_ = false;
    for (std::size_t member = 0; member < members_.size(); ++member) start(member);
    if (!wait_healthy()) ADD_FAILURE() << "etcd is not healthy after it was wiped:\n" << log(0);
    if (!options_.user.empty()) {
        enable_users();
        users_enabled_ = true;
    }
}

std::string EtcdCluster::curl_tls() const {
    if (!options_.tls) return {};
    return " --cacert " + ca_file() + " --cert " + cert_file() + " --key " + key_file();
}

bool EtcdCluster::wait_healthy(const std::vector<std::size_t>& members, Millis bound) const {
    std::vector<std::size_t> wanted = members;
    for (std::size_t member = 0; members.empty() && member < members_.size(); ++member) wanted.push_back(member);
    // One process for all the asking: a hundred of them would slow down what is waited for.
    return std::all_of(wanted.begin(), wanted.end(), [&](std::size_t member) {
        const std::string script =
            "until curl -s -m 1" + curl_tls() + " " + url(member) + "/health | grep -q '\"health\":\"true\"'; do sleep 0.05; done";
        return shell(script, {.netns = members_[member].place.netns, .timeout = bound}).ok();
    });
}

std::optional<std::size_t> EtcdCluster::leader(Millis bound) {
    std::optional<std::size_t> found;
    const bool agreed = wait_until(
        [&] {
            std::set<std::string> leaders;
            found.reset();
            for (std::size_t index = 0; index < members_.size(); ++index) {
                if (members_[index].frozen || !members_[index].process.running()) continue;
                const CommandResult asked = shell("curl -s -m 1" + curl_tls() + " -d '{}' " + url(index) + "/v3/maintenance/status",
                                                  {.netns = members_[index].place.netns});
                const auto status = nlohmann::json::parse(asked.out, nullptr, false);
                if (!status.is_object() || !status.contains("header")) return false;
                leaders.insert(status.value("leader", "0"));
                if (status["header"].value("member_id", "") == status.value("leader", "0")) found = index;
            }
            return leaders.size() == 1 && found.has_value();
        },
        bound);
    return agreed ? found : std::nullopt;
}

CommandResult EtcdCluster::etcdctl(const Argv& words, std::size_t member) const {
    Argv argv{"etcdctl", "--endpoints", url(member), "--dial-timeout", "5s", "--command-timeout", "10s"};
    if (options_.tls) {
        const Argv tls{"--cacert", ca_file(), "--cert", cert_file(), "--key", key_file()};
        argv.insert(argv.end(), tls.begin(), tls.end());
    }
    if (users_enabled_) argv.insert(argv.end(), {"--user", std::string{"root:"} + kRootPassword});
    argv.insert(argv.end(), words.begin(), words.end());
    return run(argv, {.netns = members_[member].place.netns, .env = {{"ETCDCTL_API", "3"}}});
}

void EtcdCluster::enable_users() const {
    const std::vector<Argv> steps{{"user", "add", std::string{"root:"} + kRootPassword},
                                  {"user", "add", options_.user + ":" + options_.password},
                                  {"role", "add", "tenant"},
                                  {"role", "grant-permission", "--prefix=true", "tenant", "readwrite", options_.prefix},
                                  {"user", "grant-role", options_.user, "tenant"},
                                  {"auth", "enable"}};
    for (const Argv& step : steps) {
        const CommandResult done = etcdctl(step);
        if (!done.ok()) ADD_FAILURE() << "etcdctl " << step[0] << " " << step[1] << ": " << done;
    }
}

std::string EtcdCluster::log(std::size_t member) {
    return members_[member].process.output();
}

}  // namespace fastnet::test
