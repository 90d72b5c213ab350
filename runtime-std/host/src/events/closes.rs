use super::{Explanation, close};

/// In the order of [`CloseReason::NAMES`](anabranch_core::session::CloseReason::NAMES); the last one is of this crate.
pub(super) const ALL: &[Explanation] = &[
    close(
        "peer_closed",
        "The client closed the connection. In phase `publishing` it did so without ending the stream first (`abrupt` in \
         the log).",
        "Nothing, if the client was to end. After an abrupt end, look whether the encoder crashed.",
    ),
    close(
        "peer_lost",
        "The connection broke: it was reset, or the network or the machine of the client is gone. A program that is killed or closes while media is on the way to it resets its connection, too. The line has the \
         system's words.",
        "Look at the client, at its network, and at firewalls and load balancers between, which cut connections that are \
         idle or old.",
    ),
    close(
        "tls_error",
        "TLS failed: no version or cipher in common, an untrusted certificate, or a client without TLS. The line says which.",
        "See what clients support in docs/operating.md (RTMPS), and check the certificates with `anabranch check`.",
    ),
    close(
        "tls_beginning_too_long",
        "The client sent more before TLS was set up than any client needs to.",
        "Nothing: ordinary clients do not do so. If there are many, block the address.",
    ),
    close(
        "tls_without_content",
        "The client sent TLS records with too little content for the work that they cause.",
        "Nothing: ordinary clients do not do so. If there are many, block the address.",
    ),
    close(
        "tls_too_many_begin",
        "Too many connections began TLS at the same time, most of them from this client's address.",
        "If they are real clients, spread them over more servers; otherwise block the address.",
    ),
    close(
        "webrtc_not_connected",
        "The client has the answer to its offer, and no datagrams went between it and the server in time, or they did not \
         agree on keys.",
        "See whether the UDP port is open in firewalls, and whether the addresses in `rtc.candidates` are those by which \
         clients reach the server.",
    ),
    close(
        "webrtc_silent",
        "A client by WebRTC answers no more: it lost its network, or was closed without a word.",
        "Nothing, if it is rare. If all clients of a network do so, look at its firewall or NAT.",
    ),
    close(
        "webrtc_error",
        "A client by WebRTC broke the protocol.",
        "If an ordinary client does so, report it with the name and version of its program.",
    ),
    close(
        "webrtc_bug",
        "The part of the server that serves a client by WebRTC has failed. Other clients go on.",
        "Report it with the lines of the log before.",
    ),
    close(
        "proxy_header_error",
        "A trusted proxy sent a header (PROXY protocol, or SRS's) that cannot be read.",
        "Check the proxy's settings. The server reads PROXY protocol 1 and 2.",
    ),
    close(
        "handshake_error",
        "The client does not speak RTMP: it speaks HTTP, TLS, RTMPE or something else. The line says what.",
        "Check the client's URL and port. For health checks use a TCP connection, or `/healthz` of the API. For a proxy, \
         set `server.trusted_proxies`.",
    ),
    close(
        "chunk_error",
        "The client's chunk stream is damaged or exceeds a limit. The line says what.",
        "If an ordinary client does so, capture it (`capture.folder`) and report it. Limits are in `bounds`.",
    ),
    close(
        "control_error",
        "The client sent a control message that cannot be read.",
        "If an ordinary client does so, capture it (`capture.folder`) and report it.",
    ),
    close(
        "command_error",
        "The client sent a command that cannot be read or exceeds a limit, and without which the connection cannot go on.",
        "If an ordinary client does so, capture it (`capture.folder`) and report it.",
    ),
    close(
        "message_over_limit",
        "The client sent a command or data message that is longer than the limit.",
        "If the client is right, raise `bounds.command`.",
    ),
    close(
        "http_error",
        "A client by HTTP sent a request that cannot be read or exceeds a limit, or a WebSocket frame that may not be. The \
         line says what.",
        "Nothing, if it is a scanner. If an ordinary client or proxy does so, capture it (`capture.folder`) and report it.",
    ),
    close(
        "inbox_over_limit",
        "The client went on sending while it waited for the answer to a request, more than the limit.",
        "If the back end is slow to answer, make it faster, or raise `bounds.inbox`.",
    ),
    close(
        "connect_timeout",
        "The client did not complete handshake and `connect` within `timeouts.connect`.",
        "Nothing for single cases: port scanners and health checks do so. For real clients, look at their network.",
    ),
    close(
        "identify_timeout",
        "The client connected, and neither published nor played within `timeouts.identify`.",
        "Check the client's stream key. Some clients keep a connection open without using it.",
    ),
    close(
        "first_message_timeout",
        "The publisher sent no message within `timeouts.first_message` after it began.",
        "Look whether the encoder gets pictures and sound from its source.",
    ),
    close(
        "next_message_timeout",
        "The publisher sent nothing for `timeouts.next_message`: its network is gone, or the encoder hangs.",
        "Look at the encoder and its network. For sources that pause, raise `timeouts.next_message`.",
    ),
    close(
        "write_timeout",
        "The client took nothing of what it was sent for `timeouts.write`: its network is gone, or the player hangs.",
        "Look at the player and its network.",
    ),
    close(
        "wait_for_stream_timeout",
        "The player waited for a publisher for `timeouts.wait_for_stream`, and none came.",
        "Check the name of the stream in the player and in the encoder, or raise the limit.",
    ),
    close(
        "rejected",
        "A request of the client was refused. The line before has the code and the words.",
        "Look up the code of the refusal.",
    ),
    close("bandwidth_checked", "The bandwidth check that the connection was for is done.", "Nothing."),
    close(
        "idle_publisher",
        "The stream had no player for `publish.idle`.",
        "Nothing, if that is meant. Otherwise raise the limit or set it to \"never\".",
    ),
    close(
        "served",
        "A client by HTTP got all that it asked for, or asked for nothing more in `web.idle_timeout`.",
        "Nothing.",
    ),
    close(
        "stream_over",
        "The stream that a player by HTTP got has been without publisher for `play.unpublish_grace`.",
        "Nothing: the player asks again if it is made to.",
    ),
    close(
        "player_too_slow",
        "The player missed more at one time than `play.max_gap` allows.",
        "Look at the player's network, lower the bit rate of the stream, or raise the limit.",
    ),
    close(
        "memory_short",
        "The memory for all streams was nearly used up, and the connection held more than its share.",
        "Raise `limits.memory`, or lower `cache.bytes` or the limits of clients. `anabranch check` shows the sums.",
    ),
    close(
        "taken_over",
        "Another publisher with the same credentials took the stream over (`publish.conflict = \"takeover\"`).",
        "Nothing, if an encoder came back. If two encoders have the same key, they take the stream from each other in turn.",
    ),
    close(
        "origin_lost",
        "The stream that the client published at this edge could not be published at an origin for `edge.keep`.",
        "Look at the lines of the relay before: they say what each origin answered.",
    ),
    close(
        "lease_lost",
        "Another server of the cluster has got the name of the stream, or the directory did not answer for as long as it holds \
         names (`cluster.on_loss = \"strict\"`).",
        "Look at the line `name_lost`: it has the name and the reason. Two encoders with the same key on two servers lose in turn.",
    ),
    close(
        "drained",
        "The server drains: what the client played has come to the end of its GOP, or the time to drain was over.",
        "Nothing. The client should connect again, to this server after the drain or to another one.",
    ),
    close("shutdown", "The server stopped.", "Nothing. The line with `stopping` says why."),
    close(
        "closed",
        "The server closed the connection by order: through the API, or by the program around it. The line has the words.",
        "Nothing.",
    ),
    close(
        "abandoned",
        "The code that served the connection panicked, which is a bug. Other connections are not affected.",
        "Report it, with the line before and with a capture (`capture.folder`) if it happens again.",
    ),
];
