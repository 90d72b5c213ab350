//! Hooks are asked, and answer yes, no, with a redirect, late, or not at all; they always get a notice of the end.

use std::time::Duration;

use anabranch_core::conn::{Asks, Config, Notice, Subject, Verdict, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::policy::Limits;
use anabranch_core::session::CloseReason;
use anabranch_sim::{ClientId, Encoder, Reply, Rng, Route, Sim};

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(4);

fn all() -> Asks {
    Asks { connect: true, publish: true, play: true, timeout: TIMEOUT, ..Asks::default() }
}

fn asking(asks: Asks) -> Config {
    VhostConfig { asks, ..VhostConfig::default() }.into()
}

/// One word for what a question or notice is about.
fn word(subject: &Subject) -> &'static str {
    match subject {
        Subject::Connect => "connect",
        Subject::Publish(_) => "publish",
        Subject::Play(_) => "play",
        Subject::Traverse(_) => "traverse",
    }
}

fn asked(net: &Sim, client: ClientId) -> Vec<&'static str> {
    net.asked(client).iter().map(|ask| word(&ask.subject)).collect()
}

fn notices(net: &Sim, client: ClientId) -> Vec<&'static str> {
    net.notices(client).iter().map(|notice| word(&notice.subject)).collect()
}

/// Gives this answer to one kind of question, and allows all others.
fn answer_to(net: &mut Sim, kind: &'static str, reply: &Reply) {
    let reply = reply.clone();
    net.back_end(move |ask| if word(&ask.subject) == kind { reply.clone() } else { Reply::allow() });
}

/// A publisher, then a player. Returns the client that this kind of question is about.
fn scene(net: &mut Sim, kind: &str) -> ClientId {
    let publisher = net.publish("live", "cam?key=7");
    if kind != "play" {
        return publisher;
    }
    net.run_for(SECOND * 2);
    net.play("live", "cam")
}

#[test]
fn an_allowed_request_goes_on_and_its_end_has_notices_in_order() {
    let mut net = Sim::with_config(1, asking(all()));
    net.back_end(|_| Reply::allow());
    let publisher = net.publish("live", "cam?key=7");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 4);
    assert!(net.player(player).first_video_is_key());
    assert_eq!((asked(&net, publisher), asked(&net, player)), (vec!["connect", "publish"], vec!["connect", "play"]));
    let Subject::Publish(facts) = &net.asked(publisher)[1].subject else { panic!("the second is about publishing") };
    assert_eq!((facts.key.to_string().as_str(), facts.params.as_str()), ("live/cam", "?key=7"));
    assert!(net.notices(publisher).is_empty() && net.notices(player).is_empty(), "nothing is over");

    net.stop_and_stay(publisher);
    net.run_for(SECOND);
    assert_eq!(notices(&net, publisher), ["publish"], "its connection stays");
    net.close(publisher);
    net.kill(player);
    net.run_for(SECOND);
    assert_eq!(notices(&net, publisher), ["publish", "connect"]);
    assert_eq!(notices(&net, player), ["play", "connect"]);
    let Some(Notice { closed: Some(closed), .. }) = net.notices(player).last() else { panic!("a connection's end") };
    let report = net.report(player).expect("it ended");
    assert_eq!((closed.received, closed.sent, &closed.reason), (report.received, report.sent, &report.close.reason));
    assert_eq!(closed.reason.name(), "peer_lost");
}

#[test]
fn a_denied_client_gets_the_reason_and_is_closed() {
    for (kind, code, before) in [
        ("connect", "NetConnection.Connect.Rejected", vec![]),
        ("publish", "NetStream.Publish.Denied", vec!["connect"]),
        ("play", "NetStream.Play.Failed", vec!["connect"]),
    ] {
        let mut net = Sim::with_config(2, asking(all()));
        answer_to(&mut net, kind, &Reply::deny());
        let client = scene(&mut net, kind);
        net.run_for(SECOND * 5);
        let notice = net.client(client).notices().last().expect("the client gets a status");
        assert_eq!((notice.code.as_str(), notice.redirect.as_deref()), (code, None));
        assert!(notice.description.contains("not today"), "{notice:?}");
        assert_eq!(net.report(client).expect("it is closed").close.reason, CloseReason::Rejected(code));
        assert!(net.client(client).is_closed());
        assert_eq!(notices(&net, client), before, "{kind}: there is no notice about what was refused");
        assert!(net.sent(client).is_empty());
    }
}

#[test]
fn a_client_that_is_redirected_gets_the_new_url() {
    for kind in ["connect", "publish", "play"] {
        let mut net = Sim::with_config(3, asking(all()));
        let url = "rtmp://other.example/live/cam";
        answer_to(&mut net, kind, &Reply::of(Verdict::Redirect(url.into())));
        let client = scene(&mut net, kind);
        net.run_for(SECOND * 5);
        let notice = net.client(client).notices().last().expect("the client gets a status");
        assert_eq!(notice.redirect.as_deref(), Some(url), "{kind}");
        assert!(net.report(client).expect("it is closed").close.reason.name().starts_with("rejected"), "{kind}");
    }
}

#[test]
fn nothing_happens_before_a_slow_verdict_and_everything_after_it() {
    for (kind, code) in [
        ("connect", "NetConnection.Connect.Success"),
        ("publish", "NetStream.Publish.Start"),
        ("play", "NetStream.Play.Start"),
    ] {
        let mut net = Sim::with_config(4, asking(all()));
        answer_to(&mut net, kind, &Reply::allow().after(SECOND * 3));
        let client = scene(&mut net, kind);
        let came = net.elapsed();
        net.run_for(SECOND * 2);
        assert_eq!(net.client(client).status_at(code), None, "{kind}");
        assert_eq!(net.server().hub().streams().iter().filter(|stream| stream.players > 0).count(), 0);
        net.run_for(SECOND * 3);
        let success = net.since_start(net.client(client).status_at(code).expect("it succeeds")) - came;
        assert!((SECOND * 3..SECOND * 3 + SECOND / 2).contains(&success), "{kind}: after {success:?}");
        assert!(net.client(client).is_running());
        if kind == "play" {
            assert!(net.player(client).first_video_is_key());
        }
    }
}

#[test]
fn silence_is_a_verdict_of_either_kind() {
    for (kind, code) in [
        ("connect", "NetConnection.Connect.Rejected"),
        ("publish", "NetStream.Publish.Denied"),
        ("play", "NetStream.Play.Failed"),
    ] {
        for allow_on_timeout in [false, true] {
            let mut net = Sim::with_config(5, asking(Asks { allow_on_timeout, ..all() }));
            answer_to(&mut net, kind, &Reply::never());
            let client = scene(&mut net, kind);
            let came = net.elapsed();
            net.run_for(TIMEOUT * 2);
            if allow_on_timeout {
                assert!(net.client(client).is_running(), "{kind}");
                net.close(client);
                net.run_for(SECOND);
            } else {
                assert_eq!(net.client(client).statuses().last(), Some(&code));
                let refused =
                    net.since_start(net.client(client).status_at(code).expect("the client gets a status")) - came;
                assert!((TIMEOUT..TIMEOUT + SECOND / 2).contains(&refused), "{kind}: after {refused:?}");
            }
            // A hook without an answer may have allowed it all the same: it gets the notice of the end.
            assert!(notices(&net, client).contains(&kind));
        }
    }
}

#[test]
fn an_answer_for_a_client_that_has_left_does_nothing() {
    for kind in ["connect", "publish", "play"] {
        for (verdict, dead) in [(Reply::allow(), true), (Reply::deny(), true), (Reply::allow(), false)] {
            let mut net = Sim::with_config(6, asking(all()));
            answer_to(&mut net, kind, &verdict.after(SECOND * 3));
            let client = scene(&mut net, kind);
            net.run_for(SECOND);
            if dead {
                net.kill(client);
            } else {
                net.close(client);
            }
            net.run_for(SECOND);
            let expected = if kind == "connect" { vec!["connect"] } else { vec![kind, "connect"] };
            if dead {
                assert_eq!(notices(&net, client), expected, "it was asked, and has ended");
            } else {
                // Nothing is read before the answer, so the server does not notice.
                assert!(net.is_open(client));
            }
            net.run_for(SECOND * 10);
            assert_eq!(notices(&net, client), expected, "an answer makes nothing of it");
            assert!(!net.is_open(client));
            // What the client held is free again.
            net.back_end(|_| Reply::allow());
            let next = net.publish("live", if kind == "play" { "other" } else { "cam" });
            net.run_for(SECOND * 8);
            assert!(net.client(next).is_running());
        }
    }
}

#[test]
fn the_server_upstream_is_asked_first_and_told_nothing() {
    let mut net = Sim::with_config(8, asking(Asks { connect: false, traverse: true, ..all() }));
    answer_to(&mut net, "traverse", &Reply::allow().after(SECOND));
    let publisher = net.publish("live", "cam?key=7");
    net.run_for(SECOND * 2);
    assert!(net.client(publisher).is_running());
    assert_eq!(asked(&net, publisher), ["traverse", "publish"]);
    answer_to(&mut net, "traverse", &Reply::deny());
    let player = net.play("live", "cam");
    net.run_for(SECOND * 4);
    assert_eq!(net.client(player).statuses().last(), Some(&"NetStream.Play.Failed"));
    assert_eq!(asked(&net, player), ["traverse"]);
    net.kill(publisher);
    assert_eq!((notices(&net, publisher), notices(&net, player)), (vec!["publish"], vec![]));
}

#[test]
fn the_first_that_is_granted_has_the_name_and_the_other_is_refused() {
    let mut net = Sim::with_config(7, asking(Asks { connect: false, ..all() }));
    answer_to(&mut net, "publish", &Reply::allow().after(SECOND * 2));
    let first = net.publish("live", "cam");
    net.run_for(SECOND);
    answer_to(&mut net, "publish", &Reply::allow());
    let second = net.publish("live", "cam");
    net.run_for(SECOND * 5);
    assert!(net.client(second).is_running(), "a question that waits keeps no client out");
    assert_eq!(net.client(first).statuses().last(), Some(&"NetStream.Publish.BadName"));
    assert_eq!(notices(&net, first), ["publish"], "it was granted, and came to nothing");
    let third = net.publish("live", "cam");
    net.run_for(SECOND * 2);
    assert_eq!(net.client(third).statuses().last(), Some(&"NetStream.Publish.BadName"));
    assert!(net.asked(third).is_empty(), "what is refused anyway is not asked about");
}

/// The rightful publisher connects again and again, and each time other clients ask and will be refused.
#[test]
fn a_client_that_the_back_end_refuses_keeps_no_other_out() {
    for conflict in [Conflict::Reject, Conflict::TakeOver] {
        let limits = Limits { publishers: Some(1), players: Some(1), streams: Some(1), ..Limits::default() };
        let asks = Asks { connect: false, ..all() };
        let mut net = Sim::with_config(9, VhostConfig { asks, conflict, limits, ..VhostConfig::default() }.into());
        net.back_end(|ask| {
            let (Subject::Publish(facts) | Subject::Play(facts)) = &ask.subject else { return Reply::allow() };
            if facts.params.contains("key=good") { Reply::allow() } else { Reply::deny().after(SECOND) }
        });
        for _ in 0..10 {
            for name in ["cam?key=bad&token=his", "other?key=bad", "third?key=worse"] {
                net.publish("live", name);
                net.play("live", name);
            }
            net.run_for(SECOND / 2);
            let publisher = net.publish("live", "cam?key=good&token=mine");
            net.run_for(SECOND / 4);
            let player = net.play("live", "cam?key=good");
            net.run_for(SECOND / 4);
            assert!(net.client(publisher).is_running() && net.client(player).is_running(), "{conflict:?}");
            net.close(publisher);
            net.close(player);
            net.run_for(SECOND);
        }
    }
}

/// As many clients are let in as the limit allows, however many questions are open, and the others are refused.
#[test]
fn limits_hold_at_the_grant() {
    let limits = Limits { stream_players: Some(2), players: Some(3), streams: Some(2), ..Limits::default() };
    let asks = Asks { connect: false, ..all() };
    let mut net = Sim::with_config(11, VhostConfig { asks, limits, ..VhostConfig::default() }.into());
    net.back_end(|_| Reply::allow().after(SECOND));
    let names = ["one", "one", "one", "two", "two", "three", "one"];
    let players: Vec<_> = names.iter().map(|name| net.play("live", name)).collect();
    net.run_for(SECOND / 2);
    assert!(net.server().hub().streams().is_empty(), "nothing is held while it is asked");
    net.run_for(SECOND * 5);
    let running = players.iter().filter(|player| net.client(**player).is_running()).count();
    assert_eq!(running, 3);
    let refused = players.iter().filter(|player| notices(&net, **player) == ["play"]).count();
    assert_eq!(refused, names.len() - 3, "each was granted by the outside");
}

/// Open questions have their own limit, and no client can use all of it.
#[test]
fn questions_are_shared_out() {
    let limits = Limits { questions: Some(4), ..Limits::default() };
    let asks = Asks { connect: false, ..all() };
    let mut net = Sim::with_config(12, VhostConfig { asks, limits, ..VhostConfig::default() }.into());
    net.back_end(|_| Reply::allow().after(SECOND * 3));
    let from = |address: &str| Route::to("a.example", "live").from_address(address);
    let greedy: Vec<_> = (0..6).map(|number| net.play(from("192.0.2.1"), &format!("s{number}"))).collect();
    net.run_for(SECOND);
    let open = greedy.iter().filter(|client| net.is_open(**client) && !net.asked(**client).is_empty()).count();
    assert_eq!(open, 2, "half of it");
    let other = net.play(from("198.51.100.1"), "s");
    net.run_for(SECOND * 5);
    assert!(net.client(other).is_running());
    let refused = greedy.iter().find(|client| net.asked(**client).is_empty()).expect("four of six");
    let notice = net.client(*refused).notices().last().expect("the client gets a status");
    assert!(notice.description.contains("too many requests that wait"), "{notice:?}");
}

/// Clients whose life ends at some point, while verdicts of all kinds are under way.
fn killed_somewhere(seed: u64) {
    let mut rng = Rng::new(seed);
    let asks = Asks {
        connect: !rng.once_in(4),
        publish: !rng.once_in(4),
        play: !rng.once_in(4),
        traverse: rng.once_in(4),
        timeout: Duration::from_millis(rng.within(50..=1_500) as u64),
        allow_on_timeout: rng.once_in(2),
    };
    let conflict = rng.pick(&[Conflict::Reject, Conflict::TakeOver]);
    let mut net = Sim::with_config(seed, VhostConfig { asks, conflict, ..VhostConfig::default() }.into());
    let mut choice = rng.fork(9);
    net.back_end(move |_| {
        let after = Duration::from_millis(choice.pick(&[0, 0, 20, 200, 900]));
        match choice.within(0..=9) {
            0 => Reply::deny().after(after),
            1 => Reply::of(Verdict::Redirect("rtmp://other.example/live/cam".into())).after(after),
            2 => Reply::never(),
            _ => Reply::allow().after(after),
        }
    });
    let tokens = ["cam?token=a", "cam?token=b"];
    let encoder = || Encoder { key: 100..=900, ..Encoder::small() };
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(net.publish_with("live", rng.pick(&tokens), encoder()));
        clients.push(net.play("live", "cam"));
        net.run_for(Duration::from_millis(rng.within(0..=300) as u64));
    }
    let mut left = clients.clone();
    while !left.is_empty() {
        net.run_for(Duration::from_millis(rng.within(0..=400) as u64));
        let client = left.swap_remove(rng.within(0..=left.len() - 1));
        match rng.within(0..=4) {
            0 => net.close(client),
            1 => net.stop(client),
            2 => net.stall(client, SECOND),
            _ => net.kill(client),
        }
    }
    for client in &clients {
        net.close(*client);
    }
    net.run_for(SECOND * 5);
    // The end of each connection checks that each question has its notice.
    assert!(clients.iter().all(|client| !net.is_open(*client)), "seed {seed}: connections are left over");
    assert!(net.server().hub().streams().is_empty(), "seed {seed}: streams are left over");
}

#[test]
fn every_question_has_its_notice_wherever_a_connection_dies() {
    (0..600).for_each(killed_somewhere);
}

#[test]
fn and_wherever_else_it_dies() {
    (600..1_200).for_each(killed_somewhere);
}
