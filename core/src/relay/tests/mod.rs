//! Servers with relays between them, in virtual time: what each side gets, and what operators learn.

mod backups;
mod cluster;
mod elsewhere;
mod leases;
mod origins;
mod pulling;
mod pushing;
mod shares;
mod targets;
mod tree;
mod upward;
mod viewers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;

use super::*;
use crate::client::{
    Client, ClientCloseReason, ClientConfig, ClientEvent, ClientOutput, Destination, PlayOptions, StreamHandle,
};
use crate::command::PublishType;
use crate::conn::{Action, AnyConn, AnyOutput, Batches, Config, Conn, Core, Ended, Subject, VhostConfig};
use crate::hub::StreamId;
use crate::message::Message;
use crate::policy::Verdict;
use crate::session::tests::peer;
use crate::session::{Accepts, CloseReason};

/// More turns than any test here needs.
const MOST_TURNS: u32 = 2_000_000;
/// What a socket takes that is not read.
const SOCKET: usize = 64 << 10;
/// How long bytes and connections take from one end to the other.
const LATENCY: Duration = Duration::from_millis(1);

/// Servers, clients, and the connections between them.
struct Net {
    now: Instant,
    servers: Vec<Server>,
    ends: BTreeMap<u64, End>,
    last_end: u64,
    /// What answers at an address; nothing answers at others: they refuse connections.
    hosts: BTreeMap<SocketAddr, Host>,
    names: BTreeMap<String, Vec<SocketAddr>>,
    /// Connections that are being made.
    opening: Vec<(Instant, usize, AttemptId, SocketAddr)>,
    /// Bytes and ends on their way.
    flying: Vec<(Instant, u64, Flight)>,
    /// Bytes on their way to each end.
    in_flight: BTreeMap<u64, usize>,
    reports: Vec<UplinkReport>,
    /// The directory of the servers that belong to a cluster.
    directory: cluster::Members,
    /// Whether connections of a stream share batches, as in the adapters; otherwise each is polled.
    shares: bool,
    /// How many batches each end got that way.
    shared: BTreeMap<u64, u32>,
    /// What a socket takes that is not read.
    socket: usize,
    /// All that servers wrote to each other, if it is to be kept.
    written: Option<BTreeMap<u64, Vec<u8>>>,
}

enum Flight {
    Bytes(Vec<u8>),
    End,
    Broken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    Server(usize),
    /// It accepts connections and never says anything.
    Mute,
    /// It does not answer.
    BlackHole,
}

struct Server {
    core: Core,
    remarks: Vec<Remark>,
    next: Option<Instant>,
    /// The answer of its back end, and the questions.
    verdict: Verdict,
    /// What its back end refuses, whatever else it says: parameters that contain this.
    wrong: Option<&'static str>,
    asked: usize,
    told: usize,
    /// The parameters of streams and the URLs of `connect` that it was asked about.
    params: Vec<String>,
    tc_urls: Vec<String>,
    ended: Vec<CloseReason>,
}

struct End {
    what: What,
    other: Option<u64>,
    /// Bytes that came and are not read.
    inbox: Vec<u8>,
    /// True if it does not read.
    frozen: bool,
    subscribed: BTreeSet<StreamId>,
    deadline: Option<Instant>,
    /// True if it is to be polled.
    touched: bool,
}

enum What {
    Conn {
        server: usize,
        conn: Box<AnyConn>,
    },
    Client {
        client: Box<Client>,
        stream: StreamHandle,
        heard: Heard,
    },
    /// A client by HTTP that has sent its request; what it has received.
    Viewer(Vec<u8>),
    Mute,
}

/// What a client of a test got.
#[derive(Debug, Default, Clone)]
struct Heard {
    events: Vec<String>,
    media: Vec<(u32, Vec<u8>)>,
    /// When the first frame came.
    first: Option<Instant>,
    closed: Option<ClientCloseReason>,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn key(text: &str) -> crate::url::StreamKey {
    text.parse().expect("a name")
}

impl Net {
    fn new() -> Self {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let now = Instant::now();
        Net {
            now,
            servers: Vec::new(),
            ends: BTreeMap::new(),
            last_end: 0,
            hosts: BTreeMap::new(),
            names: BTreeMap::new(),
            opening: Vec::new(),
            flying: Vec::new(),
            in_flight: BTreeMap::new(),
            reports: Vec::new(),
            directory: cluster::Members::new(now),
            shares: true,
            shared: BTreeMap::new(),
            socket: SOCKET,
            written: None,
        }
    }

    /// A server at `10.0.0.N:1935`, where N is its number from 1 on.
    fn server(&mut self, config: VhostConfig) -> usize {
        self.server_of(config.into())
    }

    fn server_of(&mut self, config: Config) -> usize {
        let at = self.servers.len();
        let core = Core::new(config, [at as u8 + 1; 32]);
        let verdict = Verdict::Allow;
        self.servers.push(Server {
            core,
            remarks: Vec::new(),
            next: None,
            verdict,
            wrong: None,
            asked: 0,
            told: 0,
            params: Vec::new(),
            tc_urls: Vec::new(),
            ended: Vec::new(),
        });
        self.hosts.insert(self.address_of(at), Host::Server(at));
        at
    }

    fn address_of(&self, server: usize) -> SocketAddr {
        address(&format!("10.0.0.{}:1935", server + 1))
    }

    fn add(&mut self, what: What, other: Option<u64>) -> u64 {
        self.last_end += 1;
        let end = End {
            what,
            other,
            inbox: Vec::new(),
            frozen: false,
            subscribed: BTreeSet::new(),
            deadline: None,
            touched: true,
        };
        self.ends.insert(self.last_end, end);
        self.last_end
    }

    /// Connects the end to a server.
    fn link(&mut self, end: u64, server: usize) {
        self.link_by(end, server, Accepts::Rtmp);
    }

    fn link_by(&mut self, end: u64, server: usize, accepts: Accepts) {
        let conn = self.servers[server].core.connect_by(self.now, Some(address("192.0.2.1:5000")), accepts);
        let other = self.add(What::Conn { server, conn: Box::new(conn.into()) }, Some(end));
        self.ends.get_mut(&end).expect("it is there").other = Some(other);
    }

    fn client(&mut self, server: usize, name: &str, publishes: bool) -> u64 {
        let url = format!("rtmp://{}/{name}", self.address_of(server));
        let destination = Destination::parse(&url).expect("a URL");
        self.client_with(server, ClientConfig::to(&destination), destination.stream(), publishes)
    }

    fn client_with(&mut self, server: usize, config: ClientConfig, name: &str, publishes: bool) -> u64 {
        let mut client = Client::new(Arc::new(config), [9; 32], self.now);
        let stream = match publishes {
            true => client.publish(name, PublishType::Live),
            false => client.play(name, PlayOptions::default()),
        };
        let (stream, heard) = (stream.expect("a stream"), Heard::default());
        let end = self.add(What::Client { client: Box::new(client), stream, heard }, None);
        self.link(end, server);
        end
    }

    fn publisher(&mut self, server: usize, name: &str) -> u64 {
        let end = self.client(server, name, true);
        self.run(Duration::from_millis(60));
        self.send(end, Message::video(0, peer::VIDEO_HEADER));
        self.send(end, Message::audio(0, peer::AUDIO_HEADER));
        end
    }

    fn player(&mut self, server: usize, name: &str) -> u64 {
        self.client(server, name, false)
    }

    fn send(&mut self, end: u64, message: Message) {
        let now = self.now;
        let end = self.ends.get_mut(&end).expect("it is there");
        if let What::Client { client, stream, .. } = &mut end.what {
            client.tell_time(now);
            // A stream that is not published takes nothing.
            let _ = client.send_message(*stream, message);
        }
        end.touched = true;
    }

    /// A key frame and a frame behind it.
    fn gop(&mut self, end: u64, time: u32, number: u8) {
        self.send(end, Message::video(time, &peer::key_frame(number)[..]));
        self.send(end, Message::audio(time + 10, &peer::audio_frame(number)[..]));
        self.send(end, Message::video(time + 40, &peer::inter_frame(number)[..]));
    }

    /// The same for each second of a time.
    fn stream(&mut self, end: u64, from: u32, seconds: u32) {
        for second in from..from + seconds {
            self.gop(end, second * 1000, second as u8);
            self.run(Duration::from_secs(1));
        }
    }

    fn heard(&self, end: u64) -> Heard {
        match &self.ends[&end].what {
            What::Client { heard, .. } => heard.clone(),
            _ => panic!("it is no client"),
        }
    }

    /// The client goes away without a word.
    fn leave(&mut self, end: u64) {
        if let Some(other) = self.ends.remove(&end).and_then(|end| end.other) {
            self.flying.push((self.now + LATENCY, other, Flight::End));
        }
    }

    /// The server's process is killed; nothing answers at its address.
    fn kill(&mut self, server: usize) {
        self.hosts.remove(&self.address_of(server));
        let of_server = |end: &End| matches!(&end.what, What::Conn { server: at, .. } if *at == server);
        let ends: Vec<u64> = self.ends.iter().filter(|(_, end)| of_server(end)).map(|(id, _)| *id).collect();
        for end in ends {
            if let Some(other) = self.ends.remove(&end).and_then(|end| end.other) {
                self.flying.push((self.now + LATENCY, other, Flight::Broken));
            }
        }
    }

    /// The connections that the server has opened are reset.
    fn break_uplinks(&mut self, server: usize) {
        let is_uplink = |end: &&End| matches!(&end.what, What::Conn { server: at, conn } if *at == server && matches!(**conn, AnyConn::Uplink(_)));
        let of = |(id, end): (&u64, &End)| is_uplink(&end).then_some([Some(*id), end.other]);
        let both: Vec<u64> = self.ends.iter().filter_map(of).flatten().flatten().collect();
        self.flying.extend(both.into_iter().map(|end| (self.now + LATENCY, end, Flight::Broken)));
    }

    /// It is back, with these settings and without any memory.
    fn revive(&mut self, server: usize, config: VhostConfig) {
        self.servers[server].core = Core::new(Config::from(config), [server as u8 + 101; 32]);
        self.hosts.insert(self.address_of(server), Host::Server(server));
    }

    /// The connections that servers have opened and that are open.
    fn uplinks(&self, server: usize) -> Vec<&Uplink> {
        let of_server = |end: &'_ End| match &end.what {
            What::Conn { server: at, .. } => *at == server,
            _ => false,
        };
        self.ends
            .values()
            .filter(|end| of_server(end))
            .filter_map(|end| match &end.what {
                What::Conn { conn, .. } => match &**conn {
                    AnyConn::Uplink(uplink) => Some(&**uplink),
                    AnyConn::Client(_) => None,
                },
                _ => None,
            })
            .collect()
    }

    /// Freezes the other end of a server's uplinks: it reads nothing any more.
    fn freeze_peers(&mut self, server: usize, frozen: bool) {
        let is_uplink = |end: &&End| matches!(&end.what, What::Conn { server: at, conn } if *at == server && matches!(**conn, AnyConn::Uplink(_)));
        let others: Vec<u64> = self.ends.values().filter(is_uplink).filter_map(|end| end.other).collect();
        for other in others {
            if let Some(end) = self.ends.get_mut(&other) {
                end.frozen = frozen;
                end.touched = true;
            }
        }
    }

    /// Calls each connection of a client of the server.
    fn each_conn(&mut self, server: usize, mut call: impl FnMut(&mut Conn)) {
        for end in self.ends.values_mut() {
            if let What::Conn { server: at, conn } = &mut end.what
                && *at == server
                && let Some(client) = conn.as_client()
            {
                call(client);
                end.touched = true;
            }
        }
    }

    fn list(&self, server: usize) -> Vec<RelaySnapshot> {
        self.servers[server].core.relays().list(self.now)
    }

    fn states(&self, server: usize) -> Vec<RelayState> {
        self.list(server).iter().map(|relay| relay.state).collect()
    }

    /// The names of what operators have learned since the last call.
    fn remarks(&mut self, server: usize) -> Vec<String> {
        let remarks = std::mem::take(&mut self.servers[server].remarks);
        remarks.iter().map(|remark| remark.name().trim_start_matches("relay_").to_owned()).collect()
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for turn in 0.. {
            assert!(turn < MOST_TURNS, "something asks to be looked at and does nothing then");
            self.settle();
            let opening = self.opening.iter().map(|(at, ..)| *at);
            let flying = self.flying.iter().map(|(at, ..)| *at);
            let deadlines = self.ends.values().filter_map(|end| end.deadline);
            let drivers = self.servers.iter().filter_map(|server| server.next).chain(self.directory.next());
            match opening.chain(flying).chain(deadlines).chain(drivers).min().filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
        }
        self.now = end;
    }

    /// Does all that is due now.
    fn settle(&mut self) {
        loop {
            let mut busy = self.drive();
            busy |= self.consult();
            busy |= self.open();
            busy |= self.land();
            let due: Vec<u64> = self.ends.iter().filter(|(_, end)| self.is_due(end)).map(|(id, _)| *id).collect();
            busy |= !due.is_empty();
            for id in due {
                self.serve(id);
            }
            if !busy {
                break;
            }
        }
    }

    fn is_due(&self, end: &End) -> bool {
        end.touched || end.deadline.is_some_and(|at| at <= self.now) || !end.frozen && !end.inbox.is_empty()
    }

    /// Serves all ends, and no driver.
    fn serve_all(&mut self) {
        self.land();
        let due: Vec<u64> = self.ends.iter().filter(|(_, end)| self.is_due(end)).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.serve(id));
    }

    /// Polls the relays of all servers.
    fn drive(&mut self) -> bool {
        let mut busy = false;
        for at in 0..self.servers.len() {
            let relays = self.servers[at].core.relays().clone();
            for turn in 0.. {
                assert!(turn < MOST_TURNS, "orders without end");
                match relays.poll(self.now) {
                    Order::Wait(next) => {
                        self.servers[at].next = next;
                        break;
                    }
                    order => self.obey(at, &relays, order),
                }
                busy = true;
            }
        }
        busy
    }

    fn obey(&mut self, at: usize, relays: &Relays, order: Order) {
        let conn_of = |net: &mut Net, number: u64| {
            let is_it =
                |end: &End| matches!(&end.what, What::Conn { server, conn } if *server == at && conn.id() == number);
            net.ends.iter().find(|(_, end)| is_it(end)).map(|(id, _)| *id)
        };
        match order {
            Order::Resolve { attempt, host, port } => match self.names.get(&host) {
                Some(addresses) => {
                    let with_port = |address: &SocketAddr| SocketAddr::new(address.ip(), port);
                    relays.resolved(self.now, attempt, addresses.iter().map(with_port).collect());
                }
                None => relays.failed(self.now, attempt, Failure::Resolve("no such host".to_owned())),
            },
            Order::Connect { attempt, address, .. } => self.opening.push((self.now + LATENCY, at, attempt, address)),
            Order::Abort(attempt) => self.opening.retain(|(_, server, known, _)| (*server, *known) != (at, attempt)),
            Order::Answer { connection, ask, verdict } => {
                if let Some(id) = conn_of(self, connection)
                    && let Some(End { what: What::Conn { conn, .. }, touched, .. }) = self.ends.get_mut(&id)
                    && let Some(client) = conn.as_client()
                {
                    client.answer(self.now, ask, verdict);
                    *touched = true;
                }
            }
            Order::Close { connection, reason } => {
                if let Some(id) = conn_of(self, connection)
                    && let Some(End { what: What::Conn { conn, .. }, touched, .. }) = self.ends.get_mut(&id)
                {
                    conn.close(reason);
                    *touched = true;
                }
            }
            Order::LoseName { connection, key } => {
                if let Some(id) = conn_of(self, connection)
                    && let Some(End { what: What::Conn { conn, .. }, touched, .. }) = self.ends.get_mut(&id)
                    && let Some(client) = conn.as_client()
                {
                    client.lose_name(&key);
                    *touched = true;
                }
            }
            Order::Poll { connection } => {
                if let Some(id) = conn_of(self, connection) {
                    self.ends.get_mut(&id).expect("it is there").touched = true;
                }
            }
            Order::Wake(stream) => self.wake(at, stream),
            Order::Remark(remark) => self.servers[at].remarks.push(remark),
            Order::Wait(_) => {}
        }
    }

    fn wake(&mut self, server: usize, stream: StreamId) {
        let is_of = |end: &End| {
            matches!(&end.what, What::Conn { server: at, .. } if *at == server) && end.subscribed.contains(&stream)
        };
        let woken: Vec<u64> = self.ends.iter().filter(|(_, end)| is_of(end)).map(|(id, _)| *id).collect();
        let mut batches = Batches::default();
        for id in woken {
            if !(self.shares && self.write_share(id, &mut batches)) {
                self.ends.get_mut(&id).expect("it is there").touched = true;
            }
        }
    }

    /// Writes what is new to an end without polling it. False if it is to be polled.
    fn write_share(&mut self, id: u64, batches: &mut Batches) -> bool {
        let (now, room) = (self.now, self.room(self.ends[&id].other));
        let end = self.ends.get_mut(&id).expect("it is there");
        let (What::Conn { conn, .. }, Some(other)) = (&mut end.what, end.other) else {
            return false;
        };
        let Some(share) = conn.share(batches) else {
            return false;
        };
        let count = share.bytes().len().min(room);
        let sent = share.bytes()[..count].to_vec();
        let goes_on = conn.wrote(now, share, count).expect("it is its own");
        *self.shared.entry(id).or_default() += 1;
        self.dispatch(id, other, sent);
        goes_on
    }

    /// What the socket to this end takes at present.
    fn room(&self, other: Option<u64>) -> usize {
        let flying = other.and_then(|other| self.in_flight.get(&other)).copied().unwrap_or(0);
        let waiting = other.and_then(|other| self.ends.get(&other)).map_or(0, |other| other.inbox.len());
        self.socket.saturating_sub(flying + waiting)
    }

    fn dispatch(&mut self, from: u64, to: u64, bytes: Vec<u8>) {
        if let Some(written) = &mut self.written {
            written.entry(from).or_default().extend_from_slice(&bytes);
        }
        if !bytes.is_empty() {
            *self.in_flight.entry(to).or_default() += bytes.len();
            self.flying.push((self.now + LATENCY, to, Flight::Bytes(bytes)));
        }
    }

    /// How many batches the uplinks of a server got without being polled.
    fn shared_upward(&self, server: usize) -> u32 {
        let is_uplink = |end: &&End| matches!(&end.what, What::Conn { server: at, conn } if *at == server && matches!(**conn, AnyConn::Uplink(_)));
        let of = |(id, end): (&u64, &End)| is_uplink(&end).then(|| self.shared.get(id).copied().unwrap_or(0));
        self.ends.iter().filter_map(of).sum()
    }

    /// Makes the connections whose time has come.
    fn open(&mut self) -> bool {
        let now = self.now;
        let due: Vec<_> = self.opening.extract_if(.., |(at, ..)| *at <= now).collect();
        let busy = !due.is_empty();
        for (_, at, attempt, address) in due {
            let relays = self.servers[at].core.relays().clone();
            match self.hosts.get(&address).copied() {
                None => relays.failed(self.now, attempt, Failure::Connect("Connection refused".to_owned())),
                Some(Host::BlackHole) => {}
                Some(host) => {
                    if let Some(uplink) = relays.connected(self.now, attempt, address) {
                        let end = self.add(What::Conn { server: at, conn: Box::new(uplink.into()) }, None);
                        match host {
                            Host::Server(server) => self.link(end, server),
                            _ => {
                                let other = self.add(What::Mute, Some(end));
                                self.ends.get_mut(&end).expect("it is there").other = Some(other);
                            }
                        }
                    }
                }
            }
        }
        busy
    }

    /// Hands over what has arrived.
    fn land(&mut self) -> bool {
        let now = self.now;
        let due: Vec<_> = self.flying.extract_if(.., |(at, ..)| *at <= now).collect();
        let busy = !due.is_empty();
        for (_, id, flight) in due {
            if let (Flight::Bytes(bytes), Some(count)) = (&flight, self.in_flight.get_mut(&id)) {
                *count -= bytes.len();
            }
            let Some(end) = self.ends.get_mut(&id) else {
                continue;
            };
            match flight {
                Flight::Bytes(bytes) => end.inbox.extend(bytes),
                Flight::End | Flight::Broken if matches!(end.what, What::Mute) => _ = self.ends.remove(&id),
                Flight::End | Flight::Broken => {
                    end.touched = true;
                    let bytes = std::mem::take(&mut end.inbox);
                    let broken = matches!(flight, Flight::Broken);
                    match &mut end.what {
                        What::Conn { conn, .. } => {
                            conn.handle_input(now, &bytes);
                            let words = "Connection reset by peer".to_owned();
                            let reason = if broken { CloseReason::PeerLost(words) } else { CloseReason::PeerClosed };
                            conn.handle_disconnect(now, reason);
                        }
                        What::Client { client, .. } => {
                            let _ = client.handle_input(now, &bytes);
                            client.handle_disconnect(now, ClientCloseReason::PeerClosed);
                        }
                        What::Viewer(received) => received.extend(bytes),
                        What::Mute => {}
                    }
                }
            }
        }
        busy
    }

    /// Serves one end: reads, polls, writes.
    fn serve(&mut self, id: u64) {
        let now = self.now;
        let Some(mut end) = self.ends.remove(&id) else {
            return;
        };
        end.touched = false;
        let due = end.deadline.is_some_and(|at| at <= now);
        let bytes = if end.frozen { Vec::new() } else { std::mem::take(&mut end.inbox) };
        let (mut wakes, mut gone, mut finishes) = (Vec::new(), false, false);
        let room = self.room(end.other);
        let sent = match &mut end.what {
            What::Mute => Vec::new(),
            What::Viewer(received) => {
                received.extend_from_slice(&bytes);
                Vec::new()
            }
            What::Conn { server, conn } => {
                let server = *server;
                if !bytes.is_empty() {
                    conn.handle_input(now, &bytes);
                }
                if due {
                    conn.handle_timeout(now);
                }
                let mut sent = Vec::new();
                loop {
                    match conn.poll(now) {
                        AnyOutput::Action(Action::Subscribe(stream)) => _ = end.subscribed.insert(stream),
                        AnyOutput::Action(Action::Unsubscribe(stream)) => _ = end.subscribed.remove(&stream),
                        AnyOutput::Action(Action::Wake(stream)) => wakes.push((server, stream)),
                        AnyOutput::Action(Action::Finish) => finishes = true,
                        AnyOutput::Action(Action::Ask(ask)) => {
                            self.servers[server].asked += 1;
                            let params = match &ask.subject {
                                Subject::Publish(facts) | Subject::Play(facts) => Some(facts.params.clone()),
                                Subject::Connect | Subject::Traverse(_) => None,
                            };
                            let wrong = self.servers[server].wrong;
                            let is_wrong =
                                params.iter().any(|params| wrong.is_some_and(|wrong| params.contains(wrong)));
                            self.servers[server].params.extend(params);
                            self.servers[server].tc_urls.extend(ask.client.tc_url.clone());
                            let mut verdict = self.servers[server].verdict.clone();
                            if is_wrong {
                                verdict = Verdict::Deny("wrong token".to_owned());
                            }
                            conn.as_client().expect("uplinks ask nothing").answer(now, ask.id, verdict);
                        }
                        AnyOutput::Action(Action::Notify(_)) => self.servers[server].told += 1,
                        AnyOutput::Action(_) => {}
                        AnyOutput::Closed(ended) => {
                            match ended {
                                Ended::Client(report) => self.servers[server].ended.push(report.close.reason),
                                Ended::Uplink(report) => self.reports.push(report),
                            }
                            gone = true;
                            break;
                        }
                        AnyOutput::Wait(wait) => {
                            end.deadline = wait.deadline();
                            let left = room - sent.len().min(room);
                            let outbound = conn.outbound();
                            let count = outbound.remaining().min(left);
                            if count == 0 {
                                break;
                            }
                            sent.extend_from_slice(&outbound.copy_to_bytes(count));
                        }
                    }
                }
                sent
            }
            What::Client { client, heard, .. } => {
                if !bytes.is_empty() {
                    let _ = client.handle_input(now, &bytes);
                }
                client.handle_timeout(now);
                loop {
                    match client.poll_output() {
                        ClientOutput::Event(event) => heard.note(now, event),
                        ClientOutput::Wait(wait) => {
                            end.deadline = wait.deadline();
                            break;
                        }
                        ClientOutput::Closed(close) => {
                            heard.closed = Some(close.reason);
                            end.deadline = None;
                            break;
                        }
                    }
                }
                let count = client.outbound().remaining().min(room);
                client.outbound().copy_to_bytes(count).to_vec()
            }
        };
        if let Some(other) = end.other {
            self.dispatch(id, other, sent);
            let client_closed = matches!(&end.what, What::Client { heard, .. } if heard.closed.is_some());
            if finishes {
                self.flying.push((now + LATENCY, other, Flight::End));
            }
            if gone || client_closed {
                self.flying.push((now + LATENCY, other, Flight::End));
                end.other = None;
            }
        }
        if !gone {
            self.ends.insert(id, end);
        }
        for (server, stream) in wakes {
            self.wake(server, stream);
        }
        // What waits for room in the socket goes on when the other end has read.
        if let Some(other) = self.ends.get(&id).and_then(|end| end.other)
            && let Some(other) = self.ends.get_mut(&other)
            && !bytes.is_empty()
        {
            other.touched = true;
        }
    }
}

impl Heard {
    fn note(&mut self, now: Instant, event: ClientEvent) {
        match event {
            ClientEvent::Media { message, .. } => {
                self.first.get_or_insert(now);
                self.media.push((message.timestamp, message.payload.to_vec()));
            }
            ClientEvent::Connected(_) => self.events.push("connected".to_owned()),
            ClientEvent::Publishing { .. } => self.events.push("publishing".to_owned()),
            ClientEvent::Playing { .. } => self.events.push("playing".to_owned()),
            ClientEvent::Ended { reason, .. } => self.events.push(format!("ended {reason:?}")),
            ClientEvent::PublishNotify { .. } => self.events.push("published".to_owned()),
            ClientEvent::Rejected { rejection, .. } => {
                self.events.push(format!("rejected {}: {}", rejection.code, rejection.description));
            }
            other => self.events.push(format!("{other:?}").chars().take(60).collect()),
        }
    }

    fn has(&self, word: &str) -> bool {
        self.events.iter().any(|event| event.contains(word))
    }

    /// The timestamps of coded frames, without headers.
    fn times(&self) -> Vec<u32> {
        self.media.iter().filter(|(_, body)| is_coded(body)).map(|(time, _)| *time).collect()
    }

    fn counts(&self, body: &[u8]) -> usize {
        self.media.iter().filter(|(_, known)| known == body).count()
    }
}

fn is_coded(body: &[u8]) -> bool {
    matches!(body, [0x17 | 0x27, 1, ..] | [0xaf, 1, ..])
}
