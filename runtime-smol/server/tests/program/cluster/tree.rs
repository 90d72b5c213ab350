//! Servers that send a stream to one other server each.

use anabranch_tests::program::{Program, free_address};
use anabranch_tests::redis::Redis;
use anabranch_tests::{TIMEOUT, wait_for};

use super::streams::{node_at, times};
use super::wait_state;
use crate::launch;
use crate::relays::{Encoder, list};

/// Over how many connections the stream comes to a server that pulls it, and the id of the server that sends it.
fn source(server: &Program) -> (u64, String) {
    let pulls = list(server, "edge");
    assert_eq!(pulls.len(), 1, "one pull");
    (pulls[0]["hop"].as_u64().unwrap_or(0), pulls[0]["parent"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn four_servers_form_a_chain_and_the_players_stay_when_an_inner_one_is_killed() {
    let redis = Redis::new();
    let [a, b, c, d] = [(); 4].map(|()| node_at(free_address(), &redis, "children = 1\n"));
    let _encoder = Encoder::start(&a, "cam");
    let mut players = [&b, &c, &d].map(|server| {
        let mut player = server.player("cam");
        let seen = times(&mut player, 10);
        (player, seen)
    });
    let id = |server: &Program| server.address().to_string();
    assert_eq!([&b, &c, &d].map(source), [(1, id(&a)), (2, id(&b)), (3, id(&c))]);
    let child = |server: &Program| {
        let state = server.get("/api/v1/cluster");
        state["data"]["children"][0]["nodes"][0].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!([&a, &b, &c].map(child), [&b, &c, &d].map(id));
    assert_eq!(a.metric("anabranch_cluster_children"), Some(1.0));
    assert_eq!(a.metric("anabranch_cluster_referred_total"), Some(2.0));
    b.kill();
    for (player, seen) in &mut players[1..] {
        seen.extend(times(player, 100));
        // Pictures are 20 ms apart.
        let gap = seen.windows(2).map(|pair| pair[1].checked_sub(pair[0]).expect("times rise")).max();
        assert!(gap.is_some_and(|gap| gap <= 2000), "{gap:?}: {seen:?}");
    }
    wait_for("a chain without the one that was killed", TIMEOUT, || {
        let sources = [&c, &d].map(source);
        (sources[0] == (1, id(&a)) && sources[1].1 == id(&c)).then_some(())
    });
    // The first one counts its player, and the pull of the other.
    let plays = [&c, &d].map(|server| server.metric("anabranch_plays_total"));
    assert_eq!(plays, [Some(2.0), Some(1.0)], "the players and the connection between the two are the same");
}

#[test]
fn servers_with_different_secrets_say_so_on_both_sides() {
    let redis = Redis::new();
    let (owner, address) = (node_at(free_address(), &redis, ""), free_address());
    let settings = format!(
        "[api]\nlisten = '127.0.0.1:0'\n[cluster]\nredis = '{}'\nadvertise = 'rtmp://{address}'\nttl = '3s'\n\
         hold = false\nsecret = 'another secret of theirs'\n",
        redis.url()
    );
    let other = launch().settings(&settings).start_at(address);
    wait_state(&other, "connected");
    let _encoder = Encoder::start(&owner, "cam");
    let _player = other.player("cam");
    let line = other.wait_line("the server has another secret").text;
    assert!(line.contains("cluster.secret") && line.contains("clocks"), "{line}");
    owner.wait_lines("pull_not_signed", 2);
    assert_eq!(other.lines("the server has another secret").len(), 1, "said once");
}
