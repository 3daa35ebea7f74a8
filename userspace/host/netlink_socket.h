// Requests and answers of a netlink socket, over libmnl's message functions: building attributes, waiting for the
// acknowledgement, turning an error with the kernel's explanation (extended ack) into an Error.
// Knows no message type; netlink.cpp (rtnetlink) and sockets.cpp (sock_diag) do.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/netlink.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "loader/base/handle.h"
#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

/// One message under construction. Too much for the buffer is a bug of ours and aborts: callers bound what they put.
class NetlinkRequest {
public:
    /// @p flags besides NLM_F_REQUEST; without NLM_F_DUMP an acknowledgement is asked for.
    NetlinkRequest(std::uint16_t type, unsigned flags);
    NetlinkRequest(const NetlinkRequest&) = delete;  // nested attributes point into the buffer
    NetlinkRequest& operator=(const NetlinkRequest&) = delete;

    /// Appends the protocol's fixed header, zeroed; also in a nest (VETH_INFO_PEER).
    template <typename Header>
    Header& add_header() {
        return *static_cast<Header*>(mnl_nlmsg_put_extra_header(message_, sizeof(Header)));
    }

    void put(std::uint16_t type, const void* data, std::size_t size);
    void put_u8(std::uint16_t type, std::uint8_t value) { put(type, &value, sizeof(value)); }
    void put_u16(std::uint16_t type, std::uint16_t value) { put(type, &value, sizeof(value)); }
    void put_u32(std::uint16_t type, std::uint32_t value) { put(type, &value, sizeof(value)); }
    void put_string(std::uint16_t type, std::string_view text);  ///< zero terminated
    void put_address(std::uint16_t type, const IpAddress& address) { put(type, address.wire(), address.wire_size()); }
    void put_mac(std::uint16_t type, const MacAddress& mac) { put(type, mac.bytes().data(), mac.bytes().size()); }

    /// What is put while this object lives is inside the nested attribute.
    class [[nodiscard]] Nest {
    public:
        Nest(nlmsghdr* message, std::uint16_t type) : message_{message}, start_{mnl_attr_nest_start(message, type)} {}
        ~Nest() { mnl_attr_nest_end(message_, start_); }
        Nest(const Nest&) = delete;
        Nest& operator=(const Nest&) = delete;

    private:
        nlmsghdr* message_;
        nlattr* start_;
    };
    Nest nest(std::uint16_t type) { return Nest{message_, type}; }

    nlmsghdr& message() { return *message_; }
    bool is_dump() const { return (message_->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP; }

private:
    alignas(nlmsghdr) std::array<std::uint8_t, 1024> buffer_{};
    nlmsghdr* message_;
};

/// The attributes of a received message by type; unknown and longer types than @p Max are ignored.
template <std::size_t Max>
class Attributes {
public:
    /// Those behind the fixed header of @p header_size bytes.
    Attributes(const nlmsghdr& message, std::size_t header_size) {
        collect(static_cast<const char*>(mnl_nlmsg_get_payload(&message)) + MNL_ALIGN(header_size),
                static_cast<const char*>(mnl_nlmsg_get_payload_tail(&message)));
    }
    /// Those nested in @p parent; none if that is null.
    explicit Attributes(const nlattr* parent) {
        if (parent == nullptr) return;
        const char* first = static_cast<const char*>(mnl_attr_get_payload(parent));
        collect(first, first + mnl_attr_get_payload_len(parent));
    }
    Attributes(const char* first, const char* end) { collect(first, end); }

    const nlattr* get(std::size_t type) const { return type <= Max ? by_type_[type] : nullptr; }
    bool has(std::size_t type) const { return get(type) != nullptr; }

    /// The value, or @p fallback where the attribute is absent or shorter than T.
    template <typename T>
    T value(std::size_t type, T fallback = {}) const {
        const nlattr* attribute = get(type);
        if (attribute == nullptr || mnl_attr_get_payload_len(attribute) < sizeof(T)) return fallback;
        T result;
        std::memcpy(&result, mnl_attr_get_payload(attribute), sizeof(T));
        return result;
    }
    std::string text(std::size_t type) const {
        const nlattr* attribute = get(type);
        if (attribute == nullptr) return {};
        const char* first = static_cast<const char*>(mnl_attr_get_payload(attribute));
        return {first, strnlen(first, mnl_attr_get_payload_len(attribute))};
    }

private:
    void collect(const char* first, const char* end) {
        const auto* attribute = reinterpret_cast<const nlattr*>(first);
        while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
            const std::uint16_t type = mnl_attr_get_type(attribute);
            if (type <= Max) by_type_[type] = attribute;
            attribute = mnl_attr_next(attribute);
        }
    }
    std::array<const nlattr*, Max + 1> by_type_{};
};

/// A netlink socket of the namespace that the opening thread was in.
class NetlinkSocket {
public:
    using OnMessage = std::function<Status(const nlmsghdr&)>;

    /// @p protocol is NETLINK_ROUTE, NETLINK_SOCK_DIAG, ...
    static Result<NetlinkSocket> open(int protocol);

    /// Sends @p request and passes each answer to @p on_message until the kernel is done. A failure reads
    /// `WHAT: strerror (kernel's explanation)` and has errno in sys_errno; EEXIST is a kConflict, ENODEV, ENOENT, ESRCH
    /// and EADDRNOTAVAIL are kNotFound.
    Status transact(NetlinkRequest& request, std::string_view what, const OnMessage& on_message = {});

    /// A dump that changed while it was read is read again, from an empty result on: @p restart is called before each
    /// try. Gives up after ten.
    Status dump(NetlinkRequest& request, std::string_view what, const std::function<void()>& restart, const OnMessage& on_message);

    int fd() const { return fd_.get(); }

private:
    explicit NetlinkSocket(UniqueFd fd);
    Result<bool> exchange(NetlinkRequest& request, std::string_view what, const OnMessage& on_message);

    UniqueFd fd_;
    std::uint32_t sequence_ = 0;
    std::unique_ptr<char[]> answer_;
};

}  // namespace fastnet
