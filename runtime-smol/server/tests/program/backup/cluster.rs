//! Two encoders for one stream at two servers of a cluster, with a viewer at a third one.

use anabranch_tests::program::{Process, Program, free_address};
use anabranch_tests::redis::Redis;

use super::{AFTER, BACKUP, GOP, SLACK, Viewer, encoder};
use crate::cluster::node_at;

/// A backup at another server waits for an eighth longer.
const DETECTED: u32 = AFTER + AFTER / 8;

/// Three servers, an encoder at the first, its backup at the second, a viewer at the third.
fn three() -> (Redis, [Program; 3], [Process; 2], Viewer) {
    let redis = Redis::new();
    let nodes = [(); 3].map(|()| node_at(free_address(), &redis, &format!("[defaults]\n{BACKUP}")));
    let first = encoder(&nodes[0].url("live/cam"));
    nodes[0].wait_line("is publisher of live/cam");
    let second = encoder(&nodes[1].url("live/cam"));
    nodes[1].wait_line("is backup of live/cam");
    nodes[1].wait_line("is ready as backup of live/cam");
    let viewer = Viewer::start(&nodes[2]);
    viewer.wait(50);
    (redis, nodes, [first, second], viewer)
}

#[test]
fn a_backup_at_another_server_is_on_air_when_the_server_of_the_encoder_is_killed() {
    let (_redis, [a, b, _c], [_first, _second], viewer) = three();
    assert_eq!(b.metric("anabranch_publishers"), Some(1.0), "it counts where it is");
    let clients = b.get("/api/v1/clients");
    assert_eq!(clients["clients"][0]["streams"][0]["role"], "backup", "{clients}");
    a.kill();
    b.wait_line("is on air with live/cam");
    viewer.wait(75);
    viewer.check(DETECTED + GOP + SLACK);
    assert_eq!(b.get("/api/v1/cluster")["data"]["names"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_backup_at_another_server_is_on_air_when_the_encoder_is_frozen_and_that_stands_by_when_it_connects_again() {
    let (_redis, [a, b, _c], [first, second], viewer) = three();
    first.signal("STOP");
    b.wait_line("has stalled");
    viewer.wait(75);
    a.wait_line("another server of the cluster has the name");
    first.signal("CONT");
    drop(first);
    let _again = encoder(&a.url("live/cam"));
    a.wait_line("is ready as backup of live/cam");
    viewer.wait(25);
    second.kill();
    a.wait_line("is on air with live/cam");
    viewer.wait(75);
    viewer.check(DETECTED + GOP + SLACK);
}
