//! Decisions that depended on other connections, on the back end or on settings of then.

use super::*;

#[test]
fn replay_repeats_decisions_that_depended_on_other_connections() {
    let config = Config::default();
    let server = Core::new(config.clone(), [4; 32]);
    let now = any_instant();
    let mut first = Client::connected(&server, now);
    publish(&mut first, now, "cam");
    let (mut second, capture) = captured_client(&server, now);
    second.connect(now);
    publish(&mut second, now, "cam");
    assert_eq!(second.take_words().last().map(String::as_str), Some("NetStream.Publish.BadName"));
    second.conn.handle_disconnect(now, CloseReason::PeerClosed);
    second.serve(now);
    assert!(second.report.is_some());
    // The name is free in the replay, and the request is refused all the same.
    same(&capture, &config);
    assert!(timeline(&capture, &config, false).contains("refused: NetStream.Publish.BadName: Stream cam is already"));
}

#[test]
fn limits_of_then_hold_in_the_replay() {
    let mut settings = VhostConfig::default();
    settings.limits.players = Some(1);
    let config = Config::from(settings);
    let server = Core::new(config.clone(), [4; 32]);
    let now = any_instant();
    let mut first = Client::connected(&server, now);
    play(&mut first, now, "cam");
    let (mut second, capture) = captured_client(&server, now);
    second.connect(now);
    play(&mut second, now, "cam");
    assert_eq!(second.take_words().last().map(String::as_str), Some("NetStream.Play.Failed"));
    same(&capture, &config);
}

#[test]
fn a_takeover_happens_again_at_the_same_message() {
    let config = Config::from(VhostConfig { conflict: Conflict::TakeOver, ..VhostConfig::default() });
    let server = Core::new(config.clone(), [4; 32]);
    let now = any_instant();
    let (mut first, capture) = captured_client(&server, now);
    first.connect(now);
    publish(&mut first, now, "cam?token=a");
    video(&mut first, now, 0, &KEY_FRAME);
    let (mut second, second_tape) = captured_client(&server, now);
    second.connect(now);
    publish(&mut second, now, "cam?token=a");
    for timestamp in 1..4 {
        video(&mut first, now, timestamp, &FRAME);
    }
    first.conn.handle_disconnect(now, CloseReason::PeerClosed);
    first.serve(now);
    assert_eq!(first.report.as_ref().map(|report| &report.close.reason), Some(&CloseReason::TakenOver));
    same(&capture, &config);
    same(&second_tape, &config);
    assert!(timeline(&capture, &config, false).contains("another publisher took the stream over"));
}

#[test]
fn a_backup_goes_the_same_way_again_though_it_is_alone_in_the_replay() {
    let config = Config::from(VhostConfig { conflict: Conflict::Backup, ..VhostConfig::default() });
    let (server, start) = (Core::new(config.clone(), [8; 32]), any_instant());
    let now = |ms| start + Duration::from_millis(ms);
    let ((mut first, one), (mut second, other)) = (captured_client(&server, start), captured_client(&server, start));
    for client in [&mut first, &mut second] {
        client.connect(start);
        publish(client, start, "cam");
    }
    let mut player = Client::connected(&server, start);
    play(&mut player, start, "cam");
    // The first one stalls, comes back, and is on air again when the second one leaves.
    for frame in 0..200u64 {
        let at = now(frame * 40);
        let body = if frame % 25 == 0 { KEY_FRAME } else { FRAME };
        for (client, sends) in [(&mut first, !(50..125).contains(&frame)), (&mut second, frame < 150)] {
            if sends {
                video(client, at, frame as u32 * 40, &body);
            } else {
                client.serve(at);
            }
        }
        player.serve(at);
        if frame == 150 {
            second.conn.handle_disconnect(at, CloseReason::PeerClosed);
            second.serve(at);
        }
    }
    let stream = server.hub().streams().remove(0);
    assert_eq!((stream.published, stream.backup, stream.switches), (true, None, 2));
    first.conn.handle_disconnect(now(8_000), CloseReason::PeerClosed);
    first.serve(now(8_000));
    assert!(second.report.is_some() && first.report.is_some());
    same(&one, &config);
    same(&other, &config);
}

#[test]
fn replay_closes_a_publisher_without_players_again_and_keeps_one_with_players() {
    let config = Config::from(VhostConfig { idle_publisher: Some(Duration::from_secs(5)), ..VhostConfig::default() });
    for watched in [false, true] {
        let server = Core::new(config.clone(), [4; 32]);
        let start = any_instant();
        let mut player = Client::connected(&server, start);
        if watched {
            play(&mut player, start, "cam");
        }
        let (mut encoder, capture) = captured_client(&server, start);
        encoder.connect(start);
        publish(&mut encoder, start, "cam");
        for second in 1..10 {
            let now = start + Duration::from_secs(second);
            encoder.conn.handle_timeout(now);
            encoder.serve(now);
            video(&mut encoder, now, 0, &KEY_FRAME);
        }
        assert_eq!(encoder.report.is_none(), watched);
        same(&capture, &config);
    }
}

#[test]
fn replay_gives_the_verdicts_of_the_back_end_again() {
    let asks = Asks { connect: true, publish: true, ..Asks::default() };
    let config = Config::from(VhostConfig { asks, ..VhostConfig::default() });
    let verdicts = [
        Some(Verdict::Allow),
        Some(Verdict::Deny("not you".into())),
        Some(Verdict::Redirect("rtmp://elsewhere/live/cam".into())),
        None,
    ];
    for verdict in verdicts {
        let server = Core::new(config.clone(), [4; 32]);
        // So that the ids of questions differ from those of the replay.
        Client::new(&server, any_instant()).connect(any_instant());
        let mut now = any_instant();
        let (mut encoder, capture) = captured_client(&server, now);
        encoder.connect(now);
        answer(&mut encoder, now, Verdict::Allow);
        publish(&mut encoder, now, "cam");
        match &verdict {
            Some(verdict) => answer(&mut encoder, now, verdict.clone()),
            None => {
                now += Duration::from_secs(10);
                encoder.conn.handle_timeout(now);
                encoder.serve(now);
                // Nothing any more.
                answer(&mut encoder, now, Verdict::Allow);
            }
        }
        encoder.conn.close(CloseReason::Shutdown);
        encoder.serve(now);
        now += Duration::from_secs(4);
        encoder.conn.handle_timeout(now);
        encoder.serve(now);
        assert!(encoder.report.is_some());
        same(&capture, &config);
    }
}

fn answer(client: &mut Client, now: Instant, verdict: Verdict) {
    let ask = client.actions.iter().rev().find_map(|action| match action {
        Action::Ask(ask) => Some(ask.id),
        _ => None,
    });
    client.conn.answer(now, ask.expect("a question"), verdict);
    client.serve(now);
}

#[test]
fn a_connection_that_other_settings_close_is_closed_again_though_the_replay_never_had_them() {
    let (server, now) = (Core::new(Config::default(), [9; 32]), any_instant());
    let (mut publisher, capture) = captured_client(&server, now);
    publisher.connect(now);
    publish(&mut publisher, now, "cam");
    video(&mut publisher, now, 0, &KEY_FRAME);
    // A rule that does not apply to the client, then one that refuses it.
    for rules in ["deny play 203.0.113.9", "allow publish 10.0.0.0/8"] {
        let security = rules.parse().unwrap();
        server.reconfigure(VhostConfig { security, ..VhostConfig::default() }.into());
        publisher.conn.reconfigured();
        video(&mut publisher, now, 40, &FRAME);
    }
    let text = timeline(&capture, &Config::default(), true);
    assert!(text.contains("your address is not among those that may publish"), "{text}");
    same(&capture, &Config::default());
}

fn played(client: &mut Client, now: Instant, name: &str) {
    client.connect(now);
    play(client, now, name);
}

/// Captures also record the refusals of limits that are checked at the grant, and of the limit on questions.
#[test]
fn refusals_at_the_grant_and_of_questions_come_again() {
    let asks = Asks { play: true, ..Asks::default() };
    let limits = Limits { players: Some(1), questions: Some(3), ..Limits::default() };
    let config = Config::from(VhostConfig { asks, limits, ..VhostConfig::default() });
    let server = Core::new(config.clone(), [4; 32]);
    let now = any_instant();
    let (mut first, mut first_tape) = captured_client(&server, now);
    let (mut second, mut second_tape) = captured_client(&server, now);
    let (mut third, third_tape) = captured_client(&server, now);
    for client in [&mut first, &mut second, &mut third] {
        played(client, now, "cam");
    }
    assert_eq!(
        third.take_words().last().map(String::as_str),
        Some("NetStream.Play.Failed"),
        "there are two places for it"
    );
    for client in [&mut first, &mut second] {
        answer(client, now, Verdict::Allow);
    }
    assert_eq!(second.take_words().last().map(String::as_str), Some("NetStream.Play.Failed"));
    for (client, capture) in [(&mut first, &mut first_tape), (&mut second, &mut second_tape)] {
        client.conn.handle_disconnect(now, CloseReason::PeerClosed);
        client.serve(now);
        same(capture, &config);
    }
    // The replay has room for both, and they are refused all the same.
    assert!(timeline(&second_tape, &config, false).contains("refused: NetStream.Play.Failed: too many players"));
    same(&third_tape, &config);
    assert!(timeline(&third_tape, &config, false).contains("too many requests that wait for an answer"));
}

#[test]
fn another_host_that_is_full_then_is_full_in_the_replay() {
    let asks = Asks { connect: true, ..Asks::default() };
    let limits = Limits { connections: Some(1), ..Limits::default() };
    let vhosts = [
        Vhost::new("host", VhostConfig::default()),
        Vhost::new("paid.example", VhostConfig { asks, limits, ..VhostConfig::default() }),
    ];
    let config = Config { vhosts: Vhosts::new(vhosts).expect("two names"), ..Config::default() };
    let server = Core::new(config.clone(), [4; 32]);
    let now = any_instant();
    let (mut first, first_tape) = captured_client(&server, now);
    let (mut second, second_tape) = captured_client(&server, now);
    let (mut third, third_tape) = captured_client(&server, now);
    for client in [&mut first, &mut second] {
        played(client, now, "cam?vhost=paid.example");
    }
    for client in [&mut first, &mut second] {
        answer(client, now, Verdict::Allow);
    }
    played(&mut third, now, "cam?vhost=paid.example");
    assert_eq!(first.take_words().last().map(String::as_str), Some("NetStream.Play.Start"));
    let told = |client: &Client| client.actions.iter().filter(|action| matches!(action, Action::Notify(_))).count();
    assert_eq!((told(&first), told(&second)), (0, 1), "the back end allowed it, but the limit was reached");
    for (mut client, capture) in [(first, first_tape), (second, second_tape), (third, third_tape)] {
        client.conn.handle_disconnect(now, CloseReason::PeerClosed);
        client.serve(now);
        same(&capture, &config);
    }
}

#[test]
fn a_connection_by_http_runs_again_with_what_the_program_answered_and_what_it_played() {
    let (server, now) = (Core::new(Config::default(), [7; 32]), any_instant());
    let mut publisher = Client::connected(&server, now);
    publish(&mut publisher, now, "cam");
    let record = "0164001effe1001a6764001eacd940a02fea4c0440000003004000000c83c58b658001000668ebe3cb22c0fdf8f800";
    let readable = [&SEQUENCE_HEADER[..5], &hex::decode(record).expect("hex")].concat();
    for (accepts, form) in [(Accepts::Web, "flv"), (Accepts::Either, "flv"), (Accepts::Web, "mp4")] {
        let capture = CaptureBuffer::new();
        let mut conn = server.connect_captured_by(now, None, accepts, Box::new(capture.clone()));
        let mut time = now;
        let requests = format!("GET /x HTTP/1.1\r\nHost: h\r\n\r\nGET /live/cam.{form} HTTP/1.1\r\nHost: h\r\n\r\n");
        conn.handle_input(now, requests.as_bytes());
        let mut sent = Vec::new();
        for round in 0..40_u32 {
            loop {
                match conn.poll(time) {
                    Output::Action(Action::Request(asked)) => {
                        conn.respond(time, asked.id, &Answer::text(200, "one").with("A", "b"));
                        conn.respond(time, asked.id, &Answer::text(200, "two"));
                    }
                    Output::Action(_) => {}
                    Output::Wait(wait) => {
                        if wait.deadline().is_some_and(|due| due <= time) {
                            conn.handle_timeout(time);
                            continue;
                        }
                        let waiting = conn.outbound().remaining();
                        if waiting == 0 {
                            break;
                        }
                        sent.extend_from_slice(&conn.outbound().copy_to_bytes(waiting));
                    }
                    Output::Closed(report) => panic!("{report}"),
                }
            }
            time += Duration::from_millis(100);
            // Only video: the head of the stream is held back for a while.
            let body = if round == 0 {
                &readable[..]
            } else if round % 10 == 1 {
                &KEY_FRAME
            } else {
                &FRAME
            };
            video(&mut publisher, time, round * 100, body);
        }
        conn.handle_disconnect(time, CloseReason::PeerClosed);
        while !matches!(conn.poll(time), Output::Closed(_)) {}
        let sent = String::from_utf8_lossy(&sent).into_owned();
        assert!(sent.contains("one\n") && sent.contains("Content-Type: video/"), "{sent}");
        assert!(same(&capture, &Config::default()).queued > 300);
        let shown = timeline(&capture, &Config::default(), true);
        assert!(shown.contains("the program answers with 200"), "{shown}");
    }
}
