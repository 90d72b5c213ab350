use super::{Explanation, refusal};

/// In the order of [`Refusal::CODES`](anabranch_core::policy::Refusal::CODES).
pub(super) const ALL: &[Explanation] = &[
    refusal(
        "security_denied",
        "A rule in `security.rules` denies the client's address.",
        "If the client should be allowed, change the rule. If the address is that of a proxy, name the proxy in \
         `server.trusted_proxies`, so that the rules see the client's own address.",
    ),
    refusal(
        "security_not_allowed",
        "`security.rules` allow some addresses, and not this one.",
        "Add an `allow` rule for the client's address or network.",
    ),
    refusal(
        "refer_denied",
        "The page that the player is on (`pageUrl`) is not on a host in `refer`, or the client named no page.",
        "Add the host of the page to `refer.all`, `refer.publish` or `refer.play`. Players outside of browsers name no page.",
    ),
    refusal(
        "page_denied",
        "A script of a web page opens a WebSocket, and the origin of the page is not in `web.allow_origins`.",
        "If pages of that origin should play, add it, such as `https://www.example.com`.",
    ),
    refusal(
        "token_missing",
        "The URL must be signed (`token.required_for`), and has no `token` or no `expires`.",
        "Make a signed URL with `anabranch sign`, and give all of it to the client, with the part after `?`.",
    ),
    refusal(
        "token_malformed",
        "`expires` is not a number of seconds, or `token` is not 64 lower-case hex digits.",
        "Look for a URL that was cut, or whose `&` became `&amp;`. `anabranch sign` makes a right one.",
    ),
    refusal(
        "token_invalid",
        "The signature was made with another secret, or for another action, virtual host, app, stream or time.",
        "Compare what was signed with the action and the stream in this line. The secret is one of `token.secrets`.",
    ),
    refusal(
        "token_expired",
        "The signature is right, and the time in `expires` is over.",
        "Give the client a new URL. If URLs expire too early, compare the clocks of this machine and of the one that signs.",
    ),
    refusal(
        "pass_invalid",
        "The URL has a pass (`anabranch_pass`), which the server makes for programs that it starts (`[[defaults.run]]`). It is for another stream or action, has expired, or the client is not on this machine.",
        "Use the URL while the program runs, on this machine, with at most 8 connections, and as it is.",
    ),
    refusal(
        "vhost_unknown",
        "No virtual host has this name or alias, and none is the default.",
        "Add the name to `aliases` of a virtual host, or add a virtual host named `__defaultVhost__` for all other names.",
    ),
    refusal(
        "vhost_disabled",
        "The virtual host has `enabled = false`.",
        "Set `enabled = true` and reload, or point the client to another host name.",
    ),
    refusal(
        "vhost_measures",
        "The virtual host is for bandwidth checks only (`bandwidth_check.enabled`), so it has no streams.",
        "Point the client to another virtual host, or turn the check off there.",
    ),
    refusal(
        "limit_connections",
        "The virtual host has as many connections as `limits.connections` allows.",
        "If these are real clients, raise the limit; `anabranch check` says how much memory that needs.",
    ),
    refusal(
        "limit_publishers",
        "The virtual host has as many publishers as `limits.publishers` allows.",
        "Raise the limit, or look at `/api/v1/clients` for publishers that should not be there.",
    ),
    refusal(
        "limit_players",
        "The virtual host has as many players as `limits.players` allows.",
        "Raise the limit, or add a server.",
    ),
    refusal(
        "limit_stream_players",
        "The stream has as many players as `limits.stream_players` allows.",
        "Raise the limit if the machine and the network can serve more.",
    ),
    refusal(
        "limit_streams",
        "The virtual host has as many streams as `limits.streams` allows. Streams that players wait for count too.",
        "Raise the limit. If there are many streams without a publisher, players ask for names that do not exist.",
    ),
    refusal(
        "limit_questions",
        "Too many requests wait for an answer of the back end: all together, or those of this client's address or network.",
        "Make the back end faster, or raise `limits.questions`. Many from one address may be an attack.",
    ),
    refusal(
        "draining",
        "The server drains and grants nothing new: it is about to stop, or an operator drains it through the API.",
        "Clients should connect again, to this server after its restart or to another one.",
    ),
    refusal(
        "limit_bitrate",
        "The publisher's connection sends more than `limits.publisher_rate`.",
        "Lower the encoder's bit rate, or raise the limit or its window (`limits.publisher_rate_window`).",
    ),
    refusal(
        "url_invalid",
        "The URL of the client names no application, or has characters or a length that no URL has.",
        "Compare the server's URL in the client with `rtmp://HOST/APP`.",
    ),
    refusal(
        "name_invalid",
        "The name of the stream is empty, too long, or has parts that no name may have, such as `..`.",
        "Check the stream key in the encoder: it comes after the application, as in `rtmp://HOST/APP/NAME`.",
    ),
    refusal(
        "name_taken",
        "The stream has a publisher already. The line says which connection.",
        "If that is an old connection of the same encoder, wait until it times out, close it with \
         `DELETE /api/v1/clients/ID`, or set `publish.conflict = \"takeover\"`, with signed URLs. If it is another \
         encoder, give one of them another name.",
    ),
    refusal("hook_denied", "The back end refused the request. The line has its words.", "Look at the back end's log."),
    refusal(
        "hook_unanswered",
        "No back end answered: it cannot be reached, failed, or took longer than `hooks.timeout`, or too many questions wait.",
        "Look whether the back end is slow or down. `hooks.allow_on_failure` says what happens without an answer.",
    ),
    refusal(
        "hook_redirected",
        "The back end sent the client to another server.",
        "Nothing, if that is meant. A client that does not follow redirects stays out.",
    ),
    refusal(
        "origin_denied",
        "The origin of this edge refused the stream. The line has its words.",
        "Look at the origin's log. If the name is taken there, another encoder publishes it.",
    ),
    refusal(
        "name_elsewhere",
        "Another server of the cluster has the name of the stream. The line `name_held` says which.",
        "As for `name_taken`, at that server.",
    ),
    refusal(
        "no_directory",
        "The directory of the cluster does not answer, or gives out no names because it has just lost its data.",
        "Look at the Redis. `cluster.on_loss = \"serve\"` accepts publishers meanwhile.",
    ),
    refusal(
        "not_owner",
        "Another server of the cluster pulls a stream that is not published here, or no longer under the lease that it knows.",
        "Nothing, if it is single: that server asks the directory again.",
    ),
    refusal(
        "pull_not_signed",
        "Another server of the cluster pulls, and its signature is not valid here: it has another secret, or its clock differs. That \
         server warns, too (`relay_not_trusted`).",
        "Compare `cluster.secret` and the clocks of the two servers. If it is none of your servers, nothing: it gets nothing.",
    ),
    refusal(
        "pull_repeated",
        "Another server of the cluster has two connections for a stream already, and wants a third one.",
        "Nothing, if that server has just come back; the ones before end in 30 s. Otherwise a signature was read on the network: \
         advertise `rtmps://`.",
    ),
    refusal(
        "pull_referred",
        "Another server of the cluster pulls a stream that this one sends to `cluster.children` others already. It was sent to one \
         of these.",
        "Nothing.",
    ),
    refusal(
        "loop",
        "The client is a server, and the stream that it relays has been on this server already.",
        "Look at the targets and origins of both servers: a stream would go from one to the other for ever.",
    ),
    refusal(
        "check_key",
        "The virtual host is for bandwidth checks, and the client's URL does not have the right `key`.",
        "Give the client the key in `bandwidth_check.key`, or point it to another virtual host to publish or play.",
    ),
    refusal(
        "check_too_soon",
        "The last bandwidth check in this virtual host began less than `bandwidth_check.interval` ago.",
        "Try again later, or lower the interval.",
    ),
];
