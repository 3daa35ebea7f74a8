#include "userspace/agent/http_server.h"

#include <httplib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "userspace/control/agent_link.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kBacklog = 64;
/// What a client may still send after it was answered, so that closing does not reset the connection under the answer.
constexpr std::size_t kDrainBytes = std::size_t{64} * 1024;
constexpr milliseconds kDrainTime{100};
constexpr milliseconds kAcceptPause{100};
constexpr milliseconds kRoomInterval{10};

/// One accepted connection. Its worker uses it; whoever accepts may cut it.
struct Connection {
    UniqueFd fd{};
    SteadyTime deadline{};
    std::atomic<bool> waits{false};  ///< for the client
};

/// The connection as httplib wants it: bounded as a whole, not per call.
class BoundedStream : public httplib::Stream {
public:
    BoundedStream(Connection& connection, std::size_t read_limit) : connection_{connection}, left_{read_limit} {}

    bool is_readable() const override { return wait(POLLIN); }
    bool is_writable() const override { return wait(POLLOUT); }

    ssize_t read(char* to, std::size_t size) override {
        const std::size_t wanted = std::min(size, left_);
        if (wanted == 0) return -1;
        for (;;) {
            const ssize_t got = ::recv(socket(), to, wanted, 0);
            if (got > 0) left_ -= static_cast<std::size_t>(got);
            if (got >= 0) return got;
            if (errno == EINTR) continue;
            if (errno != EAGAIN || !wait(POLLIN)) return -1;
        }
    }

    /// All of it: httplib does not come back for the rest of the headers.
    ssize_t write(const char* from, std::size_t size) override {
        for (std::size_t done = 0; done < size;) {
            const ssize_t sent = ::send(socket(), from + done, size - done, MSG_NOSIGNAL);
            if (sent >= 0) {
                done += static_cast<std::size_t>(sent);
            } else if (errno != EINTR && (errno != EAGAIN || !wait(POLLOUT))) {
                return -1;
            }
        }
        return static_cast<ssize_t>(size);
    }

    void get_remote_ip_and_port(std::string& /*ip*/, int& /*port*/) const override {}
    void get_local_ip_and_port(std::string& /*ip*/, int& /*port*/) const override {}
    socket_t socket() const override { return connection_.fd.get(); }

    /// Tells the client that this is all, and takes what is still under way.
    void finish() {
        (void)::shutdown(socket(), SHUT_WR);
        connection_.deadline = std::min(connection_.deadline, Clock::now() + kDrainTime);
        left_ = kDrainBytes;
        std::array<char, 4'096> rest{};
        while (read(rest.data(), rest.size()) > 0) {
        }
    }

private:
    bool wait(short events) const {
        const auto left = std::chrono::ceil<milliseconds>(connection_.deadline - Clock::now());
        if (left <= milliseconds{0}) return false;
        connection_.waits = true;
        pollfd one{socket(), events, 0};
        const int ready = ::poll(&one, 1, static_cast<int>(left.count()));
        connection_.waits = false;
        return ready > 0 || (ready < 0 && errno == EINTR);
    }

    Connection& connection_;
    std::size_t left_;
};

Status set_option(int fd, int level, int name, int value) {
    if (::setsockopt(fd, level, name, &value, sizeof value) != 0) return sys_error(errno, "set socket option");
    return ok();
}

}  // namespace

Result<UniqueFd> listen_tcp(const ListenAddress& address) {
    const std::string what = "listen on " + address.to_string();
    sockaddr_storage storage{};
    socklen_t length = 0;
    if (address.address.family() == Family::kIpv4) {
        auto* const to = reinterpret_cast<sockaddr_in*>(&storage);
        to->sin_family = AF_INET;
        to->sin_port = address.port.wire();
        std::memcpy(&to->sin_addr, address.address.wire(), sizeof to->sin_addr);
        length = sizeof *to;
    } else {
        auto* const to = reinterpret_cast<sockaddr_in6*>(&storage);
        to->sin6_family = AF_INET6;
        to->sin6_port = address.port.wire();
        std::memcpy(&to->sin6_addr, address.address.wire(), sizeof to->sin6_addr);
        length = sizeof *to;
    }
    UniqueFd fd{::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!fd) return sys_error(errno, what);
    CHECK_OK(set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1));
    if (storage.ss_family == AF_INET6) CHECK_OK(set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1));
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0 || ::listen(fd.get(), kBacklog) != 0)
        return sys_error(errno, what);
    return fd;
}

Result<UniqueFd> listen_unix(const std::filesystem::path& path) {
    const std::string what = "listen on " + path.string();
    const ShortPath short_path = TRY(ShortPath::open(path));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (short_path.str().size() >= sizeof address.sun_path) return failed(what + ": the name is too long");
    std::memcpy(address.sun_path, short_path.str().data(), short_path.str().size());
    UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!fd) return sys_error(errno, what);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return sys_error(errno, "remove " + path.string());
    if (::fchmod(fd.get(), 0600) != 0) return sys_error(errno, what);  // before it has a name: the file gets the socket's mode
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(fd.get(), kBacklog) != 0)
        return sys_error(errno, what);
    if (::chmod(path.c_str(), 0600) != 0) return sys_error(errno, what);  // whatever the umask is
    return fd;
}

class HttpServer::Impl : private httplib::Server {
public:
    Impl(UniqueFd listener, UniqueFd wake, HttpPaths paths, Heartbeat& heartbeat, HttpLimits limits)
        : listener_{std::move(listener)}, wake_{std::move(wake)}, paths_{std::move(paths)}, heartbeat_{heartbeat}, limits_{limits} {
        // Before any routing by regular expressions, and before a body would be read.
        set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
            answer(request, response);
            return httplib::Server::HandlerResponse::Handled;
        });
        set_exception_handler(
            [](const httplib::Request&, httplib::Response& response, const std::exception_ptr&) { response.status = 500; });
        for (std::size_t i = 0; i < limits_.workers; ++i) threads_.emplace_back([this] { work(); });
        threads_.emplace_back([this] { accept_all(); });
    }

    ~Impl() override {
        {
            const std::lock_guard lock{mutex_};
            stopping_ = true;
            waiting_.clear();
            for (const auto& connection : served_) (void)::shutdown(connection->fd.get(), SHUT_RDWR);
        }
        const std::uint64_t one = 1;
        (void)!::write(wake_.get(), &one, sizeof one);
        work_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

    bool accepting() const {
        const std::lock_guard lock{mutex_};
        return trouble_.empty();
    }
    std::string trouble() const {
        const std::lock_guard lock{mutex_};
        return trouble_;
    }

private:
    using Shared = std::shared_ptr<Connection>;

    void answer(const httplib::Request& request, httplib::Response& response) const {
        const auto found = paths_.find(request.path);
        HttpAnswer answer{404, "text/plain; charset=utf-8", "not found\n"};
        if (found != paths_.end() && request.method != "GET") {
            answer = {405, "text/plain; charset=utf-8", "only GET\n"};
            response.set_header("Allow", "GET");
        } else if (found != paths_.end()) {
            answer = found->second();
        }
        response.status = answer.status;
        response.set_content(answer.body, answer.type);
    }

    void accept_all() {
        while (true) {
            heartbeat_.beat();
            std::array<pollfd, 2> fds{{{listener_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
            const int ready = ::poll(fds.data(), fds.size(), poll_timeout());
            {
                const std::lock_guard lock{mutex_};
                if (stopping_) return;
                make_room();
            }
            if (ready <= 0 || fds[0].revents == 0) continue;
            UniqueFd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
            if (fd) {
                take(std::move(fd));
            } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                std::this_thread::sleep_for(kAcceptPause);  // poll would return at once
            } else if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK) {
                const std::string why = sys_error(errno, "accept connections").message;
                const std::lock_guard lock{mutex_};
                trouble_ = why;
                return;
            }
        }
    }

    void take(UniqueFd fd) {
        auto connection = std::make_shared<Connection>();
        connection->fd = std::move(fd);
        connection->deadline = Clock::now() + limits_.connection;
        const std::lock_guard lock{mutex_};
        if (stopping_ || waiting_.size() >= limits_.waiting) return;  // closes it
        waiting_.push_back(std::move(connection));
        make_room();
        work_.notify_one();
    }

    /// Somebody waits for a worker and none is free: the oldest that does nothing but wait for its client goes.
    void make_room() {
        if (waiting_.empty() || served_.size() < limits_.workers) return;
        const auto oldest = std::find_if(served_.begin(), served_.end(), [](const Shared& one) { return one->waits.load(); });
        if (oldest != served_.end()) (void)::shutdown((*oldest)->fd.get(), SHUT_RDWR);
    }

    /// While somebody waits for a worker, workers that begin to wait for their clients are looked for.
    int poll_timeout() const {
        const std::lock_guard lock{mutex_};
        return static_cast<int>((waiting_.empty() ? Part::kBeatInterval : kRoomInterval).count());
    }

    void work() {
        std::unique_lock lock{mutex_};
        while (true) {
            work_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
            if (stopping_) return;
            const Shared connection = waiting_.front();
            waiting_.pop_front();
            served_.push_back(connection);
            lock.unlock();
            serve(*connection);
            lock.lock();
            served_.remove(connection);
        }
    }

    void serve(Connection& connection) {
        BoundedStream stream{connection, limits_.request_bytes};
        bool closed = false;
        // Ranges would make many copies of a document of which nobody needs a part.
        (void)process_request(stream, true, closed, [](httplib::Request& request) { request.ranges.clear(); });
        stream.finish();
    }

    UniqueFd listener_;
    UniqueFd wake_;
    HttpPaths paths_;
    Heartbeat& heartbeat_;
    HttpLimits limits_;
    mutable std::mutex mutex_;
    std::condition_variable work_;
    std::list<Shared> waiting_;
    std::list<Shared> served_;  ///< in the order in which they were taken
    bool stopping_ = false;
    std::string trouble_;
    std::vector<std::thread> threads_;
};

Result<std::unique_ptr<HttpServer>> HttpServer::start(UniqueFd listener, HttpPaths paths, Heartbeat& heartbeat, HttpLimits limits) {
    UniqueFd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!wake) return sys_error(errno, "make an event");
    auto impl = std::make_unique<Impl>(std::move(listener), std::move(wake), std::move(paths), heartbeat, limits);
    return std::unique_ptr<HttpServer>{new HttpServer{std::move(impl)}};
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
HttpServer::~HttpServer() = default;

bool HttpServer::accepting() const {
    return impl_->accepting();
}

std::string HttpServer::trouble() const {
    return impl_->trouble();
}

}  // namespace fastnet
