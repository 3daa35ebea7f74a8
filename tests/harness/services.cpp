#include "tests/harness/services.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/harness/wait.h"

namespace fastnet::test {
namespace {

std::filesystem::path new_directory(const std::string& name) {
    const std::filesystem::path path = std::filesystem::path{"/tmp/fastnet-e2e"} / name;
    std::filesystem::create_directories(path);
    return path;
}

}  // namespace

WebServer::WebServer(const Netns& netns, const std::string& label, const std::vector<std::uint16_t>& ports)
    : directory_{new_directory(unique_prefix() + "-nginx")} {
    std::ostringstream config;
    config << "daemon off; master_process off; user root; pid " << directory_.string() << "/pid; error_log stderr;\n"
           << "events { worker_connections 4096; }\nhttp { access_log off; keepalive_requests 1000000;\n";
    for (const char* const kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) {
        config << kind << "_temp_path " << directory_.string() << "/" << kind << ";\n";
    }
    config << "server { default_type text/plain;\n";
    for (const std::uint16_t port : ports) config << "listen 0.0.0.0:" << port << ";\nlisten [::]:" << port << ";\n";
    config << "location / { return 200 \"" << label << " $remote_addr $server_addr:$server_port\\n\"; }\n"
           << "location /files/ { alias " << directory_.string() << "/; } } }\n";
    const std::filesystem::path file = directory_ / "nginx.conf";
    std::ofstream{file} << config.str();
    nginx_ = netns.background({"nginx", "-c", file.string(), "-p", directory_.string()});
    for (const std::uint16_t port : ports) {
        EXPECT_TRUE(wait_until([&] { return is_listening(netns, Transport::kTcp, port); })) << nginx_.output();
    }
}

WebServer::~WebServer() {
    nginx_.kill();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

UdpEcho::UdpEcho(const Netns& netns, std::uint16_t port, bool dual_stack) {
    const std::string listen = dual_stack ? "UDP6-LISTEN:" : "UDP4-LISTEN:", options = dual_stack ? ",ipv6-v6only=0" : "";
    socat_ = netns.background({"socat", "-T60", listen + std::to_string(port) + ",fork,reuseaddr" + options, "PIPE"});
    EXPECT_TRUE(wait_until([&] { return is_listening(netns, Transport::kUdp, port); })) << socat_.output();
}

std::string fetch(const Netns& from, const std::string& url, int seconds) {
    return from.run({"curl", "-s", "--noproxy", "*", "--max-time", std::to_string(seconds), url}).out;
}

std::string fetch_soon(const Netns& from, const std::string& url, Millis bound) {
    std::string body;
    const bool answered = wait_until(
        [&] {
            body = fetch(from, url, 1);
            return !body.empty();
        },
        bound);
    return answered ? body : std::string{};
}

bool udp_answers(const Netns& from, const SocketAddress& to, const std::string& text, Millis bound) {
    const Socket socket = Socket::connected(from, Transport::kUdp, to);
    if (!socket.ok()) return false;
    const auto deadline = std::chrono::steady_clock::now() + bound;
    while (std::chrono::steady_clock::now() < deadline) {
        if (!socket.send(text)) continue;  // an earlier ICMP error is reported here once
        if (socket.receive(Millis{500}) == text) return true;
    }
    return false;
}

std::string unanswered_call(const Netns& from, const std::string& ip, std::uint16_t port) {
    const std::string script =
        "import socket,sys\ns=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET,socket.SOCK_DGRAM)\ns.settimeout(3)\n"
        "s.connect((sys.argv[1],int(sys.argv[2])))\ns.send(b'x')\n"
        "try:\n s.recv(9)\nexcept ConnectionRefusedError: print('refused',end='')\nexcept TimeoutError: print('silence',end='')";
    return from.run({"python3", "-c", script, ip, std::to_string(port)}).out;
}

}  // namespace fastnet::test
