// A real Docker daemon on the node: neither side needs to know of the other, neither breaks the other, neither reaches the
// other's containers directly, and a port belongs to whoever published it first.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "tests/harness/lab.h"
#include "tests/harness/privileges.h"

namespace fastnet::test {
namespace {

/// dockerd in the node's namespace, with all its files in a directory of its own. Containers run the host's programs, which
/// are mounted read-only into an image that holds nothing else.
class DockerHost {
public:
    explicit DockerHost(const Netns& node) : node_{node}, directory_{"/tmp/fastnet-e2e/" + unique_prefix() + "-docker"} {
        const std::string image = directory_ + "/image";
        const CommandResult made =
            shell("mkdir -p " + image + "/usr " + image + "/etc && for d in bin sbin lib lib64; do ln -s usr/$d " + image +
                  "/$d; done && tar -C " + image + " -cf " + directory_ + "/image.tar . && mkdir " + directory_ +
                  "/www && echo from docker > " + directory_ + "/www/index.html && echo '{}' > " + directory_ + "/daemon.json");
        EXPECT_TRUE(made.ok()) << made;
        options_.env = {{"DOCKER_HOST", "unix://" + directory_ + "/d.sock"}, {"PATH", "/usr/bin:/usr/sbin:/bin:/sbin"}};
        options_.timeout = Millis{60'000};
        daemon_ = node_.background({"dockerd", "--config-file", directory_ + "/daemon.json", "--data-root", directory_ + "/data",
                                    "--exec-root", directory_ + "/exec", "--pidfile", directory_ + "/pid", "-H",
                                    "unix://" + directory_ + "/d.sock", "--storage-driver", "overlay2"},
                                   options_);
        EXPECT_TRUE(wait_until([&] { return call("info").ok(); }, Millis{30'000})) << daemon_.output();
        const CommandResult imported = call("import " + directory_ + "/image.tar fastnet-test:1");
        EXPECT_TRUE(imported.ok()) << imported;
    }
    DockerHost(const DockerHost&) = delete;
    DockerHost& operator=(const DockerHost&) = delete;

    ~DockerHost() {
        call("ps -aq | xargs -r /usr/bin/docker rm -f");
        daemon_.signal(SIGTERM);
        EXPECT_NE(daemon_.wait(Millis{30'000}), -1) << "dockerd does not stop";
        shell("grep -o ' " + directory_ + "[^ ]*' /proc/self/mounts | xargs -r umount -l");
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    CommandResult call(const std::string& command) const { return node_.shell("/usr/bin/docker " + command, options_); }

    /// `docker run OPTIONS`, with @p command inside.
    CommandResult start(const std::string& arguments, const std::string& command) const {
        return call("run --ulimit nofile=1024:1024 -v /usr:/usr:ro -v /etc:/etc:ro -v " + directory_ + "/www:/www:ro -w /www " + arguments +
                    " fastnet-test:1 " + command);
    }

    std::string ip(const std::string& name) const {
        const std::string line = call("inspect -f '{{.NetworkSettings.IPAddress}}' " + name).out;
        return line.substr(0, line.find('\n'));
    }

private:
    const Netns& node_;
    std::string directory_;
    RunOptions options_;
    Background daemon_;
};

class Docker : public LabTest {
protected:
    void SetUp() override {
        for (const char* const program : {"dockerd", "containerd", "runc"}) {
            if (const std::string reason = missing_program(program); !reason.empty()) GTEST_SKIP() << reason;
        }
        LabTest::SetUp();
    }
};

const std::string kServe = "/usr/bin/python3 -m http.server 80";

TEST_F(Docker, DockerAndFastnetOnOneHostDoNotDisturbEachOther) {
    lab().attach("before", {"-p", "2000:80"});
    const WebServer before{lab().at("before"), "before"};
    {
        const DockerHost docker{lab().node()};
        const CommandResult started = docker.start("-d --name d1 -p 2100:80", kServe);
        EXPECT_TRUE(started.ok()) << started;
        lab().attach("after", {"-p", "2001:80"});
        const WebServer after{lab().at("after"), "after"};
        const WebServer outside{lab().client(), "outside"};

        EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000)), "before " + kClientIp + " " + lab().ip("before") + ":80\n");
        EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2001)), "after " + kClientIp + " " + lab().ip("after") + ":80\n");
        EXPECT_EQ(fetch_soon(lab().client(), url(kNodeIp, 2100)), "from docker\n");
        EXPECT_EQ(fetch(lab().at("after"), url(kInternetIp, 80)), "outside " + kNodeIp + " " + kInternetIp + ":80\n");
        EXPECT_NE(fetch(lab().at("after"), url(lab().ip("before"), 80)), "");
        EXPECT_TRUE(docker.call("exec d1 /usr/bin/curl -s --max-time 5 " + url(kInternetIp, 80)).ok());

        EXPECT_EQ(fetch(lab().at("after"), url(docker.ip("d1"), 80), 1), "") << "fastnet's container reaches Docker's";
        EXPECT_FALSE(docker.call("exec d1 /usr/bin/curl -s --max-time 1 " + url(lab().ip("before"), 80)).ok())
            << "Docker's reaches fastnet's";

        EXPECT_FALSE(docker.start("--rm -p 2000:80", "/bin/true").ok()) << "Docker took a port that fastnet holds";
        expect_error(lab().fastnet({"publish", "after", "2100:81"}), kConflict, {"2100", "docker"});
        EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2100)), "from docker\n");
    }
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "") << "Docker took fastnet along when it stopped";
    // Docker leaves its rules, bridge and sysctls behind, so every difference is excused; what is judged is that fastnet's
    // links, pins and kernel objects are gone.
    lab().cleanup_and_verify_except("");
    const std::vector<std::string> left{"docker0", "eth0", "lo"};
    EXPECT_EQ(lab().node().links(), left);
}

TEST_F(Docker, CleanupOfFastnetLeavesDockerRunning) {
    const DockerHost docker{lab().node()};
    EXPECT_TRUE(docker.start("-d --name d1 -p 2100:80", kServe).ok());
    ASSERT_EQ(fetch_soon(lab().client(), url(kNodeIp, 2100)), "from docker\n");
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2100)), "from docker\n");
    lab().cleanup_and_verify();
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2100)), "from docker\n");
}

}  // namespace
}  // namespace fastnet::test
