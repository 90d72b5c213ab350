//! A cluster: servers that claim names in a directory and pull streams from each other.

use std::collections::HashMap;

use super::*;
use crate::cluster::{ClaimNumber, ClusterConfig, DirectoryOrder, FindNumber};
use crate::location::tests::directory::Directory;
use crate::location::{ClaimId, Event, FindId, Location, LocationConfig, OnLoss, Output, Reply, RequestId};
use crate::policy::{Vhost, Vhosts};
use crate::url::DEFAULT_VHOST;

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// As in the settings of a program.
const TTL: Duration = Duration::from_secs(10);
const SECRET: &str = "a secret of the cluster";
pub(super) const CAM: &str = "live/cam";

/// The directory, and the part of each server in it.
pub(super) struct Members {
    directory: Directory,
    pub(super) is_down: bool,
    pub(super) members: BTreeMap<usize, Member>,
    replies: Vec<(Instant, usize, RequestId, Reply)>,
    next: Option<Instant>,
}

pub(super) struct Member {
    node: Arc<str>,
    pub(super) location: Location,
    /// Its link to the directory drops everything.
    is_cut: bool,
    claims: HashMap<ClaimNumber, ClaimId>,
    claimed: HashMap<ClaimId, ClaimNumber>,
    finds: HashMap<FindId, FindNumber>,
    /// The leases whose servers have denied a stream.
    denied: Vec<u64>,
}

impl Members {
    pub(super) fn new(now: Instant) -> Self {
        let directory = Directory::new(TTL, now);
        Members { directory, is_down: false, members: BTreeMap::new(), replies: Vec::new(), next: None }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.replies.iter().map(|(at, ..)| *at).chain(self.next).min()
    }
}

impl Net {
    /// A server of the cluster.
    pub(super) fn member(&mut self, config: VhostConfig, on_loss: OnLoss) -> usize {
        self.member_of(config.into(), on_loss)
    }

    pub(super) fn member_of(&mut self, config: Config, on_loss: OnLoss) -> usize {
        self.member_in(config, on_loss, &ClusterConfig::default())
    }

    /// One with these settings of the cluster.
    pub(super) fn member_in(&mut self, config: Config, on_loss: OnLoss, cluster: &ClusterConfig) -> usize {
        let node: Arc<str> = self.address_of(self.servers.len()).to_string().into();
        let member = crate::cluster::Member { node: node.clone(), address: format!("rtmp://{node}").into() };
        let cluster = Some(ClusterConfig { member, ..cluster.clone() });
        let at = self.server_of(Config { cluster, ..config });
        let core = &self.servers[at].core;
        core.set_clock(self.now, 1_000_000);
        core.relays().set_cluster_secret(self.now, SECRET);
        self.enter_directory(at, node, on_loss);
        at
    }

    fn enter_directory(&mut self, server: usize, node: Arc<str>, on_loss: OnLoss) {
        let config = LocationConfig { on_loss, ttl: TTL, ..LocationConfig::new(node.clone()) };
        let member = Member {
            location: Location::new(config, server as u64, self.now),
            node,
            is_cut: false,
            claims: HashMap::new(),
            claimed: HashMap::new(),
            finds: HashMap::new(),
            denied: Vec::new(),
        };
        self.directory.members.insert(server, member);
    }

    pub(super) fn members<const N: usize>(&mut self) -> [usize; N] {
        let members = [(); N].map(|()| self.member(VhostConfig::default(), OnLoss::Serve));
        self.run(SECOND);
        // The directory counts as one that has had its data for long.
        members
    }

    /// It is back, with no memory, and these settings of the cluster.
    pub(super) fn join_again(&mut self, server: usize, cluster: &ClusterConfig) {
        let node: Arc<str> = self.address_of(server).to_string().into();
        let member = crate::cluster::Member { node: node.clone(), address: format!("rtmp://{node}").into() };
        let config = Config { cluster: Some(ClusterConfig { member, ..cluster.clone() }), ..Config::default() };
        self.last_end += 1;
        let core = Core::new(config, [server as u8 + 100 + self.last_end as u8 % 100; 32]);
        core.set_clock(self.now, 1_000_000);
        core.relays().set_cluster_secret(self.now, SECRET);
        self.servers[server].core = core;
        self.hosts.insert(self.address_of(server), Host::Server(server));
        self.enter_directory(server, node, OnLoss::Serve);
    }

    /// The leases that were denied to a server since the last call.
    pub(super) fn denied(&mut self, server: usize) -> Vec<u64> {
        std::mem::take(&mut self.directory.members.get_mut(&server).expect("it is one").denied)
    }

    pub(super) fn is_member(&self, server: usize) -> bool {
        self.directory.members.contains_key(&server)
    }

    /// The machine of the server is gone: nothing answers, and no connection breaks.
    pub(super) fn vanish(&mut self, server: usize) {
        self.ends.retain(|_, end| !matches!(&end.what, What::Conn { server: at, .. } if *at == server));
        self.end_process(server);
        self.hosts.insert(self.address_of(server), Host::BlackHole);
    }

    /// The server dies, and its part in the directory with it.
    pub(super) fn crash(&mut self, server: usize) {
        self.kill(server);
        self.end_process(server);
    }

    fn end_process(&mut self, server: usize) {
        self.directory.members.remove(&server);
        self.opening.retain(|(_, at, ..)| *at != server);
        self.servers[server].core = Core::new(Config::default(), [server as u8; 32]);
    }

    /// Does what the servers want of the directory.
    pub(super) fn consult(&mut self) -> bool {
        let now = self.now;
        let mut busy = false;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.directory.replies).into_iter().partition(|(at, ..)| *at <= now);
        self.directory.replies = later;
        for (_, server, id, reply) in due {
            busy = true;
            if let Some(member) = self.directory.members.get_mut(&server).filter(|member| !member.is_cut) {
                member.location.handle_reply(now, id, reply);
            }
        }
        let mut next = None;
        let mut notices = Vec::new();
        let Members { directory, is_down, members, replies, .. } = &mut self.directory;
        for (at, member) in members.iter_mut() {
            let relays = self.servers[*at].core.relays();
            while member.obeys(now, relays) {
                busy = true;
            }
            loop {
                match member.location.poll(now) {
                    Output::Connect if *is_down || member.is_cut => member.location.handle_disconnected(now),
                    Output::Connect => member.location.handle_connected(now),
                    Output::Disconnect => {}
                    Output::Ask(id, request) => {
                        if !*is_down && !member.is_cut {
                            let address = format!("rtmp://{}", member.node);
                            let (reply, notice) = directory.apply(now, (&member.node, &address), &request);
                            replies.push((now + LATENCY, *at, id, reply));
                            notices.extend(notice);
                        }
                    }
                    Output::Event(event) => member.tells(now, relays, event),
                    Output::Wait(at) => {
                        next = next.into_iter().chain(at).min();
                        break;
                    }
                }
                busy = true;
            }
        }
        for notice in notices {
            for member in members.values_mut().filter(|member| !member.is_cut) {
                member.location.handle_notice(now, &notice.name, &notice.node, notice.fencing);
            }
        }
        self.directory.next = next;
        busy
    }

    /// The directory dies: its connections are reset.
    pub(super) fn kill_directory(&mut self) {
        self.directory.is_down = true;
        let now = self.now;
        self.directory.members.values_mut().for_each(|member| member.location.handle_disconnected(now));
    }

    pub(super) fn cut(&mut self, server: usize, is_cut: bool) {
        self.directory.members.get_mut(&server).expect("it is one").is_cut = is_cut;
    }

    /// A client that publishes; `None` if it may not.
    pub(super) fn encoder(&mut self, server: usize, name: &str) -> Option<u64> {
        let end = self.publisher(server, name);
        self.run(Duration::from_millis(50));
        self.heard(end).has("publishing").then_some(end)
    }

    pub(super) fn cluster(&self, server: usize) -> crate::cluster::ClusterSnapshot {
        self.servers[server].core.relays().cluster(100)
    }

    /// What must hold at the end: nothing is left of claims and pulls.
    pub(super) fn is_idle(&self, servers: &[usize]) {
        for server in servers {
            assert!(self.list(*server).is_empty() && self.uplinks(*server).is_empty(), "{:?}", self.list(*server));
            let left = self.cluster(*server);
            assert!(left.names.is_empty() && left.places.is_empty() && left.waiting == 0, "{left:?}");
            let member = &self.directory.members[server];
            assert!(member.claims.is_empty() && member.location.leases() == (0, 0));
        }
    }
}

impl Member {
    /// Does one thing that the server wants.
    fn obeys(&mut self, now: Instant, relays: &Relays) -> bool {
        match relays.poll_directory() {
            DirectoryOrder::Claim { claim, name, conflict } => {
                let id = self.location.claim(now, &name, conflict);
                self.claims.insert(claim, id);
                self.claimed.insert(id, claim);
            }
            DirectoryOrder::Release(claim) => {
                if let Some(id) = self.claims.remove(&claim) {
                    self.claimed.remove(&id);
                    self.location.release(now, id);
                }
            }
            DirectoryOrder::Find { find, name } => {
                let id = self.location.find(now, &name);
                self.finds.insert(id, find);
            }
            DirectoryOrder::Watch(name) => self.location.watch(&name),
            DirectoryOrder::Unwatch(name) => self.location.unwatch(&name),
            DirectoryOrder::Deny { name, fencing } => {
                self.denied.push(fencing);
                self.location.deny(&name, fencing);
            }
            DirectoryOrder::Wait => return false,
        }
        true
    }

    fn tells(&mut self, now: Instant, relays: &Relays, event: Event) {
        match event {
            Event::Granted { claim, fencing } => relays.claimed(self.claimed[&claim], Ok(fencing)),
            Event::Refused { claim, error } => relays.claimed(self.claimed[&claim], Err(error)),
            Event::Registered { name, fencing } => relays.registered(&name, fencing),
            Event::Lost { name, .. } => relays.lost(&name),
            Event::Located { find, located } => {
                relays.located(now, self.finds.remove(&find).expect("it was asked"), located);
            }
            Event::Changed { name } => relays.changed(now, &name),
        }
    }
}

#[test]
fn a_stream_of_one_server_plays_on_all_by_one_signed_pull_each() {
    let mut net = Net::new();
    let asks = crate::conn::Asks { connect: true, play: true, ..Default::default() };
    let limits = crate::policy::Limits { players: Some(0), connections: Some(1), ..Default::default() };
    let owner = net.member(VhostConfig { asks, limits, ..VhostConfig::default() }, OnLoss::Serve);
    let [b, c] = net.members();
    let publisher = net.encoder(owner, CAM).expect("the name is free");
    let asked = net.servers[owner].asked;
    let players: Vec<_> =
        [b, c].iter().flat_map(|server| [net.player(*server, CAM), net.player(*server, CAM)]).collect();
    net.stream(publisher, 1, 3);
    for player in &players {
        assert!(net.heard(*player).times().ends_with(&[2000, 2010, 2040, 3000, 3010, 3040]));
    }
    assert_eq!(net.servers[owner].core.hub().player_count(&key(CAM)), 2, "one for each server");
    // The owner has asked nothing about them, and counts none.
    assert_eq!(net.servers[owner].asked, asked);
    assert_eq!(net.cluster(b).places.len(), 1);
    for end in players.into_iter().chain([publisher]) {
        net.leave(end);
    }
    net.run(60 * SECOND);
    net.is_idle(&[owner, b, c]);
}

#[test]
fn a_stream_is_pulled_from_its_virtual_host_also_if_the_address_of_the_server_names_another_one() {
    let mut net = Net::new();
    let hosts = [DEFAULT_VHOST, "10.0.0.1"].map(|name| Vhost::new(name, VhostConfig::default()));
    let vhosts = Vhosts::new(hosts).expect("names");
    let owner = net.member_of(Config { vhosts, ..Config::default() }, OnLoss::Serve);
    let [other] = net.members();
    let destination = Destination::parse("rtmp://elsewhere/live/cam").expect("a URL");
    let publisher = net.client_with(owner, ClientConfig::to(&destination), "cam", true);
    net.run(SECOND);
    net.send(publisher, Message::video(0, peer::VIDEO_HEADER));
    let player = net.player(other, CAM);
    net.stream(publisher, 1, 3);
    assert!(net.heard(player).times().ends_with(&[3000, 3010, 3040]), "{:?}", net.heard(player).times());
}

#[test]
fn of_two_publishers_of_a_name_one_gets_it_and_the_other_after_it() {
    let mut net = Net::new();
    let [a, b, c] = net.members();
    let first = net.encoder(a, CAM).expect("the name is free");
    let refused = net.publisher(b, CAM);
    net.run(SECOND);
    assert!(net.heard(refused).has("NetStream.Publish.BadName"), "{:?}", net.heard(refused).events);
    let player = net.player(c, CAM);
    let local = net.player(b, CAM);
    net.stream(first, 0, 3);
    net.leave(first);
    net.run(Duration::from_millis(20));
    // B still pulls what A had.
    let second = net.encoder(b, CAM).expect("the name is free again");
    net.stream(second, 0, 4);
    for player in [player, local] {
        let heard = net.heard(player);
        assert!(heard.closed.is_none() && !heard.has("ended"), "{:?}", heard.events);
        assert!(heard.times().is_sorted() && heard.times().len() >= 18, "{:?}", heard.times());
    }
    let places: Vec<_> = net.cluster(c).places.into_iter().map(|(_, node, _)| node.to_string()).collect();
    assert_eq!(places, ["10.0.0.2:1935"]);
    for end in [second, player, local] {
        net.leave(end);
    }
    net.run(60 * SECOND);
    net.is_idle(&[a, b, c]);
}

#[test]
fn two_publishers_at_once_on_two_servers_never_both_get_the_name() {
    let mut net = Net::new();
    let [a, b] = net.members();
    for round in 0..50 {
        let name = format!("live/{round}");
        let ends = [net.client(a, &name, true), net.client(b, &name, true)];
        net.run(SECOND);
        let granted = ends.iter().filter(|end| net.heard(**end).has("publishing")).count();
        let refused = ends.iter().filter(|end| net.heard(**end).has("BadName")).count();
        assert_eq!((granted, refused), (1, 1), "round {round}");
        ends.into_iter().for_each(|end| net.leave(end));
    }
    net.run(60 * SECOND);
    net.is_idle(&[a, b]);
}

#[test]
fn players_wait_for_a_publisher_on_any_server_and_get_it_at_once() {
    let mut net = Net::new();
    let [a, b] = net.members();
    let player = net.player(b, CAM);
    net.run(5 * SECOND);
    assert!(!net.heard(player).has("rejected"));
    let from = net.now;
    let publisher = net.encoder(a, CAM).expect("the name is free");
    net.gop(publisher, 0, 1);
    net.run(SECOND);
    let first = net.heard(player).first.expect("media came") - from;
    assert!(first < Duration::from_millis(400), "{first:?}");
    let other = net.player(b, "live/none");
    net.run(11 * SECOND);
    assert!(net.heard(other).has("NetStream.Play.StreamNotFound"), "{:?}", net.heard(other).events);
}

#[test]
fn a_killed_owner_is_followed_to_the_server_where_its_encoder_comes_back() {
    let mut net = Net::new();
    let [a, b, c] = net.members();
    let first = net.encoder(a, CAM).expect("the name is free");
    let player = net.player(c, CAM);
    net.stream(first, 0, 3);
    net.crash(a);
    let killed = net.now;
    let second = loop {
        // As an encoder that tries again each second.
        if let Some(end) = net.encoder(b, CAM) {
            break end;
        }
        net.run(SECOND);
        assert!(net.now < killed + TTL + 2 * SECOND, "the name is free after its time to live");
    };
    net.stream(second, 0, 4);
    let heard = net.heard(player);
    assert!(heard.closed.is_none(), "{:?}", heard.events);
    let times = heard.times();
    assert!(times.is_sorted() && times.len() >= 18, "{times:?}");
}

#[test]
fn no_frame_is_lost_while_the_directory_is_away_for_half_a_minute() {
    let mut net = Net::new();
    let [a, b] = net.members();
    let publisher = net.encoder(a, CAM).expect("the name is free");
    let player = net.player(b, CAM);
    net.stream(publisher, 0, 3);
    net.kill_directory();
    net.stream(publisher, 3, 30);
    // A new player of a stream that is pulled already, and a new publisher.
    let late = net.player(b, CAM);
    let other = net.encoder(b, "live/other");
    net.run(2 * SECOND);
    assert!(other.is_some_and(|end| net.heard(end).closed.is_none()) || net.cluster(b).waiting == 0);
    net.stream(publisher, 35, 2);
    net.directory.is_down = false;
    net.stream(publisher, 37, 5);
    let (heard, late) = (net.heard(player), net.heard(late));
    assert!(heard.closed.is_none() && late.closed.is_none());
    assert_eq!(heard.times().len(), 3 * 40, "{:?}", heard.times());
    assert!(late.times().len() >= 3 * 7);
}

#[test]
fn a_publisher_whose_name_another_server_has_got_is_closed_and_its_players_follow() {
    let mut net = Net::new();
    let [a, b] = net.members();
    let first = net.encoder(a, CAM).expect("the name is free");
    let local = net.player(a, CAM);
    net.stream(first, 0, 2);
    net.cut(a, true);
    net.stream(first, 2, 15);
    assert!(net.heard(first).closed.is_none(), "it goes on meanwhile");
    let second = net.encoder(b, CAM).expect("the name is free after its time to live");
    net.cut(a, false);
    for at in 0..12 {
        net.gop(first, 17_000 + at * 1000, 1);
        net.gop(second, at * 1000, 2);
        net.run(SECOND);
    }
    assert!(net.heard(first).has("NetStream.Publish.BadName"), "{:?}", net.heard(first).events);
    assert!(net.servers[a].ended.contains(&CloseReason::LeaseLost), "{:?}", net.servers[a].ended);
    let heard = net.heard(local);
    assert!(heard.closed.is_none() && !heard.has("ended"), "{:?}", heard.events);
    assert!(heard.times().is_sorted() && heard.counts(&peer::key_frame(2)) >= 5, "{:?}", heard.times());
    assert_eq!(net.cluster(a).totals.lost, 1);
}

#[test]
fn strict_exclusion_refuses_and_closes_while_the_directory_is_away() {
    let mut net = Net::new();
    let [a, b] = [(); 2].map(|()| net.member(VhostConfig::default(), OnLoss::Strict));
    net.run(SECOND);
    let first = net.encoder(a, CAM).expect("the name is free");
    net.kill_directory();
    net.stream(first, 0, 12);
    assert!(net.servers[a].ended.contains(&CloseReason::LeaseLost));
    let refused = net.publisher(b, CAM);
    net.run(2 * SECOND);
    assert!(net.heard(refused).has("NetStream.Publish.Denied"), "{:?}", net.heard(refused).events);
    let words = net.heard(refused).events.join(" ");
    assert!(words.contains("cannot find out whether the name is free"), "{words}");
}

#[test]
fn a_client_that_leaves_before_its_claim_is_answered_leaves_no_lease() {
    let mut net = Net::new();
    let [a, b] = net.members();
    for wait in 0..12 {
        let end = net.client(a, CAM, true);
        net.run(Duration::from_millis(wait));
        net.leave(end);
        net.run(SECOND);
        let other = net.encoder(b, CAM).expect("the name is free");
        net.leave(other);
        net.run(SECOND);
    }
    net.run(60 * SECOND);
    net.is_idle(&[a, b]);
}

/// A pull that names this stream, with this text as its signature.
fn forged(net: &mut Net, server: usize, text: &str) -> Heard {
    let destination = Destination::parse(&format!("rtmp://{}/{CAM}", net.address_of(server))).expect("a URL");
    let mut config = ClientConfig::to(&destination);
    config.properties.insert("anabranchPull", text.to_owned());
    let end = net.client_with(server, config, destination.stream(), false);
    net.run(SECOND);
    let heard = net.heard(end);
    net.leave(end);
    net.run(Duration::from_millis(10));
    heard
}

#[test]
fn a_valid_signature_skips_the_rules_of_the_owner_and_any_other_is_refused() {
    use crate::cluster::{Member, PullSigner, SignedPull};
    let mut net = Net::new();
    let asks = crate::conn::Asks { play: true, ..Default::default() };
    let owner = net.member(VhostConfig { asks, ..VhostConfig::default() }, OnLoss::Serve);
    net.run(SECOND);
    let publisher = net.encoder(owner, CAM).expect("the name is free");
    net.servers[owner].verdict = Verdict::Deny("no".to_owned());
    let fencing = net.cluster(owner).names[0].1.expect("it is confirmed");
    let at = |server: usize| -> Arc<str> { format!("10.0.0.{}:1935", server + 1).into() };
    let by = Member { node: at(7), address: "rtmp://10.0.0.8:1935".into() };
    let pull = SignedPull { key: key(CAM), fencing, hop: 1, asked: at(owner), by, avoid: Vec::new() };
    let unix = 1_000_000 + 3;
    let good = PullSigner::new(SECRET).sign(&pull, unix);
    net.stream(publisher, 0, 1);
    assert!(!forged(&mut net, owner, &good).media.is_empty());
    let expected = net.servers[owner].asked;
    let wrong = [
        PullSigner::new("another secret").sign(&pull, unix),
        PullSigner::new(SECRET).sign(&pull, unix - 3600),
        PullSigner::new(SECRET).sign(&SignedPull { asked: at(7), ..pull.clone() }, unix),
        good.replace(" 1 ", " 2 "),
        String::new(),
        "1-2-3".to_owned(),
    ];
    for text in &wrong {
        let heard = forged(&mut net, owner, text);
        assert!(heard.media.is_empty() && heard.has("NetConnection.Connect.Rejected"), "{text}: {:?}", heard.events);
        assert!(heard.has("cluster.secret"), "{text}: {:?}", heard.events);
    }
    assert_eq!(net.servers[owner].asked, expected, "the back end is not asked");
    // Signed for what is not here, or under another lease, or for another place of the tree.
    for other in [SignedPull { fencing: fencing + 1, ..pull.clone() }, SignedPull { hop: 2, ..pull.clone() }] {
        let heard = forged(&mut net, owner, &PullSigner::new(SECRET).sign(&other, unix));
        assert!(heard.has("NetStream.Play.StreamNotFound"), "{:?}", heard.events);
    }
    let other = SignedPull { key: key("live/other"), ..pull };
    let heard = forged(&mut net, owner, &PullSigner::new(SECRET).sign(&other, unix));
    assert!(heard.media.is_empty() && heard.has("NetStream.Play.Failed"), "{:?}", heard.events);
}

#[test]
fn a_lease_that_was_renewed_under_another_number_is_found_again() {
    let mut net = Net::new();
    let [a, b] = net.members();
    let publisher = net.encoder(a, CAM).expect("the name is free");
    let player = net.player(b, CAM);
    net.stream(publisher, 0, 2);
    net.directory.directory.flush();
    net.stream(publisher, 2, 12);
    assert_eq!(net.heard(player).times().len(), 3 * 14);
    // The next pull is made under the new number.
    net.leave(player);
    net.stream(publisher, 14, 15);
    assert!(net.uplinks(b).is_empty());
    let player = net.player(b, CAM);
    net.stream(publisher, 29, 2);
    assert!(net.heard(player).times().len() >= 3);
}

#[test]
fn an_edge_of_srs_is_sent_to_the_owner_if_that_is_wanted() {
    use crate::amf::{Object, Value};
    for redirect in [false, true] {
        let mut net = Net::new();
        let [owner, other] = net.members();
        let core = net.servers[other].core.clone();
        core.reconfigure(Config {
            cluster: Some(ClusterConfig { redirect, ..ClusterConfig::default() }),
            ..Config::default()
        });
        let publisher = net.encoder(owner, CAM).expect("the name is free");
        let destination = Destination::parse(&format!("rtmp://{}/{CAM}", net.address_of(other))).expect("a URL");
        let arguments = vec![Value::Object(Object::default().with("srs_server", "SRS/6.0.157(Hang)"))];
        let config = ClientConfig { arguments, ..ClientConfig::to(&destination) };
        let edge = net.client_with(other, config, "cam?token=1", false);
        let ordinary = net.player(other, CAM);
        net.stream(publisher, 0, 2);
        let heard = net.heard(edge);
        assert_eq!(heard.media.is_empty(), redirect, "{:?}", heard.events);
        assert_eq!(heard.has("302"), redirect, "{:?}", heard.events);
        assert!(!net.heard(ordinary).media.is_empty());
        // One that plays what is here is served here.
        let config = ClientConfig {
            arguments: vec![Value::Object(Object::default().with("srs_server", "SRS"))],
            ..ClientConfig::to(&destination)
        };
        let edge = net.client_with(owner, config, "cam", false);
        net.stream(publisher, 2, 1);
        assert!(!net.heard(edge).media.is_empty());
    }
}

#[test]
fn a_token_that_was_not_checked_takes_no_name() {
    use crate::policy::{Secret, Token, TokenScope};
    let secret = Secret::new("a long random secret of your own").expect("long enough");
    for token in [None, Some(Token { secrets: vec![secret], required_for: TokenScope::Play })] {
        let mut net = Net::new();
        let config = VhostConfig { conflict: crate::hub::Conflict::TakeOver, token, ..VhostConfig::default() };
        let [a, b] = [(); 2].map(|()| net.member(config.clone(), OnLoss::Serve));
        net.run(SECOND);
        let first = net.encoder(a, "live/cam?token=mine").expect("the name is free");
        let other = net.publisher(b, "live/cam?token=theirs");
        net.run(SECOND);
        assert!(net.heard(other).has("NetStream.Publish.BadName"), "{:?}", net.heard(other).events);
        net.stream(first, 0, 2);
        assert!(net.heard(first).closed.is_none());
    }
}

/// Servers, encoders, players and a directory, and what fails between them, at random.
#[test]
fn whatever_fails_players_get_the_stream_of_the_last_owner_and_nothing_is_left() {
    for seed in 0..40_u64 {
        let mut random = seed;
        let mut below = |limit: u64| crate::split_mix::split_mix(&mut random) % limit;
        let mut net = Net::new();
        let on_loss = if seed % 2 == 0 { OnLoss::Serve } else { OnLoss::Strict };
        let servers: Vec<_> = (0..3).map(|_| net.member(VhostConfig::default(), on_loss)).collect();
        net.run(SECOND);
        let mut encoders: Vec<Option<u64>> = vec![None; 3];
        let players: Vec<_> = servers.iter().map(|server| net.player(*server, CAM)).collect();
        let mut time = 0;
        for _ in 0..30 {
            let server = below(3) as usize;
            match below(10) {
                0..4 => {
                    if let Some(end) = encoders[server].take() {
                        net.leave(end);
                    }
                }
                4..8 if encoders[server].is_none() => encoders[server] = net.encoder(servers[server], CAM),
                8 => {
                    let is_cut = net.directory.members[&servers[server]].is_cut;
                    net.cut(servers[server], !is_cut);
                }
                9 if net.directory.is_down => net.directory.is_down = false,
                9 => net.kill_directory(),
                _ => {}
            }
            for _ in 0..=below(4) {
                time += 1000;
                for (at, end) in encoders.iter().enumerate() {
                    if let Some(end) = end {
                        net.gop(*end, time, at as u8 + 1);
                    }
                }
                net.run(SECOND);
                for end in &mut encoders {
                    if end.is_some_and(|end| net.heard(end).closed.is_some()) {
                        net.leave(end.take().expect("it is there"));
                    }
                }
                let whole = !net.directory.is_down && net.directory.members.values().all(|member| !member.is_cut);
                let owners = servers.iter().filter(|server| !net.cluster(**server).names.is_empty()).count();
                assert!(owners <= 1 || on_loss == OnLoss::Serve || !whole, "seed {seed}: {owners} owners");
            }
        }
        // All heals, and one encoder comes.
        net.directory.is_down = false;
        servers.iter().for_each(|server| net.cut(*server, false));
        for end in encoders.iter_mut().filter_map(Option::take) {
            net.leave(end);
        }
        net.run(25 * SECOND);
        let last = net.encoder(servers[0], CAM).unwrap_or_else(|| panic!("seed {seed}: the name is free"));
        let players: Vec<_> = players
            .into_iter()
            .zip(&servers)
            .map(|(player, server)| {
                // Some were told that no server has the stream.
                let heard = net.heard(player);
                if heard.closed.is_some() || heard.has("rejected") { net.player(*server, CAM) } else { player }
            })
            .collect();
        for second in 0..5 {
            net.gop(last, second * 1000, 99);
            net.run(SECOND);
        }
        for player in &players {
            let heard = net.heard(*player);
            assert!(heard.counts(&peer::key_frame(99)) >= 3, "seed {seed}: {:?}", heard.events);
            assert!(heard.times().is_sorted(), "seed {seed}: {:?}", heard.times());
        }
        for end in players.into_iter().chain([last]) {
            net.leave(end);
        }
        net.run(60 * SECOND);
        net.is_idle(&servers);
    }
}
