//! Thousands of peers in plain text.

use std::collections::VecDeque;

use super::*;
use crate::desk::{Credentials, SessionView};
use crate::engine::{Accepted, Candidates, Purpose};
use crate::peer::{Datagram, Event, Gone, Medium, Network, Output, Packet, Peer};
use crate::signal::SignalError;

/// Answers each offer with a peer that sends its packets as they are, each with its number and time in front.
#[derive(Debug)]
pub(super) struct PlainPeers;

impl Peers for PlainPeers {
    fn accept(
        &mut self,
        _now: Instant,
        _offer: &str,
        _purpose: &Purpose,
        credentials: &Credentials,
        _candidates: &Candidates,
    ) -> Result<Accepted, SignalError> {
        let media = vec![Medium::Video, Medium::Audio];
        Ok(Accepted { peer: Box::new(PlainPeer::default()), answer: credentials.name.clone(), media })
    }
}

/// What peers send that lose many packets, and none.
pub(super) const LOSSY: &[u8] = b"lossy";
pub(super) const FINE: &[u8] = b"fine";
/// The same of one that loses some.
pub(super) const UNEASY: &[u8] = b"uneasy";

/// What a peer sends whose next packet makes the server panic.
const FAIL: &[u8] = b"fail";

/// What a peer sends that could receive so many bits a second.
pub(super) fn estimate(bits: u64) -> Vec<u8> {
    [&b"could"[..], &bits.to_be_bytes()].concat()
}

#[derive(Default)]
struct PlainPeer {
    path: Option<Path>,
    outputs: VecDeque<Output>,
    due: Option<Instant>,
    /// True if its next packet makes it panic.
    fails: bool,
}

impl Peer for PlainPeer {
    fn receive(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        self.due = Some(now + Duration::from_secs(1));
        let losses = [(LOSSY, 0.5), (UNEASY, 0.15), (FINE, 0.0)];
        if let Some((_, loss)) = losses.into_iter().find(|(said, _)| *said == bytes) {
            let loss = Some(loss);
            let network = Network { loss, ..Network::default() };
            self.outputs.push_back(Output::Event(Event::Network(network)));
        } else if bytes == FAIL {
            self.fails = true;
        } else if let Some(bits) = bytes.strip_prefix(b"could") {
            let bits = u64::from_be_bytes(bits.try_into().expect("eight bytes"));
            self.outputs.push_back(Output::Event(Event::Estimate(bits)));
        } else if self.path.replace(path).is_none() {
            self.outputs.push_back(Output::Send(Datagram { path, bytes: bytes.to_vec() }));
            self.outputs.push_back(Output::Event(Event::Connected));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.due = Some(now + Duration::from_secs(1));
    }

    fn write(&mut self, _now: Instant, packet: Packet) {
        assert!(!self.fails, "as a bug would have it");
        let Some(path) = self.path else { return };
        let bytes = [&packet.number.to_be_bytes()[..], &packet.time.to_be_bytes(), &packet.payload].concat();
        self.outputs.push_back(Output::Send(Datagram { path, bytes }));
    }

    fn ask_for_key(&mut self, _now: Instant) {}

    fn close(&mut self, _now: Instant) {}

    fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Wait(self.due.unwrap_or_else(start)))
    }
}

pub(super) fn hello(name: &str) -> Vec<u8> {
    let user = format!("{name}:abcd");
    let mut attributes = vec![0, 6, 0, user.len() as u8];
    attributes.extend_from_slice(user.as_bytes());
    attributes.resize(attributes.len().next_multiple_of(4), 0);
    [&[0, 1][..], &(attributes.len() as u16).to_be_bytes(), &[0x21, 0x12, 0xA4, 0x42], &[9; 12], &attributes].concat()
}

#[test]
fn thousands_of_viewers_get_each_picture_once_and_leave_nothing_behind() {
    const VIEWERS: u16 = 2000;
    let settings = Settings { most_joins: 100_000, ..Settings::default() };
    let mut world = World::with(settings, Box::new(PlainPeers));
    world.publish();
    world.push(video(0, Kind::Key, 0, 0, 3000));
    let local = SERVER.parse().expect("an address");
    for viewer in 0..VIEWERS {
        let number = world.post("/live/cam/whep", "v=0\r\nm=video 9\r\n");
        let name = String::from_utf8(world.answers[&number].body.to_vec()).expect("text");
        let remote = SocketAddr::from(([10, 0, 0, 1], 1024 + viewer));
        world.desk.receive(world.time(), Path { transport: Transport::Tcp, local, remote }, &hello(&name));
        while world.desk.poll_datagram().is_some() {}
    }
    let mut got: BTreeMap<SocketAddr, Vec<u64>> = BTreeMap::new();
    for number in 1..20u8 {
        world.now += Duration::from_millis(40);
        let (time, message) = (world.milliseconds(), video(world.milliseconds(), Kind::Reference, number, 0, 3000));
        world.publisher.as_mut().expect("a publisher").push(world.now, message).expect("it is on air");
        let _ = time;
        for stream in world.followed.clone() {
            world.desk.wake(world.time(), stream);
        }
        let (mut before, mut peers) = (None, 0);
        while let Some(datagram) = world.desk.poll_datagram() {
            if before.replace(datagram.path.remote) != Some(datagram.path.remote) {
                peers += 1;
            }
            assert!(world.desk.datagrams.len() < 10, "they are made while they are taken");
            let number = u64::from_be_bytes(datagram.bytes[..8].try_into().expect("eight bytes"));
            got.entry(datagram.path.remote).or_default().push(number);
        }
        assert_eq!(peers, VIEWERS, "those for one peer follow each other");
        world.desk.turn(world.time());
    }
    assert_eq!(got.len(), usize::from(VIEWERS));
    for numbers in got.values() {
        assert_eq!(numbers.len(), 19 * 3);
        assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "{numbers:?}");
    }
    let sessions: Vec<SessionView> = world.desk.sessions();
    assert_eq!(sessions.len(), usize::from(VIEWERS));
    for view in sessions {
        world.desk.left(world.time(), view.session);
    }
    world.settle();
    let desk = &world.desk;
    let left = [desk.by_name.len(), desk.by_path.len(), desk.dues.len(), desk.streams.len(), desk.queue.len()];
    assert_eq!(left, [0; 5]);
    assert_eq!((desk.stats().kept, world.followed.len()), (0, 0));
}

#[test]
fn what_is_kept_for_joiners_is_bounded() {
    let settings = Settings { most_kept: 20_000, ..Settings::default() };
    let mut world = World::with(settings, Box::new(PlainPeers));
    world.publish();
    world.push(video(0, Kind::Key, 0, 0, 3000));
    world.post("/live/cam/whep", "v=0\r\nm=video 9\r\n");
    for number in 1..100u8 {
        world.now += Duration::from_millis(40);
        world.push(video(world.milliseconds(), Kind::Reference, number, 0, 3000));
        assert!(world.desk.stats().kept <= 20_000);
    }
    world.push(video(world.milliseconds(), Kind::Key, 100, 0, 3000));
    assert!(world.desk.stats().kept > 3000, "it begins again at the next key frame");
}

#[test]
fn a_viewer_that_loses_too_much_goes_on_at_the_next_key_frame() {
    let mut world = World::with(Settings::default(), Box::new(PlainPeers));
    world.publish();
    world.push(video(0, Kind::Key, 0, 0, 3000));
    let number = world.post("/live/cam/whep", "v=0\r\nm=video 9\r\n");
    let name = String::from_utf8(world.answers[&number].body.to_vec()).expect("text");
    let (local, remote) = (SERVER.parse().expect("an address"), "10.0.0.1:9".parse().expect("an address"));
    let path = Path { transport: Transport::Tcp, local, remote };
    world.desk.receive(world.time(), path, &hello(&name));
    world.settle();
    let mut sent = Vec::new();
    for number in 1..30u8 {
        if number == 10 {
            world.desk.receive(world.time(), path, LOSSY);
        }
        world.now += Duration::from_millis(40);
        let kind = if number == 20 { Kind::Key } else { Kind::Reference };
        let before = world.datagrams;
        world.push(video(world.milliseconds(), kind, number, 0, 500));
        sent.push((number, world.datagrams - before));
    }
    let missed = |number: u8| (10..20).contains(&number);
    assert!(sent.iter().all(|(number, datagrams)| *datagrams == usize::from(!missed(*number))), "{sent:?}");
    assert!(world.remarks.contains(&Remark::Skipped { session: 1, pictures: 10 }), "{:?}", world.remarks);
    assert_eq!((world.desk.stats().skipped, world.desk.sessions()[0].skipped), (10, 10));
}

#[test]
fn a_codec_that_changes_before_a_viewer_has_connected_ends_it() {
    let mut world = World::with(Settings::default(), Box::new(PlainPeers));
    world.publish();
    world.push(video(0, Kind::Key, 0, 0, 3000));
    let number = world.post("/live/cam/whep", "v=0\r\nm=video 9\r\n");
    let name = String::from_utf8(world.answers[&number].body.to_vec()).expect("text");
    world.end_publication();
    world.publisher = Some(world.hub.publish(&key()).expect("the name is free"));
    world.push(Message::video(0, [&b"\x91vp09"[..], &[0x82, 0x49, 0x83, 0x42, 0, 1, 2]].concat()));
    let (local, remote) = (SERVER.parse().expect("an address"), "10.0.0.1:9".parse().expect("an address"));
    world.desk.receive(world.time(), Path { transport: Transport::Tcp, local, remote }, &hello(&name));
    world.settle();
    assert!(world.remarks.contains(&Remark::Gone { session: 1, why: Gone::Changed }), "{:?}", world.remarks);
    assert_eq!((world.left.len(), world.desk.sessions().len(), world.followed.len()), (1, 0, 0));
}

#[test]
fn a_panic_in_the_work_for_one_viewer_ends_that_viewer_alone() {
    let mut world = World::with(Settings::default(), Box::new(PlainPeers));
    world.publish();
    world.push(video(0, Kind::Key, 0, 0, 3000));
    let local = SERVER.parse().expect("an address");
    let mut paths = Vec::new();
    for viewer in 0..3 {
        let number = world.post("/live/cam/whep", "v=0\r\nm=video 9\r\n");
        let name = String::from_utf8(world.answers[&number].body.to_vec()).expect("text");
        let path = Path { transport: Transport::Tcp, local, remote: SocketAddr::from(([10, 0, 0, 1], 1024 + viewer)) };
        world.desk.receive(world.time(), path, &hello(&name));
        world.settle();
        paths.push(path);
    }
    world.desk.receive(world.time(), paths[1], FAIL);
    let time = world.milliseconds();
    world.push(video(time, Kind::Reference, 1, 0, 3000));
    let gone: Vec<_> = world.remarks.iter().filter(|remark| matches!(remark, Remark::Gone { .. })).collect();
    assert!(matches!(gone[..], [Remark::Gone { why: Gone::Bug, .. }]), "{gone:?}");
    assert_eq!((world.left.len(), world.desk.sessions().len(), world.desk.by_path.len()), (1, 2, 2));
    let before = world.datagrams;
    world.push(video(time + 40, Kind::Reference, 2, 0, 3000));
    assert_eq!(world.datagrams - before, 2 * 3, "the others go on");
}
