// Echo and broadcast servers on uWebSockets: `uwebsockets echo` and `uwebsockets broadcast`.
//
// Written after its examples EchoServer and Broadcast: a message is sent back as it came, and
// published with `publish`, which gathers what a turn of the loop brings and writes it once. Its limits
// for back-pressure are those of its examples, so that nobody is dropped or cut off.
//
// Compiled without LIBUS_NO_SSL it is the same with TLS, as its SSLApp has it: by OpenSSL.
//
// The flags, the first line of output and what is published are those of the servers in Rust in the
// folder above. Each further thread has a loop of its own on the same port.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "App.h"

namespace {

struct Options {
    bool broadcast = false;
    std::string host = "127.0.0.1";
    int port = 9002;
    unsigned threads = 1;
    unsigned max_message = 100 * 1024 * 1024;
    unsigned size = 125;
    unsigned rate = 0;
    unsigned burst = 128;
    unsigned topics = 0;
    std::string tls_certificate;
    std::string tls_key;
};

#ifdef LIBUS_NO_SSL
constexpr bool has_tls = false;
#else
constexpr bool has_tls = true;
#endif

struct PerConnection {};
using App = uWS::TemplatedApp<has_tls>;
using Connection = uWS::WebSocket<has_tls, true, PerConnection>;

uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

/// One loop, on a thread of its own.
class Shard {
public:
    Shard(const Options &options, std::vector<Shard *> &all) : options(options), all(all) {}

    /// Listens on `port`, says on which it does, and serves for ever.
    template <typename Listening>
    void run(int port, Listening &&listening) {
        app.ws<PerConnection>("/*", behavior());
        app.listen(options.host, port, [&](us_listen_socket_t *socket) {
            listening(socket ? us_socket_local_port(has_tls, reinterpret_cast<us_socket_t *>(socket)) : -1);
        });
        app.run();
    }

    /// Asks this loop, from any thread, to publish from now on.
    void ask_for_start() {
        loop->defer([this] { start(); });
    }

private:
    static uWS::SocketContextOptions identity(const Options &options) {
        if constexpr (!has_tls) return {};
        return {.key_file_name = options.tls_key.c_str(), .cert_file_name = options.tls_certificate.c_str()};
    }

    auto behavior() -> App::WebSocketBehavior<PerConnection> {
        return {
            .compression = uWS::DISABLED,
            .maxPayloadLength = options.max_message,
            .maxBackpressure = 100 * 1024 * 1024,
            .closeOnBackpressureLimit = false,
            .open = [this](Connection *connection) { opened(connection); },
            .message = [this](Connection *connection, std::string_view message,
                              uWS::OpCode code) { received(connection, message, code); },
            .close = [this](Connection *connection, int, std::string_view) { closed(connection); },
        };
    }

    void opened(Connection *connection) {
        if (options.broadcast) {
            connections.push_back(connection);
            if (options.topics == 0) connection->subscribe("broadcast");
        }
    }

    void received(Connection *connection, std::string_view message, uWS::OpCode code) {
        if (!options.broadcast) {
            connection->send(message, code);
        } else if (code == uWS::TEXT && message == "start") {
            for (Shard *shard : all) shard->ask_for_start();
        } else if (code == uWS::TEXT && message.starts_with(subscribe)) {
            for (size_t begin = subscribe.size(); begin < message.size();) {
                size_t end = std::min(message.find(',', begin), message.size());
                connection->subscribe(message.substr(begin, end - begin));
                begin = end + 1;
            }
            connection->send("subscribed distinct", uWS::TEXT);
        }
    }

    void closed(Connection *connection) { std::erase(connections, connection); }

    void start() {
        if (publishing) return;
        publishing = true;
        number = 0;
        std::ranges::fill(numbers, 0);
        random = seed;
        if (options.rate == 0) {
            flood();
        } else {
            pace();
        }
    }

    /// Publishes a burst when the slowest connection has taken the one before; once a turn.
    void flood() {
        if (connections.empty()) {
            publishing = false;
            return;
        }
        bool taken = std::ranges::all_of(
            connections, [](Connection *connection) { return connection->getBufferedAmount() == 0; });
        if (taken) {
            for (unsigned sent = 0; sent < options.burst; sent++) publish();
        }
        loop->defer([this] { flood(); });
    }

    /// Publishes at even intervals.
    void pace() {
        begun_ns = now_ns();
        timer = us_create_timer(reinterpret_cast<us_loop_t *>(loop), 0, sizeof(Shard *));
        *static_cast<Shard **>(us_timer_ext(timer)) = this;
        us_timer_set(timer, [](us_timer_t *t) { (*static_cast<Shard **>(us_timer_ext(t)))->tick(); }, 1, 1);
    }

    void tick() {
        if (connections.empty()) {
            us_timer_close(timer);
            publishing = false;
            return;
        }
        // Not more than can be made up for, so that the loop comes to its connections whatever the rate.
        uint64_t due = std::min((now_ns() - begun_ns) * options.rate / 1'000'000'000, number + options.burst);
        while (due > number) publish();
    }

    void publish() {
        uint64_t now = now_ns();
        std::memcpy(payload.data(), &now, sizeof now);
        if (options.topics > 0) return publish_to_one_of_many();
        std::memcpy(payload.data() + 8, &number, sizeof number);
        number++;
        app.publish("broadcast", payload, uWS::BINARY);
    }

    /// To a topic at random, with its number in its own.
    void publish_to_one_of_many() {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        uint32_t topic = random % options.topics;
        std::memcpy(payload.data() + 8, &numbers[topic], sizeof numbers[topic]);
        std::memcpy(payload.data() + 16, &topic, sizeof topic);
        numbers[topic]++;
        number++;
        app.publish(names[topic], payload, uWS::BINARY);
    }

    static std::vector<std::string> names_of(unsigned topics) {
        std::vector<std::string> names;
        for (unsigned topic = 0; topic < topics; topic++) names.push_back(std::to_string(topic));
        return names;
    }

    static constexpr std::string_view subscribe = "subscribe ";
    static constexpr uint32_t seed = 0x9e3779b9;

    const Options &options;
    std::vector<Shard *> &all;
    uWS::Loop *loop = uWS::Loop::get();
    App app{identity(options)};
    std::vector<Connection *> connections;
    std::string payload = std::string(options.size, '.');
    bool publishing = false;
    uint64_t number = 0;
    std::vector<std::string> names = names_of(options.topics);
    std::vector<uint64_t> numbers = std::vector<uint64_t>(options.topics);
    uint32_t random = seed;
    uint64_t begun_ns = 0;
    us_timer_t *timer = nullptr;
};

[[noreturn]] void fail(const char *words) {
    std::fprintf(stderr, "uwebsockets: %s\n", words);
    std::exit(2);
}

Options parse(int count, char **words) {
    Options options;
    if (count < 2 || (std::string_view(words[1]) != "echo" && std::string_view(words[1]) != "broadcast")) {
        fail("usage: uwebsockets echo|broadcast [--listen ADDRESS] [--threads N] ...");
    }
    options.broadcast = std::string_view(words[1]) == "broadcast";
    for (int index = 2; index < count; index++) {
        std::string_view name = words[index];
        // A message is sent as soon as it is there; what a turn brings is gathered anyway.
        if (name == "--flush-each") continue;
        if (index + 1 == count) fail("an option without its value");
        std::string value = words[++index];
        auto number = [&] { return static_cast<unsigned>(std::stoul(value)); };
        if (name == "--listen") {
            size_t colon = value.rfind(':');
            if (colon == std::string::npos) fail("an address without a port");
            options.host = value.substr(0, colon);
            options.port = std::stoi(value.substr(colon + 1));
        } else if (name == "--threads") {
            options.threads = std::max(1U, number());
        } else if (name == "--max-message") {
            options.max_message = number();
        } else if (name == "--size") {
            options.size = std::max(16U, number());
        } else if (name == "--rate") {
            options.rate = number();
        } else if (name == "--burst") {
            options.burst = std::max(1U, number());
        } else if (name == "--topics") {
            options.topics = number();
        } else if (name == "--tls-certificate") {
            options.tls_certificate = value;
        } else if (name == "--tls-key") {
            options.tls_key = value;
        } else {
            fail("an unknown option");
        }
    }
    if (options.topics > 0) options.size = std::max(20U, options.size);
    if ((options.tls_certificate.empty() || options.tls_key.empty()) == has_tls) {
        fail("a certificate and a key go with TLS, and nothing without it");
    }
    return options;
}

/// A port that is free on `host`, held so that several loops can listen on it: the library lets them
/// share a port only if it is given one.
int reserve_port(const std::string &host) {
    int one = 1;
    int holder = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    socklen_t length = sizeof address;
    address.sin_family = AF_INET;
    if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) fail("port 0 takes an IPv4 address");
    setsockopt(holder, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    auto *generic = reinterpret_cast<sockaddr *>(&address);
    if (bind(holder, generic, length) || getsockname(holder, generic, &length)) fail("no port is free");
    return ntohs(address.sin_port);
}

}  // namespace

int main(int count, char **words) {
    Options options = parse(count, words);
    if (options.port == 0) options.port = reserve_port(options.host);
    // Complete before the first connection could ask for a start.
    std::vector<Shard *> all;
    std::mutex adding;
    std::vector<std::thread> threads;

    auto further = [&](int port) {
        Shard shard(options, all);
        {
            std::lock_guard lock(adding);
            all.push_back(&shard);
        }
        shard.run(port, [](int bound) { if (bound < 0) fail("a thread cannot listen"); });
    };

    Shard first(options, all);
    all.push_back(&first);
    first.run(options.port, [&](int bound) {
        if (bound < 0) fail("it cannot listen there");
        for (unsigned thread = 1; thread < options.threads; thread++) {
            threads.emplace_back(further, bound);
        }
        // All of them are there when the address is known.
        for (size_t there = 1; there < options.threads;) {
            std::this_thread::yield();
            std::lock_guard lock(adding);
            there = all.size();
        }
        std::printf("listening on %s:%d\n", options.host.c_str(), bound);
        std::fflush(stdout);
    });
}
