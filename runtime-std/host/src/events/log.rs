use super::{Explanation, event};

/// In the order of a connection's life, then of the program's.
pub(super) const ALL: &[Explanation] = &[
    event(
        "opened",
        "A client has opened a connection. `conn` is its number in all its lines.",
        "Nothing. While many connections are opened, the line comes when the client has identified itself.",
    ),
    event(
        "identified",
        "The client publishes or plays a stream: role, stream, virtual host, and the client's own name. `form` is how a player \
         gets the stream (`rtmp`, `http-flv`, `ws-flv`, `http-mp4`, `ws-mp4`, `hls`, `dash`, `webrtc`), `unknown_host` is the host that it asked for, if the default virtual host took it in the place of another.",
        "Nothing. If `unknown_host` is a host of yours, add it to `aliases` of a virtual host.",
    ),
    event(
        "refused",
        "A request of a client was refused: by which rule (`code`), for which stream, and in which words (`told`).",
        "Look up the code. Of many refusals the log has ten lines a second; `anabranch_refusals_total` counts all.",
    ),
    event(
        "took_over",
        "A publisher took the name of a stream over from another connection that had the same credentials.",
        "Nothing, if an encoder came back. If the line comes again and again, two encoders have the same key.",
    ),
    event(
        "taken_over",
        "A publisher has lost its stream to another connection (`by`) that had the same credentials. It is closed when it \
         sends something.",
        "As for `took_over`, the line of the other connection.",
    ),
    event(
        "backup_ready",
        "A publisher stands by as backup of a stream, and has something that players can begin at. `holder` is the publisher \
         on air.",
        "Nothing.",
    ),
    event(
        "backup_took_over",
        "A publisher that stood by is on air: the one before was `lost`, or `stalled` for `publish.backup_after` and stands by \
         now (`reason`, `holder`).",
        "Look at the encoder that was lost or stalled, and at its network.",
    ),
    event(
        "backup_returned",
        "The first publisher of a stream is on air again (`publish.backup_return`); the other one stands by.",
        "Nothing.",
    ),
    event(
        "fallback_began",
        "A stream that has players and no publisher plays its fallback (`play.fallback`).",
        "Nothing.",
    ),
    event("fallback_ended", "The fallback of a stream ends: it has a publisher, or no player.", "Nothing."),
    event(
        "fallback_failed",
        "The fallback of a stream cannot be played: why. It is tried again after 5 s.",
        "Correct `play.fallback`, or the file.",
    ),
    event(
        "not_segmented",
        "The system gives no thread for making segments, so HLS and DASH are not served. It is tried again at the next request.",
        "Look at the limits of the system on threads and memory.",
    ),
    event(
        "no_webrtc",
        "The system does not give what the thread that serves WebRTC needs, so WebRTC is not served.",
        "Look at the limits of the system on threads, memory and open files, and start the server again.",
    ),
    event(
        "webrtc_connected",
        "The client of a session of WebRTC has connected: packets reach it from now on. `ms` is the time since its offer.",
        "Nothing.",
    ),
    event(
        "webrtc_leaves_out",
        "A stream has B-frames, which WebRTC cannot carry in their order. Pictures that no other picture needs are left out \
         for players by WebRTC; after a B-frame that others need (`b-pyramid`), all up to the next key frame.",
        "Set the encoder to no B-frames: `bf=0`, or the tune `zerolatency`.",
    ),
    event(
        "webrtc_no_sound",
        "Players by WebRTC have no sound of a stream, and why (`because`). They have the picture.",
        "Set the encoder to AAC-LC or Opus with one or two channels.",
    ),
    event(
        "webrtc_less_sound",
        "Players by WebRTC hear the sound of a stream in part (`how`): of HE-AAC, the lower half of the band.",
        "Set the encoder to AAC-LC or Opus.",
    ),
    event(
        "webrtc_no_picture",
        "Players by WebRTC have no picture of a stream, and why (`because`).",
        "Set the encoder to H.264, or to a codec that the players have, too.",
    ),
    event(
        "webrtc_skipped",
        "A player by WebRTC is slow: it missed pictures, and goes on at a key frame. Of many such lines the log has some.",
        "Look at the player's network. If many players are slow, look at the server's network and at the bit rate.",
    ),
    event(
        "sound_behind",
        "Frames of sound were left out for players by WebRTC, because putting sound into Opus takes more than one core has. \
         At most once a minute.",
        "Set encoders to Opus, which needs no work, or spread the streams over more servers.",
    ),
    event(
        "keyless",
        "A publisher sends pictures and no key frame, so players and recordings begin without one.",
        "Set a key frame interval in the encoder (2 s is usual).",
    ),
    event(
        "no_sound",
        "A player by RTMP gets a stream that was published by WebRTC without its sound: that is Opus, and the player has not \
         announced that it knows that (`audioFourCcInfoMap` or `fourCcList` in `connect`). Of many such lines the log has some.",
        "Nothing, if the picture is enough. Otherwise play the stream by HLS, HTTP-FLV or WebRTC.",
    ),
    event(
        "waits",
        "A player waits for a stream that has no publisher.",
        "Nothing, if the publisher is to come. Otherwise compare the name in the player with that in the encoder.",
    ),
    event(
        "waits_again",
        "The publisher of a stream has left, and a player of it waits. At most once a minute for each player.",
        "Nothing, if the publisher is to come back. Otherwise look up why its connection ended.",
    ),
    event("began", "The stream that a player waited for has begun.", "Nothing."),
    event(
        "slow",
        "A player is slow: it missed frames, or takes nothing. The stream goes on without it.",
        "Look at the player's network. If many players are slow, look at the server's network and at the bit rate.",
    ),
    event("keeps_up", "A player that was slow gets everything again.", "Nothing."),
    event("detached", "A client no longer publishes or plays a stream, and stays connected.", "Nothing."),
    event(
        "lines_reduced",
        "A connection begins and ends streams so often that its further lines are at debug level.",
        "Look at the client: ordinary clients do not do so.",
    ),
    event(
        "closed",
        "A connection has ended: how (`outcome`), why (`reason`), what it was, and what was received, sent and missed.",
        "Look up the reason.",
    ),
    event(
        "uplink_opened",
        "The server has opened a connection to another server, for a push or a pull. Only at debug level.",
        "Nothing.",
    ),
    event(
        "uplink_closed",
        "A connection to another server has ended: of which push or pull, why, and what was sent, received and missed.",
        "Nothing. If the relay failed, the line `relay_failed` says what comes next.",
    ),
    event(
        "relay_connecting",
        "A push or a pull makes its first attempt, or the first one after it was live.",
        "Nothing.",
    ),
    event(
        "relay_live",
        "A push or a pull is live: the other server has granted it. `left_out` is what that server does not take.",
        "Nothing. If something is left out, send the stream in a codec that the target takes.",
    ),
    event(
        "relay_failed",
        "An attempt to reach another server failed, or its connection was lost: why, how often in a row, and when the next attempt is made. If `lasting` is true, the next attempt will fail in the same way.",
        "Look at the words. For a lasting failure correct the URL, the key or the target's settings; otherwise look at the network and at the other server.",
    ),
    event(
        "relay_lagging",
        "The target of a push takes less than the stream has: it missed frames, or takes nothing.",
        "Look at the network to the target, or lower the bit rate of the stream.",
    ),
    event("relay_keeps_up", "The target of a push that was slow gets everything again.", "Nothing."),
    event("relay_redirected", "An origin has sent the server to another one, which it tries now.", "Nothing."),
    event(
        "relay_not_trusted",
        "A server of the cluster has refused the signature of a pull. The players of the stream here wait. Said once for a pull.",
        "Compare `cluster.secret` and the clocks of the two servers: they may be 30 s apart.",
    ),
    event(
        "relay_silent",
        "The origin of a pull has no publisher of the stream. The pull waits for one.",
        "Nothing, if the publisher is to come.",
    ),
    event(
        "relay_absent",
        "No origin has the stream, and its players were told so.",
        "Compare the name in the player with that at the origin.",
    ),
    event("relay_not_begun", "A push or a pull could not begin: why.", "Correct what the line names."),
    event("relay_ended", "A push or a pull is over: why.", "Nothing."),
    event(
        "forward_added",
        "A push was added through the API: its stream and target.",
        "`DELETE /api/v1/forwards/NUMBER` ends it.",
    ),
    event(
        "forward_refused",
        "A URL that a back end gave in its answer to `on_forward` is left out: it is not a target.",
        "Correct the back end's answer.",
    ),
    event("forward_removed", "A push was removed through the API.", "Nothing."),
    event("relay_changed", "Something else happened to a push or a pull.", "Read the line."),
    event(
        "unidentified",
        "Many connections were opened in a second, and so many of them ended before `connect`.",
        "Nothing, if they are few. Many may be a port scan or an attack.",
    ),
    event(
        "turned_away",
        "Connections are closed at once, because the limit of open files is nearly reached.",
        "Raise the limit of open files (`LimitNOFILE` in the unit file), or set `limits.connections`.",
    ),
    event(
        "accept_failed",
        "The system cannot give the server one more connection. The server tries again.",
        "Look at the system's words: open files, memory, or the network.",
    ),
    event(
        "not_listening",
        "An address of the default settings is taken, such as port 8080 for HTTP, or 8000 of UDP for WebRTC. The server runs \
         without it.",
        "Set `web.listen` or `rtc.listen` to another address, or to \"off\".",
    ),
    event(
        "webrtc_candidate",
        "A name in `rtc.candidates` has these addresses now. Clients of WebRTC are told them.",
        "Nothing.",
    ),
    event(
        "webrtc_candidate_unknown",
        "A name in `rtc.candidates` has no address now (`error`). Clients of WebRTC are told the one that it had before, if \
         any.",
        "Correct the name, or look at the DNS. It is looked up again in a minute.",
    ),
    event(
        "not_served",
        "A connection could not be served, because the system gave no thread or no event for it.",
        "Look at the system's words: threads, memory, open files.",
    ),
    event("deadline", "A deadline of a connection came. Only at debug level.", "Nothing."),
    event(
        "bug",
        "A part of the program panicked. That part begins again, or its connection ends; all else goes on.",
        "Report it, with the lines around it.",
    ),
    event("program_publishes", "The program around the server publishes a stream.", "Nothing."),
    event("program_plays", "The program around the server plays a stream.", "Nothing."),
    event(
        "file_limit",
        "How many files may be open, which limits connections.",
        "If it is too low for the clients that you expect, raise `LimitNOFILE` in the unit file.",
    ),
    event("limits", "The limits that keep clients from taking all memory and files of the machine.", "Nothing."),
    event(
        "advice",
        "A setting is allowed and probably not what is meant, or is not safe.",
        "Do what the line says. `anabranch check` says the same before the start.",
    ),
    event("started", "The server is ready: its version, the addresses it listens on, and the API's.", "Nothing."),
    event("stopping", "The server stops and closes all connections.", "Nothing."),
    event("stopped", "The server has stopped.", "Nothing."),
    event(
        "draining",
        "The server grants nothing new and asks clients to connect again; the rest is closed when the time is over.",
        "Wait. After a signal, a second one stops the server at once. `DELETE /api/v1/drain` undoes a drain of the API.",
    ),
    event("drain_undone", "A drain was undone through the API: the server accepts new clients again.", "Nothing."),
    event("reloaded", "The configuration was read again and is in force: which keys changed.", "Nothing."),
    event(
        "reload_refused",
        "The configuration was read again and is not valid, or cannot be put in force. The old one stays in force.",
        "Correct what the line names; `anabranch check FILE` checks it without the server.",
    ),
    event(
        "memory_given",
        "A stream gave up memory, because all streams together held too much.",
        "Raise `limits.memory`, or lower `cache.bytes` or the bit rates.",
    ),
    event("removed", "A connection was closed through the API.", "Nothing."),
    event(
        "api_off",
        "The server runs without API and metrics, because the default address of the API is taken.",
        "Set `api.listen` to another address, or to \"off\".",
    ),
    event("api_connection", "A connection to the API failed. Only at debug level.", "Nothing."),
    event(
        "hook_failed",
        "A call of a hook failed: the back end is down, slow, or answered something that cannot be read.",
        "Look at the back end. `hooks.allow_on_failure` says what happens to clients until then.",
    ),
    event(
        "signal_ignored",
        "The program got SIGUSR1 or SIGUSR2, which have no effect.",
        "Remove the command that sends it. The log goes to standard error, whose reader rotates it.",
    ),
    event("hook_called", "A hook was called, with the status and the time. Only at debug level.", "Nothing."),
    event(
        "renamed",
        "A back end gave a stream, or the app of a connection, another name: both names and the call.",
        "Nothing, if that is meant.",
    ),
    event("notices_lost", "The server stopped before the back ends had all notices.", "Make the back end faster."),
    event("recording_begun", "A stream is recorded into this file.", "Nothing."),
    event("recorded", "A recording is complete: its file, length and duration.", "Nothing."),
    event(
        "recording_failed",
        "A recording cannot go on: the disk is full or failed, or the system gave no thread. It is tried again.",
        "Look at the system's words and at the disk.",
    ),
    event(
        "segments_short",
        "The segments of a stream have no room in `hls.bytes`, so its playlist is shorter than `hls.window`, or clients get 404 \
         for segments that they want. `needed` is about what the window needs at the rate of the stream. Told once for each \
         publication.",
        "Set `hls.bytes` to `needed` or more, or `hls.window` lower; then see `anabranch check` for `limits.memory`.",
    ),
    event(
        "segments_lost",
        "Segments of HLS are not stored in their folder or S3: it failed, or is too slow. Players of the server have them.",
        "Look at the error: the disk is full, the store cannot be reached, or its keys are wrong.",
    ),
    event("segments_stored_again", "A folder or S3 takes segments of HLS again, after it did not.", "Nothing."),
    event(
        "segments_cut",
        "The server stopped before its folders and S3 had all segments of HLS.",
        "Use a faster disk or store. Playlists there have no end.",
    ),
    event(
        "recording_left_out",
        "A recording is without a codec that its format cannot hold, such as Speex in MP4.",
        "Record in the format \"flv\", or let the encoder send another codec.",
    ),
    event(
        "recording_missed",
        "A recording missed frames, because the disk is too slow.",
        "Use a faster disk, or record fewer streams on it.",
    ),
    event(
        "recording_waits",
        "A recording does not begin a file yet, because too many files were begun in a short time.",
        "Look at the encoder: it begins and ends its stream again and again.",
    ),
    event(
        "recordings_cut",
        "The server stopped before the disk had all of the recordings.",
        "Use a faster disk. The files can be played as they are.",
    ),
    event("run_started", "A program of `[[run]]` runs for a stream: its name, the stream, its process.", "Nothing."),
    event(
        "run_output",
        "A line that a program of `[[run]]` wrote, or how many were left out.",
        "It is the program's own text.",
    ),
    event(
        "run_ended",
        "A program of `[[run]]` has ended: how (`result`), and when it is started again. At level warn if it failed.",
        "Look at the lines of its output before.",
    ),
    event(
        "run_killed",
        "A program of `[[run]]` did not end within its `grace` after SIGTERM, or with the server, and was killed.",
        "Raise `grace`, or look at why it does not end.",
    ),
    event(
        "run_not_ended",
        "A program of `[[run]]`, or what it left behind, is still there: the server may not signal it, or it hangs in the kernel.",
        "Look at the process. `sudo` gives a program rights that the server has not; a program on a dead network disk cannot be ended.",
    ),
    event(
        "run_failed",
        "A program of `[[run]]` could not be started. It is tried again.",
        "Look at the system's words; `anabranch check` says whether the program is there.",
    ),
    event(
        "run_refused",
        "A program of `[[run]]` is not started for a stream: a name of a client would be an option or is not valid in a URL, or an output has no valid name.",
        "Put text before the variable, as in `title={stream}`, or use `{stream_file}`.",
    ),
    event(
        "run_waits",
        "A program of `[[run]]` waits, because a limit is reached (`limit`), or the program before it does not end (`turn`).",
        "Raise the limit if the machine can bear it, or look at the stream that begins again and again.",
    ),
    event(
        "recording_file_left",
        "An empty file of a recording cannot be removed.",
        "Remove it, and check the rights of the folder.",
    ),
    event("cluster", "The server belongs to a cluster: its id, and where the other servers reach it.", "Nothing."),
    event("directory_connected", "The Redis that is the cluster's directory answers.", "Nothing."),
    event(
        "directory_lost",
        "The directory does not answer any more. Streams go on; `cluster.on_loss` says what happens to new publishers.",
        "Look at the Redis and at the network. The server connects again by itself.",
    ),
    event(
        "directory_unreachable",
        "The directory cannot be reached or used: which host, and why. The server tries again.",
        "Do what the line says; `anabranch doctor` looks at it from this machine.",
    ),
    event(
        "directory_refuses",
        "The directory answers a request with an error.",
        "Look at the words: the rights of the user (ACL), the memory or the disk of the Redis.",
    ),
    event(
        "clock_apart",
        "The clock of this machine is more than 15 s from that of the directory. Servers whose clocks are more than 30 s apart \
         refuse each other's pulls.",
        "Set the clocks of all servers and of the Redis, and let them be kept right (systemd-timesyncd, chrony).",
    ),
    event(
        "notices_lost_connection",
        "The connection for notices of other servers is lost. Changes are noticed up to a second later until it is back.",
        "Nothing, if it is single. Otherwise look at the Redis: it closes clients that do not read (client-output-buffer-limit).",
    ),
    event(
        "name_lost",
        "Another server has the name of a stream now, or it could not be renewed and `cluster.on_loss` is \"strict\".",
        "Nothing after an outage of the directory. Otherwise two encoders publish one name on two servers.",
    ),
    event(
        "name_claimed",
        "A client publishes a name, and the directory has it as that of this server. Only at debug level.",
        "Nothing.",
    ),
    event(
        "name_unconfirmed",
        "The directory does not answer or holds new names back, and a client publishes all the same (`cluster.on_loss = \"serve\"`). The name is claimed later.",
        "Look at the line `directory_lost` before.",
    ),
    event(
        "name_held",
        "A client wants to publish a name that another server of the cluster has (`node`). It is refused, with `name_elsewhere`.",
        "If the encoder has come from that server, it gets the name as soon as that has noticed its end, or `cluster.ttl` after \
         that has crashed. Otherwise two encoders have the same key.",
    ),
    event(
        "name_not_claimed",
        "A client wants to publish, and the directory gives out no name. It is refused, with `no_directory`.",
        "Look at the words, and at the lines about the directory before.",
    ),
    event(
        "beyond_children",
        "A server of the cluster gets a stream although this one sends it to `cluster.children` others already: none of them can \
         send it on, as `cluster.depth` is used up, or they had nothing for that server.",
        "With many of these lines, raise `cluster.depth` or `cluster.children` on all servers.",
    ),
    event(
        "name_registered",
        "The directory has a name of this server again, after an outage. Only at debug level.",
        "Nothing.",
    ),
    event(
        "node_id_taken",
        "Another server uses the same id in the directory, so each takes the names of the other for its own.",
        "Give each server its own `cluster.advertise`, and `cluster.node` if that is set.",
    ),
    event(
        "secret_changed",
        "The cluster has another secret than before: the one in the directory was replaced.",
        "Nothing, if you replaced it. Otherwise look who can write to the Redis.",
    ),
    event(
        "advertise_unreachable",
        "The server does not reach itself at the address that it tells the others.",
        "Correct `cluster.advertise`, unless the network only lets others reach it.",
    ),
    event("certificates_changed", "The certificates have changed, and new connections get the new ones.", "Nothing."),
    event(
        "certificates_refused",
        "The files of the certificates have changed and cannot be used, so the old certificates stay in force.",
        "Correct the files before the old certificates expire.",
    ),
    event(
        "capture_begun",
        "A capture was begun through the API: its number, and which connections it takes.",
        "`DELETE /api/v1/captures/NUMBER` ends it.",
    ),
    event(
        "capture_file",
        "A connection is captured into this file, which holds secrets and media of the client.",
        "`anabranch replay FILE` shows it. Remove it when it is no longer needed.",
    ),
    event(
        "capture_file_ended",
        "A file of a capture has got its last byte: its connection, its size, and why. At level warn if the disk was too slow, full or failed.",
        "`anabranch replay FILE` shows it.",
    ),
    event(
        "capture_left_out",
        "A capture chose a connection and cannot capture it: why.",
        "If another capture has it, end that one, or read its file.",
    ),
    event("capture_ended", "A capture that was begun through the API has ended: why.", "Nothing."),
    event(
        "capture_incomplete",
        "So much came before a connection named its stream, from it or from all such connections, that it is not captured from its beginning.",
        "Capture it by its address or its number instead.",
    ),
    event(
        "capture_limit",
        "No more connections are captured, or not by this capture, because the folder has as many files as `capture.files` allows.",
        "Move files away, or raise the limit.",
    ),
    event(
        "capture_failed",
        "A connection cannot be captured, or its capture ends early.",
        "Look at the system's words and at the disk.",
    ),
    event("service_manager", "A message to systemd failed. Only at debug level.", "Nothing."),
    event(
        "lines_left_out",
        "The same line came more than ten times in a second; so many more were left out.",
        "Metrics count what the log leaves out.",
    ),
    event(
        "lines_dropped",
        "Standard error was not read fast enough, so that lines of the log are missing here.",
        "Make what reads the log faster, or lower `log.level`.",
    ),
];
