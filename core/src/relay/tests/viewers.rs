//! Viewers by HTTP and WebSocket at servers that get the stream from another one: they want it as players by RTMP do.

use super::cluster::CAM;
use super::pulling::{edge, pair};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// The forms of a request for a live stream.
const FORMS: [fn(&mut Net, usize, &str) -> u64; 2] = [Net::viewer, Net::socket_viewer];

impl Net {
    /// A client that asks for `/NAME.flv` by HTTP.
    fn viewer(&mut self, server: usize, name: &str) -> u64 {
        self.ask(server, &format!("GET /{name}.flv HTTP/1.1\r\nHost: h\r\n\r\n"))
    }

    /// The same by WebSocket.
    fn socket_viewer(&mut self, server: usize, name: &str) -> u64 {
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        self.ask(server, &format!("GET /{name}.flv HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n"))
    }

    fn ask(&mut self, server: usize, request: &str) -> u64 {
        let end = self.add(What::Viewer(Vec::new()), None);
        self.link_by(end, server, Accepts::Web);
        let other = self.ends[&end].other.expect("it is linked");
        *self.in_flight.entry(other).or_default() += request.len();
        self.flying.push((self.now + LATENCY, other, Flight::Bytes(request.as_bytes().to_vec())));
        end
    }

    fn received(&self, viewer: u64) -> &[u8] {
        match &self.ends[&viewer].what {
            What::Viewer(received) => received,
            _ => panic!("it is no viewer"),
        }
    }

    /// The status of the answer; 0 while there is none.
    fn status(&self, viewer: u64) -> u16 {
        let line = self.received(viewer).split(|byte| *byte == b'\r').next().unwrap_or_default();
        let words = String::from_utf8_lossy(line);
        words.split(' ').nth(1).map_or(0, |status| status.parse().expect("a number"))
    }

    fn has_frame(&self, viewer: u64, body: &[u8]) -> bool {
        self.received(viewer).windows(body.len()).any(|part| part == body)
    }

    /// Nothing is left of pulls at the edge, or of players at its origin.
    fn assert_nothing_pulled(&self, server: usize, origin: usize, name: &str) {
        assert!(self.list(server).is_empty() && self.uplinks(server).is_empty(), "{:?}", self.list(server));
        assert_eq!(self.servers[origin].core.hub().player_count(&key(name)), 0);
        assert!(self.servers[server].core.hub().streams().is_empty());
    }
}

#[test]
fn a_viewer_at_an_edge_causes_a_pull_which_ends_after_it() {
    for viewer in FORMS {
        let (mut net, origin, edge, publisher) = pair();
        let viewers = [viewer(&mut net, edge, CAM), viewer(&mut net, edge, CAM)];
        net.stream(publisher, 1, 2);
        assert_eq!((net.uplinks(edge).len(), net.states(edge)), (1, vec![RelayState::Live]));
        assert_eq!(net.servers[origin].core.hub().player_count(&key(CAM)), 1);
        for viewer in viewers {
            assert!([200, 101].contains(&net.status(viewer)));
            assert!(net.has_frame(viewer, &peer::inter_frame(2)));
        }
        viewers.into_iter().for_each(|viewer| net.leave(viewer));
        net.stream(publisher, 3, 9);
        assert_eq!(net.states(edge), [RelayState::Live], "it lingers");
        net.stream(publisher, 12, 2);
        net.assert_nothing_pulled(edge, origin, CAM);
        assert_eq!(net.remarks(edge), ["connecting", "live", "ended"]);
    }
}

#[test]
fn viewers_and_players_share_a_pull() {
    let (mut net, origin, edge, publisher) = pair();
    let player = net.player(edge, CAM);
    let viewers = FORMS.map(|viewer| viewer(&mut net, edge, CAM));
    net.stream(publisher, 1, 2);
    assert_eq!(net.servers[origin].core.hub().player_count(&key(CAM)), 1);
    net.leave(player);
    net.stream(publisher, 3, 15);
    assert_eq!(net.states(edge), [RelayState::Live], "the viewers are there");
    viewers.into_iter().for_each(|viewer| assert!(net.has_frame(viewer, &peer::inter_frame(17))));
}

#[test]
fn a_viewer_that_comes_before_the_encoder_gets_the_stream_when_it_begins_in_time() {
    for viewer in FORMS {
        let mut net = Net::new();
        let origin = net.server(VhostConfig::default());
        let edge = net.server(edge(&["10.0.0.1"]));
        let viewer = viewer(&mut net, edge, CAM);
        net.run(5 * SECOND);
        assert_eq!(net.status(viewer), 0, "the answer is held back");
        let publisher = net.publisher(origin, CAM);
        net.stream(publisher, 0, 2);
        assert!([200, 101].contains(&net.status(viewer)));
        assert!(net.has_frame(viewer, &peer::inter_frame(1)));
    }
}

#[test]
fn a_name_that_no_origin_has_is_not_found_and_nothing_is_left() {
    for viewer in FORMS {
        for is_away in [false, true] {
            let mut net = Net::new();
            let origin = net.server(VhostConfig::default());
            let edge = net.server(edge(&["10.0.0.1", "10.0.0.9"]));
            if is_away {
                net.kill(origin);
            }
            let viewer = viewer(&mut net, edge, "live/none");
            net.run(9 * SECOND);
            assert_eq!(net.status(viewer), 0, "it waits");
            net.run(2 * SECOND);
            assert_eq!(net.status(viewer), 404, "{is_away}");
            net.run(30 * SECOND);
            net.assert_nothing_pulled(edge, origin, "live/none");
        }
    }
}

#[test]
fn a_viewer_stays_when_the_origin_is_killed_and_comes_back() {
    for viewer in FORMS {
        let (mut net, origin, edge, publisher) = pair();
        let viewer = viewer(&mut net, edge, CAM);
        net.stream(publisher, 1, 3);
        net.kill(origin);
        net.run(3 * SECOND);
        net.revive(origin, VhostConfig::default());
        let publisher = net.publisher(origin, CAM);
        net.stream(publisher, 40, 4);
        assert!(net.has_frame(viewer, &peer::inter_frame(43)));
        assert!(net.ends[&viewer].other.is_some_and(|other| net.ends.contains_key(&other)), "the answer goes on");
    }
}

#[test]
fn a_viewer_at_a_server_that_is_not_the_owner_causes_a_pull_from_the_owner() {
    for viewer in FORMS {
        let mut net = Net::new();
        let [owner, other] = net.members();
        let publisher = net.publisher(owner, CAM);
        net.stream(publisher, 0, 1);
        let viewer = viewer(&mut net, other, CAM);
        net.stream(publisher, 1, 3);
        assert_eq!((net.uplinks(other).len(), net.uplinks(owner).len()), (1, 0));
        assert!(net.has_frame(viewer, &peer::inter_frame(3)));
        net.leave(viewer);
        net.stream(publisher, 4, 25);
        assert!(net.list(other).is_empty() && net.uplinks(other).is_empty());
        assert_eq!(net.servers[owner].core.hub().player_count(&key(CAM)), 0);
    }
}

#[test]
fn a_name_that_no_server_of_the_cluster_has_is_not_found() {
    for viewer in FORMS {
        let mut net = Net::new();
        let [one, _] = net.members();
        let viewer = viewer(&mut net, one, CAM);
        net.run(12 * SECOND);
        assert_eq!(net.status(viewer), 404);
        assert!(net.list(one).is_empty());
    }
}
