#include "userspace/agent/config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "loader/base/handle.h"
#include "userspace/model/names.h"

#define TOML_HEADER_ONLY 1  // one user: no shared library for it
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace fastnet {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

constexpr std::size_t kMaxFileSize = std::size_t{64} * 1024;
constexpr std::size_t kMaxPasswordSize = 4096;
constexpr std::size_t kMaxTextLength = 1024;
constexpr std::size_t kMaxUrls = 16;
constexpr std::size_t kMaxPrefixLength = 128;

// From TOML to values. Errors say what is wrong with the value only: the reader knows key and line.

Result<std::string> text_from(const toml::node& node) {
    const auto value = node.value_exact<std::string>();
    if (!value) return usage_error("must be a string");
    if (value->size() > kMaxTextLength) return usage_error("is longer than " + std::to_string(kMaxTextLength) + " bytes");
    const auto unprintable = [](char letter) { return static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f; };
    if (std::any_of(value->begin(), value->end(), unprintable)) return usage_error("has control characters");
    return *value;
}

Result<bool> flag_from(const toml::node& node) {
    const auto value = node.value_exact<bool>();
    if (!value) return usage_error("must be true or false");
    return *value;
}

struct Unit {
    std::string_view name;
    std::int64_t ms;
};
constexpr std::array<Unit, 4> kUnits{{{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}}};

std::string duration_text(milliseconds duration) {
    if (duration.count() == 0) return "0s";
    const auto unit = std::find_if(kUnits.rbegin(), kUnits.rend(), [&](const Unit& one) { return duration.count() % one.ms == 0; });
    return std::to_string(duration.count() / unit->ms) + std::string{unit->name};
}

Result<milliseconds> duration_from(const toml::node& node, milliseconds least, milliseconds most) {
    const std::string range =
        "a duration from " + duration_text(least) + " to " + duration_text(most) + ", like \"" + duration_text(most) + "\"";
    const auto text = node.value_exact<std::string>();
    if (!text) return usage_error("must be " + range);
    std::int64_t count = 0;
    const char* const end = text->data() + text->size();
    const auto [rest, error] = std::from_chars(text->data(), end, count);
    const std::string_view suffix{rest, static_cast<std::size_t>(end - rest)};
    const auto* const unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& one) { return one.name == suffix; });
    if (error != std::errc{} || unit == kUnits.end() || count < 0 || count > most.count() / unit->ms || count * unit->ms < least.count())
        return usage_error("must be " + range);
    return milliseconds{count * unit->ms};
}

Result<std::optional<IpAddress>> node_address_from(const toml::node& node, Family family) {
    const std::string text = TRY(text_from(node));
    if (text.empty()) return std::optional<IpAddress>{};
    const auto address = IpAddress::parse(text);
    if (!address || address->family() != family)
        return usage_error(std::string{"must be an "} + (family == Family::kIpv4 ? "IPv4" : "IPv6") + " address");
    if (address->is_any() || address->is_loopback() || address->is_multicast())
        return usage_error(text + " is no address that other nodes can reach");
    return std::optional<IpAddress>{*address};
}

/// scheme://host[:port], nothing that etcd's API would not use. A password in it would end up in logs and in `ps`.
Status check_url(const std::string& url) {
    std::string_view rest = url;
    if (rest.starts_with("http://")) {
        rest.remove_prefix(7);
    } else if (rest.starts_with("https://")) {
        rest.remove_prefix(8);
    } else {
        return usage_error("must begin with http:// or https://");
    }
    if (rest.find('@') != std::string_view::npos)
        return usage_error("must not hold a user or password", "use etcd.user and etcd.password_file");
    if (rest.ends_with('/')) rest.remove_suffix(1);
    if (rest.empty()) return usage_error("has no host");
    const bool foreign = std::any_of(rest.begin(), rest.end(), [](char letter) {
        return std::isalnum(static_cast<unsigned char>(letter)) == 0 && std::string_view{".-_:[]%"}.find(letter) == std::string_view::npos;
    });
    if (foreign) return usage_error("must be like https://10.0.0.1:2379, without a path");
    return ok();
}

Status check_urls(const std::vector<std::string>& urls) {
    if (urls.size() > kMaxUrls) return usage_error("has more than " + std::to_string(kMaxUrls) + " URLs");
    for (const std::string& url : urls) {
        if (url.size() > kMaxTextLength) return usage_error("has a URL that is too long");
        CHECK_OK(check_url(url));
        if (std::count(urls.begin(), urls.end(), url) > 1) return usage_error("has " + url + " twice");
    }
    return ok();
}

Result<std::vector<std::string>> urls_from(const toml::node& node) {
    const toml::array* const array = node.as_array();
    if (array == nullptr) return usage_error("must be an array of strings");
    std::vector<std::string> urls;
    for (const toml::node& element : *array) {
        auto url = text_from(element);
        if (!url) return usage_error("must be an array of strings");
        urls.push_back(*std::move(url));
    }
    CHECK_OK(check_urls(urls));
    return urls;
}

/// An absolute path in etcd's flat space of keys: what is below it is fastnet's alone.
Result<std::string> prefix_from(const toml::node& node) {
    std::string prefix = TRY(text_from(node));
    const bool foreign = std::any_of(prefix.begin(), prefix.end(), [](char letter) {
        return std::isalnum(static_cast<unsigned char>(letter)) == 0 && std::string_view{"._-/"}.find(letter) == std::string_view::npos;
    });
    if (prefix.size() < 2 || prefix.size() > kMaxPrefixLength || prefix.front() != '/' || prefix.back() == '/' || foreign ||
        prefix.find("//") != std::string::npos)
        return usage_error("must be like \"/fastnet\": letters, digits, '.', '_', '-' and '/', not at its end");
    return prefix;
}

Result<std::string> path_from(const toml::node& node) {
    std::string path = TRY(text_from(node));
    if (!path.empty() && path.front() != '/') return usage_error("must be an absolute path");
    return path;
}

constexpr std::array<std::string_view, 4> kLevelNames{"debug", "info", "warning", "error"};

Result<LogLevel> level_from(const toml::node& node) {
    const auto text = node.value_exact<std::string>();
    const auto* const found = std::find(kLevelNames.begin(), kLevelNames.end(), text.value_or(""));
    if (found == kLevelNames.end()) return usage_error("must be \"debug\", \"info\", \"warning\" or \"error\"");
    return static_cast<LogLevel>(found - kLevelNames.begin());
}

Json text_of(const std::optional<IpAddress>& address) {
    return address ? address->to_string() : std::string{};
}

/// The one table of keys: reading, printing and the list of what is known come from it.
struct Key {
    std::string_view section;
    std::string_view name;
    Status (*read)(AgentConfig&, const toml::node&);
    Json (*show)(const AgentConfig&);
    std::string path() const { return std::string{section} + "." + std::string{name}; }
};

// A member by way of a reader; `member` names it in both directions.
#define FASTNET_KEY(section, name, reader, shown)                     \
    Key {                                                             \
#section, #name,                                                    \
            [](AgentConfig& config, const toml::node& node) -> Status {     \
                config.section.name = TRY(reader);                          \
                return ok();                                                \
            },                                                              \
            [](const AgentConfig& config) -> Json { return Json(shown); } \
    }

const std::vector<Key>& keys() {
    using std::chrono::seconds;
    static const std::vector<Key> table{
        FASTNET_KEY(node, name, text_from(node), config.node.name),
        FASTNET_KEY(node, ipv4, node_address_from(node, Family::kIpv4), text_of(config.node.ipv4)),
        FASTNET_KEY(node, ipv6, node_address_from(node, Family::kIpv6), text_of(config.node.ipv6)),
        FASTNET_KEY(log, level, level_from(node), kLevelNames.at(static_cast<std::size_t>(config.log.level))),
        FASTNET_KEY(reconcile, enabled, flag_from(node), config.reconcile.enabled),
        FASTNET_KEY(reconcile, interval, duration_from(node, seconds{1}, seconds{3600}), duration_text(config.reconcile.interval)),
        FASTNET_KEY(reconcile, debounce, duration_from(node, milliseconds{0}, seconds{1}), duration_text(config.reconcile.debounce)),
        {"metrics", "address",
         [](AgentConfig& config, const toml::node& node) -> Status {
             const std::string text = TRY(text_from(node));
             config.metrics.address.reset();
             if (!text.empty()) config.metrics.address = TRY(ListenAddress::parse(text));
             return ok();
         },
         [](const AgentConfig& config) -> Json { return config.metrics.address ? config.metrics.address->to_string() : std::string{}; }},
        FASTNET_KEY(etcd, urls, urls_from(node), config.etcd.urls),
        FASTNET_KEY(etcd, prefix, prefix_from(node), config.etcd.prefix),
        FASTNET_KEY(etcd, user, text_from(node), config.etcd.user),
        FASTNET_KEY(etcd, password_file, path_from(node), config.etcd.password_file),
        FASTNET_KEY(etcd, ca_file, path_from(node), config.etcd.ca_file),
        FASTNET_KEY(etcd, cert_file, path_from(node), config.etcd.cert_file),
        FASTNET_KEY(etcd, key_file, path_from(node), config.etcd.key_file),
        {"etcd", "lease_ttl",
         [](AgentConfig& config, const toml::node& node) -> Status {
             const milliseconds ttl = TRY(duration_from(node, seconds{5}, seconds{3600}));
             if (ttl % seconds{1} != milliseconds{0}) return usage_error("must be whole seconds: etcd counts in them");
             config.etcd.lease_ttl = std::chrono::duration_cast<seconds>(ttl);
             return ok();
         },
         [](const AgentConfig& config) -> Json { return duration_text(config.etcd.lease_ttl); }},
        FASTNET_KEY(etcd, timeout, duration_from(node, milliseconds{100}, seconds{30}), duration_text(config.etcd.timeout)),
    };
    return table;
}
#undef FASTNET_KEY

/// "a, b and c" of what a section knows; of all sections if @p section is none.
std::string known_words(std::string_view section) {
    std::vector<std::string_view> words;
    for (const Key& key : keys()) {
        const std::string_view word = section.empty() ? key.section : key.name;
        if ((section.empty() || key.section == section) && (words.empty() || words.back() != word)) words.push_back(word);
    }
    std::string text;
    for (std::size_t i = 0; i < words.size(); ++i) text += (i == 0 ? "" : i + 1 == words.size() ? " and " : ", ") + std::string{words[i]};
    return text;
}

/// Where a key was set: `<file>:<line>`, or the option.
using Places = std::map<std::string, std::string, std::less<>>;

class FileReader {
public:
    FileReader(std::string name, AgentConfig& config, Places& places) : name_{std::move(name)}, config_{config}, places_{places} {}

    Status read(std::string_view text) {
        // toml++ would say so of a byte in the middle, and in its own words.
        if (text.find('\0') != std::string_view::npos) return usage_error(name_ + ": is no text file");
        const toml::parse_result parsed = toml::parse(text);
        if (!parsed) return usage_error(place(parsed.error().source()) + ": " + std::string{parsed.error().description()});
        for (const auto& [key, node] : parsed.table()) CHECK_OK(read_section(key, node));
        return ok();
    }

private:
    std::string place(const toml::source_region& region) const { return name_ + ":" + std::to_string(region.begin.line); }

    static std::string printable(std::string_view word) {
        std::string text{word.substr(0, 64)};
        std::replace_if(
            text.begin(), text.end(), [](char letter) { return static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f; }, '?');
        return text;
    }

    Status read_section(const toml::key& section, const toml::node& node) {
        const bool known = std::any_of(keys().begin(), keys().end(), [&](const Key& one) { return one.section == section.str(); });
        const std::string where = place(section.source()) + ": " + printable(section.str());
        if (!known) return usage_error(where + ": unknown key", "sections are " + known_words({}));
        const toml::table* const table = node.as_table();
        if (table == nullptr) return usage_error(where + ": must be a section, [" + printable(section.str()) + "]");
        for (const auto& [name, value] : *table) CHECK_OK(read_key(section.str(), name, value));
        return ok();
    }

    Status read_key(std::string_view section, const toml::key& name, const toml::node& value) {
        const auto key =
            std::find_if(keys().begin(), keys().end(), [&](const Key& one) { return one.section == section && one.name == name.str(); });
        const std::string where = place(name.source());
        const std::string path = std::string{section} + "." + printable(name.str());
        if (key == keys().end())
            return usage_error(where + ": " + path + ": unknown key", "[" + std::string{section} + "] knows " + known_words(section));
        if (Status status = key->read(config_, value); !status) return std::move(status).error().in(where + ": " + path);
        places_[path] = where;
        return ok();
    }

    std::string name_;
    AgentConfig& config_;
    Places& places_;
};

/// What no single key can know.
Status check_whole(const AgentConfig& config, const Places& places) {
    const auto at = [&](const std::string& key, const std::string& why) {
        const auto place = places.find(key);
        return usage_error((place == places.end() ? "" : place->second + ": ") + key + ": " + why);
    };
    if (const Status named = check_name(config.node.name, "node name"); !named && (config.etcd.enabled() || places.contains("node.name")))
        return at("node.name", places.contains("node.name") ? named.error().message : named.error().message + " (the host's); set one");
    const EtcdSettings& etcd = config.etcd;
    if (etcd.cert_file.empty() != etcd.key_file.empty())
        return etcd.cert_file.empty() ? at("etcd.key_file", "needs etcd.cert_file beside it")
                                      : at("etcd.cert_file", "needs etcd.key_file beside it");
    if (etcd.user.empty() != etcd.password_file.empty())
        return etcd.user.empty() ? at("etcd.password_file", "needs etcd.user beside it")
                                 : at("etcd.user", "needs etcd.password_file beside it");
    const bool tls = std::any_of(etcd.urls.begin(), etcd.urls.end(), [](const std::string& url) { return url.starts_with("https"); });
    for (const auto& [key, file] : {std::pair{"etcd.ca_file", &etcd.ca_file}, std::pair{"etcd.cert_file", &etcd.cert_file}})
        if (!file->empty() && !etcd.urls.empty() && !tls) return at(key, "has no effect: no URL in etcd.urls is https");
    return ok();
}

Status override_with(const ConfigOverrides& overrides, AgentConfig& config, Places& places) {
    if (overrides.metrics) {
        config.metrics.address = overrides.metrics;
        places["metrics.address"] = "--metrics";
    }
    if (!overrides.etcd_urls.empty()) {
        if (Status status = check_urls(overrides.etcd_urls); !status) return std::move(status).error().in("--etcd");
        config.etcd.urls = overrides.etcd_urls;
        places["etcd.urls"] = "--etcd";
    }
    return ok();
}

Result<AgentConfig> complete(AgentConfig config, Places places, const ConfigOverrides& overrides, const std::string& host_name) {
    CHECK_OK(override_with(overrides, config, places));
    if (config.node.name.empty()) {
        config.node.name = host_name;
        places.erase("node.name");
    }
    CHECK_OK(check_whole(config, places));
    return config;
}

std::string read_host_name() {
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) != 0) return {};
    return name.data();
}

/// A file of at most @p limit bytes (/dev/null is an empty one): no pipe to hang on.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit) {
    const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!fd) return sys_error(errno, "open " + path.string());
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return sys_error(errno, "read " + path.string());
    if (!S_ISREG(info.st_mode) && !S_ISCHR(info.st_mode)) return failed("read " + path.string() + ": is no file");
    std::string text(limit + 1, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return sys_error(errno, "read " + path.string());
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    if (size > limit) return failed("read " + path.string() + ": is larger than " + std::to_string(limit) + " bytes");
    text.resize(size);
    return text;
}

}  // namespace

Result<ListenAddress> ListenAddress::parse(std::string_view text) {
    const auto wrong = [&] { return usage_error("must be ADDRESS:PORT, like 127.0.0.1:9464 or [::1]:9464"); };
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return wrong();
    std::string_view host = text.substr(0, colon);
    const bool bracketed = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
    if (bracketed) host = host.substr(1, host.size() - 2);
    const auto address = IpAddress::parse(host);
    const auto port = Port::parse(text.substr(colon + 1));
    if (!address || !port || port->value() == 0 || (address->family() == Family::kIpv6) != bracketed) return wrong();
    return ListenAddress{*address, *port};
}

std::string ListenAddress::to_string() const {
    const std::string host = address.to_string();
    return (address.family() == Family::kIpv6 ? "[" + host + "]" : host) + ":" + std::to_string(port.value());
}

Result<AgentConfig> parse_config(std::string_view text, const std::string& name, const ConfigOverrides& overrides,
                                 const std::string& host_name) {
    AgentConfig config;
    Places places;
    CHECK_OK(FileReader(name, config, places).read(text));
    return complete(std::move(config), std::move(places), overrides, host_name);
}

Result<AgentConfig> load_config(const std::optional<std::filesystem::path>& file, const ConfigOverrides& overrides) {
    const std::filesystem::path path = file.value_or(kDefaultConfigFile);
    auto text = read_file(path, kMaxFileSize);
    if (!text && text.error().sys_errno == ENOENT && !file) return parse_config({}, path.string(), overrides, read_host_name());
    if (!text) {
        Error error = std::move(text).error();
        error.kind = ErrorKind::kUsage;
        return std::move(error).with_hint("the configuration file could not be read; tools/fastnet.toml shows every key");
    }
    return parse_config(*text, path.string(), overrides, read_host_name());
}

Result<std::string> read_password(const std::filesystem::path& file) {
    std::string password = TRY(read_file(file, kMaxPasswordSize));
    while (!password.empty() && (password.back() == '\n' || password.back() == '\r')) password.pop_back();
    if (password.empty()) return failed("read " + file.string() + ": holds no password");
    return password;
}

Status check_files(const AgentConfig& config) {
    const EtcdSettings& etcd = config.etcd;
    for (const std::string* path : {&etcd.ca_file, &etcd.cert_file, &etcd.key_file}) {
        if (path->empty()) continue;
        if (auto text = read_file(*path, kMaxFileSize * 16); !text) return std::move(text).error();
    }
    if (!etcd.password_file.empty())
        if (auto password = read_password(etcd.password_file); !password) return std::move(password).error();
    return ok();
}

std::string to_toml(const AgentConfig& config) {
    std::string text;
    std::string_view section;
    for (const Key& key : keys()) {
        if (key.section != section) text += (text.empty() ? "[" : "\n[") + std::string{key.section} + "]\n";
        section = key.section;
        // Strings, flags and arrays of strings without control characters are the same in JSON and in TOML.
        text += std::string{key.name} + " = " + key.show(config).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    }
    return text;
}

std::string to_json(const AgentConfig& config) {
    Json json;
    for (const Key& key : keys()) json[std::string{key.section}][std::string{key.name}] = key.show(config);
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<std::string> config_keys() {
    std::vector<std::string> names;
    for (const Key& key : keys()) names.push_back(key.path());
    return names;
}

}  // namespace fastnet
