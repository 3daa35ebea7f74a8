#include "userspace/host/sockets.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "tests/unit/host/own_netns.h"

namespace fastnet {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

LocalSocket bound_to(const char* address, bool v6_only = false) {
    LocalSocket socket;
    socket.address = ip(address);
    socket.v6_only = v6_only;
    return socket;
}

TEST(SocketCovers, EqualAddressesAndWildcardsOfOneFamily) {
    EXPECT_TRUE(covers(bound_to("192.0.2.1"), ip("192.0.2.1")));
    EXPECT_FALSE(covers(bound_to("192.0.2.1"), ip("192.0.2.2")));
    EXPECT_TRUE(covers(bound_to("0.0.0.0"), ip("192.0.2.1")));
    EXPECT_TRUE(covers(bound_to("127.0.0.1"), ip("0.0.0.0")));
    EXPECT_TRUE(covers(bound_to("2001:db8::1"), ip("::")));
    EXPECT_TRUE(covers(bound_to("::"), ip("2001:db8::1")));
    EXPECT_FALSE(covers(bound_to("::1"), ip("2001:db8::1")));
}

TEST(SocketCovers, DualStackWildcardHoldsIpv4Too) {
    EXPECT_TRUE(covers(bound_to("::"), ip("0.0.0.0")));
    EXPECT_TRUE(covers(bound_to("::"), ip("192.0.2.1")));
    EXPECT_FALSE(covers(bound_to("::", true), ip("192.0.2.1")));
    EXPECT_FALSE(covers(bound_to("2001:db8::1"), ip("192.0.2.1")));
    EXPECT_FALSE(covers(bound_to("0.0.0.0"), ip("::")));
}

class SocketsTest : public OwnNetns {
protected:
    /// @p address "::*" is the IPv6 wildcard with IPV6_V6ONLY; others as written.
    UniqueFd bind_to(int type, const char* address, std::uint16_t port) {
        const std::string_view text{address};
        const bool v6_only = text == "::*";
        const bool v6 = text.find(':') != std::string_view::npos;
        UniqueFd fd{::socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0)};
        sockaddr_storage storage{};
        if (v6) {
            const int flag = v6_only ? 1 : 0;
            EXPECT_EQ(::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &flag, sizeof(flag)), 0);
            auto& target = reinterpret_cast<sockaddr_in6&>(storage);
            target.sin6_family = AF_INET6;
            target.sin6_port = htons(port);
            EXPECT_EQ(::inet_pton(AF_INET6, v6_only ? "::" : address, &target.sin6_addr), 1);
        } else {
            auto& target = reinterpret_cast<sockaddr_in&>(storage);
            target.sin_family = AF_INET;
            target.sin_port = htons(port);
            EXPECT_EQ(::inet_pton(AF_INET, address, &target.sin_addr), 1);
        }
        EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in)), 0)
            << strerror(errno);
        return fd;
    }
    UniqueFd listen_on(const char* address, std::uint16_t port) {
        UniqueFd fd = bind_to(SOCK_STREAM, address, port);
        EXPECT_EQ(::listen(fd.get(), 1), 0);
        return fd;
    }
    std::vector<LocalSocket> find(Protocol protocol, int first, int last) {
        auto found = sockets_in(protocol, {Port{static_cast<std::uint16_t>(first)}, Port{static_cast<std::uint16_t>(last)}});
        EXPECT_TRUE(found.has_value()) << found.error().message;
        return std::move(found).value();
    }
};

TEST_F(SocketsTest, TcpListenersAreFoundByPortRangeOnly) {
    const UniqueFd at_first = listen_on("0.0.0.0", 2000);
    const UniqueFd at_last = listen_on("127.0.0.1", 2010);
    const UniqueFd below = listen_on("0.0.0.0", 1999);
    const UniqueFd above = listen_on("0.0.0.0", 2011);
    const auto found = find(Protocol::kTcp, 2000, 2010);
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(find(Protocol::kTcp, 1, 65535).size(), 4U);
    EXPECT_EQ(find(Protocol::kTcp, 2000, 2000).size(), 1U);
    EXPECT_EQ(find(Protocol::kTcp, 2000, 2000)[0].address, ip("0.0.0.0"));
    EXPECT_EQ(find(Protocol::kTcp, 2010, 2010)[0].address, ip("127.0.0.1"));
    EXPECT_THAT(find(Protocol::kTcp, 2001, 2009), IsEmpty());
    EXPECT_THAT(find(Protocol::kUdp, 1, 65535), IsEmpty());
    EXPECT_THAT(find(Protocol::kTcp, 65535, 65535), IsEmpty());
}

TEST_F(SocketsTest, Ipv6WildcardTellsWhetherItHoldsIpv4) {
    const UniqueFd dual = listen_on("::", 2000);
    const UniqueFd only = listen_on("::*", 2001);
    const UniqueFd mapped = listen_on("::ffff:127.0.0.1", 2002);
    const auto found = find(Protocol::kTcp, 2000, 2002);
    ASSERT_EQ(found.size(), 3U);
    for (const LocalSocket& socket : found) {
        const bool holds_ipv4 = covers(socket, ip("127.0.0.1"));
        EXPECT_EQ(holds_ipv4, socket.port != Port{2001}) << socket.port.value();
        EXPECT_EQ(socket.v6_only, socket.port == Port{2001});
    }
    const UniqueFd udp = bind_to(SOCK_DGRAM, "::*", 2003);
    ASSERT_EQ(find(Protocol::kUdp, 2003, 2003).size(), 1U);
    EXPECT_TRUE(find(Protocol::kUdp, 2003, 2003)[0].v6_only);
}

TEST_F(SocketsTest, UdpSocketsAreFoundConnectedOrNot) {
    const UniqueFd open = bind_to(SOCK_DGRAM, "0.0.0.0", 3000);
    const UniqueFd connected = bind_to(SOCK_DGRAM, "127.0.0.1", 3001);
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(3000);
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(connected.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)), 0);
    ASSERT_EQ(find(Protocol::kUdp, 3000, 3000).size(), 1U);
    EXPECT_FALSE(find(Protocol::kUdp, 3000, 3000)[0].connected);
    ASSERT_EQ(find(Protocol::kUdp, 3001, 3001).size(), 1U);
    EXPECT_TRUE(find(Protocol::kUdp, 3001, 3001)[0].connected);
}

TEST_F(SocketsTest, TcpSocketThatIsBoundOnlyIsFoundWhereTheKernelListsThem) {
    if (!kernel_version().at_least(6, 8)) GTEST_SKIP() << "needs kernel 6.8";
    const UniqueFd bound = bind_to(SOCK_STREAM, "0.0.0.0", 2000);
    EXPECT_EQ(find(Protocol::kTcp, 2000, 2000).size(), 1U);
}

TEST_F(SocketsTest, EstablishedConnectionIsNoHolder) {
    const UniqueFd server = listen_on("127.0.0.1", 2000);
    const UniqueFd client = bind_to(SOCK_STREAM, "127.0.0.1", 2001);
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(2000);
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)), 0);
    EXPECT_THAT(find(Protocol::kTcp, 2001, 2001), IsEmpty());
}

TEST_F(SocketsTest, ProtocolUnknownToTheKernelHasNoSockets) {
    EXPECT_THAT(find(Protocol::kSctp, 1, 65535), IsEmpty());
}

TEST_F(SocketsTest, SocketsOfAnotherNamespaceAreNotSeen) {
    const Netns other = fresh_netns();
    UniqueFd elsewhere;
    {
        const auto guard = NetnsGuard::enter(other);
        elsewhere = listen_on("0.0.0.0", 2000);
    }
    EXPECT_THAT(find(Protocol::kTcp, 2000, 2000), IsEmpty());
}

TEST_F(SocketsTest, HolderIsNamed) {
    const UniqueFd server = listen_on("0.0.0.0", 2000);
    const auto found = find(Protocol::kTcp, 2000, 2000);
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].uid, ::getuid());
    const auto process = holder_of(found[0].inode);
    ASSERT_TRUE(process.has_value());
    EXPECT_EQ(process->pid, ::getpid());
    EXPECT_THAT(describe_holder(found[0]), HasSubstr("(pid " + std::to_string(::getpid()) + ")"));
}

TEST(SocketHolder, UnknownHolderIsSaidSo) {
    EXPECT_FALSE(holder_of(0).has_value());
    LocalSocket socket;
    EXPECT_EQ(describe_holder(socket), "a socket of the kernel");
    socket.inode = 1;
    socket.uid = 7;
    EXPECT_EQ(describe_holder(socket), "a process of uid 7 that is not visible from here");
}

}  // namespace
}  // namespace fastnet
