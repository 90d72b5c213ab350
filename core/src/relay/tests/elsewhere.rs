//! Clients by WebRTC, which have no connection, at servers that get streams from another one or give them to it.

use super::cluster::CAM;
use super::pulling::pair;
use super::*;
use crate::conn::{Admission, Delivery};
use crate::http;
use crate::session::TimeoutKind;

const SECOND: Duration = Duration::from_secs(1);

impl Net {
    fn elsewhere(&mut self, server: usize, publishes: bool) -> u64 {
        let mut reader = http::RequestReader::new(http::Limits::default());
        let mut text = &b"POST /live/cam/whip HTTP/1.1\r\nHost: h\r\n\r\n"[..];
        let request = reader.read(&mut text).expect("it is legal").expect("it is whole");
        let (core, peer) = (&self.servers[server].core, Some(address("192.0.2.1:5000")));
        let conn = match publishes {
            true => core.offer(self.now, peer, &request, "live", "cam"),
            false => core.view(self.now, peer, &request, "live", "cam", Delivery::WebRtc),
        };
        self.add(What::Conn { server, conn: Box::new(conn.into()) }, None)
    }

    fn conn(&mut self, id: u64) -> &mut Conn {
        let end = self.ends.get_mut(&id).expect("it is there");
        end.touched = true;
        match &mut end.what {
            What::Conn { conn, .. } => conn.as_client().expect("it is a client"),
            _ => panic!("it is no connection"),
        }
    }

    /// The status of its answer; 0 while there is none.
    fn admission(&mut self, id: u64) -> u16 {
        match self.conn(id).take_admission() {
            Some(Admission::Granted) => 201,
            Some(Admission::Refused(answer)) => answer.status,
            None => 0,
        }
    }
}

fn upward() -> VhostConfig {
    VhostConfig { edge: Some(Edge::of(vec!["10.0.0.1".parse().expect("an origin")])), ..VhostConfig::default() }
}

#[test]
fn an_offer_at_an_edge_is_granted_when_the_origin_has_granted_it() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(upward());
    let publisher = net.elsewhere(edge, true);
    net.settle();
    assert_eq!(net.admission(publisher), 0, "the origin is asked");
    net.run(SECOND);
    assert_eq!(net.admission(publisher), 201);
    let there = net.player(origin, CAM);
    for message in [Message::video(0, peer::VIDEO_HEADER), Message::video(40, peer::key_frame(1).as_slice())] {
        let now = net.now;
        net.conn(publisher).publish_media(now, message);
        net.run(SECOND);
    }
    assert_eq!(net.heard(there).times().len(), 1);
    let now = net.now;
    net.conn(publisher).leave(now);
    net.run(SECOND);
    assert!(net.servers[origin].core.hub().streams().iter().all(|stream| !stream.published));
}

#[test]
fn a_name_that_is_taken_at_the_origin_is_refused_like_one_that_is_taken_here() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(upward());
    net.publisher(origin, CAM);
    let refused = net.elsewhere(edge, true);
    net.run(SECOND);
    assert_eq!(net.admission(refused), 409);
    assert!(net.list(edge).is_empty() && net.uplinks(edge).is_empty());
}

#[test]
fn a_player_by_webrtc_at_an_edge_causes_a_pull_which_ends_after_it() {
    let (mut net, origin, edge, publisher) = pair();
    let viewer = net.elsewhere(edge, false);
    net.stream(publisher, 1, 2);
    assert_eq!(net.admission(viewer), 201);
    assert_eq!((net.uplinks(edge).len(), net.states(edge)), (1, vec![RelayState::Live]));
    assert_eq!(net.servers[origin].core.hub().player_count(&key(CAM)), 1);
    let now = net.now;
    net.conn(viewer).leave(now);
    net.stream(publisher, 3, 20);
    assert!(net.list(edge).is_empty() && net.uplinks(edge).is_empty());
}

#[test]
fn a_player_by_webrtc_does_not_wait_for_ever_for_a_stream_that_no_origin_has() {
    let mut net = Net::new();
    let _origin = net.server(VhostConfig::default());
    let edge = net.server(upward());
    let viewer = net.elsewhere(edge, false);
    net.settle();
    assert_eq!(net.admission(viewer), 201);
    net.run(60 * SECOND);
    assert_eq!(net.servers[edge].ended, [CloseReason::Timeout(TimeoutKind::WaitForStream)]);
}
