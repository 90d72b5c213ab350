//! Rights and counts against a simple model. Several clients of two virtual hosts connect, publish and play in any
//! order, with their own host's name or with `?vhost=`. They wait for verdicts, are granted, also under another name,
//! or refused, lose their stream to a take-over, and leave, with limits that change, and with an application in each
//! host that comes and goes. After each step, the server's counts are equal to the model's counts, the server has
//! granted and refused the same requests, and the back end got the same questions and notices.

#[path = "support/client.rs"]
mod client;
mod support;

use std::net::SocketAddr;
use std::time::Instant;

use anabranch_core::amf::{Object, Value};
use anabranch_core::command::Command;
use anabranch_core::conn::{Action, AskId, Asks, ClientFacts, Config, Core, Subject, Verdict, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::message::MessageType;
use anabranch_core::policy::{Application, Applications, Limits, Vhost, Vhosts};
use anabranch_core::session::CloseReason;
use anabranch_core::url::StreamKey;
use client::Client;
use proptest::prelude::*;
use support::any_instant;

const HOSTS: [&str; 2] = ["a.example", "b.example"];
const NAMES: [&str; 2] = ["cam", "door"];
/// The stream that is in the application of its virtual host, if there is one.
const DOOR: usize = 1;
/// A publisher with an empty token cannot take over a stream.
const TOKENS: [&str; 3] = ["", "?token=one", "?token=two"];
/// Two addresses of one network, one of another.
const ADDRESSES: [&str; 3] = ["192.0.2.1:1", "192.0.2.2:1", "198.51.100.1:1"];

#[derive(Debug, Clone, Copy)]
enum Step {
    Connect {
        address: usize,
        host: usize,
    },
    Want {
        client: usize,
        want: Want,
    },
    Media {
        client: usize,
    },
    Stop {
        client: usize,
    },
    Answer {
        client: usize,
        reply: Reply,
    },
    Leave {
        client: usize,
    },
    Limit {
        host: usize,
        limits: Limits,
    },
    /// Another application in a host, or none.
    Application {
        host: usize,
        application: Option<Rules>,
    },
}

/// What the back end answers.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Allow,
    Deny,
    /// Under this name.
    Rename(usize),
}

/// A client's request for a stream.
#[derive(Debug, Clone, Copy)]
struct Want {
    publish: bool,
    host: usize,
    name: usize,
    /// The name that the client asked for.
    asked_name: usize,
    token: usize,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    limits: Limits,
    /// For `connect`, `publish` and `play`.
    asks: [bool; 3],
}

#[derive(Debug, Clone, Copy)]
struct Host {
    takes_over: bool,
    own: Rules,
    /// The rules of the application for [`DOOR`].
    application: Option<Rules>,
}

impl Host {
    fn of(&self, name: usize) -> Rules {
        self.application.filter(|_| name == DOOR).unwrap_or(self.own)
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    let most = || prop_oneof![2 => Just(None), 3 => (0u32..4).prop_map(Some)];
    (most(), most(), most(), most(), most(), most()).prop_map(
        |(connections, publishers, players, stream_players, streams, questions)| Limits {
            connections: connections.map(|most| most + 1),
            publishers,
            players,
            stream_players,
            streams,
            questions: questions.map(|most| most + 1),
            publisher_rate: None,
        },
    )
}

fn rules() -> impl Strategy<Value = Rules> {
    (limits(), any::<[bool; 3]>()).prop_map(|(limits, asks)| Rules { limits, asks })
}

fn host() -> impl Strategy<Value = Host> {
    let application = prop::option::of(rules());
    (any::<bool>(), rules(), application).prop_map(|(takes_over, own, application)| Host {
        takes_over,
        own,
        application,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let want = (any::<bool>(), 0..HOSTS.len(), 0..NAMES.len(), 0..TOKENS.len())
        .prop_map(|(publish, host, name, token)| Want { publish, host, name, asked_name: name, token });
    let reply = prop_oneof![
        6 => Just(Reply::Allow),
        2 => Just(Reply::Deny),
        2 => (0..NAMES.len()).prop_map(Reply::Rename),
    ];
    let step = prop_oneof![
        6 => (0..ADDRESSES.len(), 0..HOSTS.len()).prop_map(|(address, host)| Step::Connect { address, host }),
        8 => (any::<usize>(), want).prop_map(|(client, want)| Step::Want { client, want }),
        2 => any::<usize>().prop_map(|client| Step::Media { client }),
        2 => any::<usize>().prop_map(|client| Step::Stop { client }),
        8 => (any::<usize>(), reply).prop_map(|(client, reply)| Step::Answer { client, reply }),
        2 => any::<usize>().prop_map(|client| Step::Leave { client }),
        1 => (0..HOSTS.len(), limits()).prop_map(|(host, limits)| Step::Limit { host, limits }),
        1 => (0..HOSTS.len(), prop::option::of(rules()))
            .prop_map(|(host, application)| Step::Application { host, application }),
    ];
    prop::collection::vec(step, 1..100)
}

/// The request that a client waits for.
#[derive(Debug, Clone, Copy)]
enum Request {
    Connect,
    /// The client must be admitted to another host first.
    Enter(Want),
    Stream(Want),
}

/// What a client does, and whether the back end was asked about it.
#[derive(Debug, Clone, Copy)]
struct Does {
    want: Want,
    asked: bool,
    superseded: bool,
}

/// A client in the model.
#[derive(Debug, Clone)]
struct Guest {
    address: usize,
    own: usize,
    /// The hosts that the client is in, in the order of entering, and whether the back end was asked about each.
    hosts: Vec<(usize, bool)>,
    does: Option<Does>,
    pending: Option<Request>,
}

#[derive(Debug)]
struct Model {
    hosts: [Host; HOSTS.len()],
    guests: Vec<Guest>,
    /// The questions and notices to the back end in this step.
    said: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Refused;

fn full(most: Option<u32>, present: usize) -> bool {
    most.is_some_and(|most| present >= most as usize)
}

impl Model {
    fn does(&self, host: usize) -> impl Iterator<Item = Does> {
        let does = self.guests.iter().filter_map(|guest| guest.does);
        does.filter(move |does| does.want.host == host && !does.superseded)
    }

    fn connections(&self, host: usize) -> usize {
        self.guests.iter().filter(|guest| guest.hosts.iter().any(|(known, _)| *known == host)).count()
    }

    fn publishers(&self, host: usize) -> usize {
        self.does(host).filter(|does| does.want.publish).count()
    }

    fn players(&self, host: usize) -> usize {
        self.does(host).filter(|does| !does.want.publish).count()
    }

    fn streams(&self, host: usize) -> usize {
        (0..NAMES.len()).filter(|name| self.does(host).any(|does| does.want.name == *name)).count()
    }

    /// The addresses of the clients with an open question.
    fn questions(&self, host: usize) -> Vec<usize> {
        let asked = |guest: &&Guest| match guest.pending {
            Some(Request::Connect) => guest.own == host,
            Some(Request::Enter(want) | Request::Stream(want)) => want.host == host,
            None => false,
        };
        self.guests.iter().filter(asked).map(|guest| guest.address).collect()
    }

    fn connect(&mut self, address: usize, host: usize) -> Result<(), Refused> {
        self.guests.push(Guest { address, own: host, hosts: Vec::new(), does: None, pending: None });
        let client = self.guests.len() - 1;
        if full(self.hosts[host].own.limits.connections, self.connections(host)) {
            return Err(Refused);
        }
        self.ask_or_grant(client, Request::Connect)
    }

    fn want(&mut self, client: usize, want: Want) -> Result<(), Refused> {
        if self.guests[client].hosts.iter().all(|(known, _)| *known != want.host) {
            if full(self.hosts[want.host].own.limits.connections, self.connections(want.host)) {
                return Err(Refused);
            }
            return self.ask_or_grant(client, Request::Enter(want));
        }
        self.check(want)?;
        self.ask_or_grant(client, Request::Stream(want))
    }

    fn holder(&self, want: Want) -> Option<usize> {
        let holds = |does: Does| {
            does.want.publish && !does.superseded && (does.want.host, does.want.name) == (want.host, want.name)
        };
        self.guests.iter().position(|guest| guest.does.is_some_and(holds))
    }

    fn check(&self, want: Want) -> Result<(), Refused> {
        let host = &self.hosts[want.host];
        let (all, here) = (host.own.limits, host.of(want.name).limits);
        let same = || self.does(want.host).filter(|does| does.want.name == want.name);
        let [publishers, players] = [true, false].map(|kind| same().filter(|does| does.want.publish == kind).count());
        let in_application = want.name == DOOR && host.application.is_some();
        let is_new = publishers + players == 0;
        // The door is the only stream of its application.
        let full_application = |most: Option<u32>, present: usize| in_application && full(most, present);
        let no_stream = is_new && (full(all.streams, self.streams(want.host)) || full_application(here.streams, 0));
        let refused = if !want.publish {
            no_stream
                || full(all.players, self.players(want.host))
                || full_application(here.players, players)
                || full(here.stream_players, players)
        } else if let Some(holder) = self.holder(want) {
            let token = self.guests[holder].does.expect("it holds the name").want.token;
            !host.takes_over || token == 0 || token != want.token
        } else {
            no_stream
                || full(all.publishers, self.publishers(want.host))
                || full_application(here.publishers, publishers)
        };
        if refused { Err(Refused) } else { Ok(()) }
    }

    fn ask_or_grant(&mut self, client: usize, request: Request) -> Result<(), Refused> {
        let (host, asks) = match request {
            Request::Connect => (self.guests[client].own, self.hosts[self.guests[client].own].own.asks[0]),
            Request::Enter(want) => (want.host, self.hosts[want.host].own.asks[0]),
            Request::Stream(want) => {
                (want.host, self.hosts[want.host].of(want.name).asks[if want.publish { 1 } else { 2 }])
            }
        };
        if !asks {
            return self.grant(client, request, false);
        }
        let (open, address) = (self.questions(host), self.guests[client].address);
        if let Some(most) = self.hosts[host].own.limits.questions {
            let free = (most as usize).saturating_sub(open.len());
            let mine = open.iter().filter(|other| **other == address).count();
            let near = open.iter().filter(|other| (**other < 2) == (address < 2)).count();
            if free == 0 || mine >= free || near >= 2 * free {
                return Err(Refused);
            }
        }
        self.log("ask", client, request);
        self.guests[client].pending = Some(request);
        Ok(())
    }

    fn log(&mut self, what: &str, client: usize, request: Request) {
        let word = match request {
            Request::Connect => format!("{what} {}", HOSTS[self.guests[client].own]),
            Request::Enter(want) => format!("{what} {}", HOSTS[want.host]),
            Request::Stream(want) => {
                let kind = if want.publish { "publish" } else { "play" };
                let name = NAMES[want.asked_name];
                let key = StreamKey::new(HOSTS[want.host], "live", name).expect("a name");
                format!("{what} {kind} {key}")
            }
        };
        self.said.push(word);
    }

    fn grant(&mut self, client: usize, request: Request, asked: bool) -> Result<(), Refused> {
        let granted = match request {
            Request::Connect => self.enter(client, self.guests[client].own, asked),
            Request::Enter(want) => self.enter(client, want.host, asked),
            Request::Stream(want) => self.check(want),
        };
        if granted.is_err() {
            if asked {
                self.log("tell", client, request);
            }
            return Err(Refused);
        }
        match request {
            Request::Connect => {}
            Request::Enter(want) => self.want(client, want)?,
            Request::Stream(want) => {
                if let (true, Some(holder)) = (want.publish, self.holder(want)) {
                    self.guests[holder].does.as_mut().expect("it holds the name").superseded = true;
                }
                self.guests[client].does = Some(Does { want, asked, superseded: false });
            }
        }
        Ok(())
    }

    fn enter(&mut self, client: usize, host: usize, asked: bool) -> Result<(), Refused> {
        if full(self.hosts[host].own.limits.connections, self.connections(host)) {
            return Err(Refused);
        }
        self.guests[client].hosts.push((host, asked));
        Ok(())
    }

    fn answer(&mut self, client: usize, reply: Reply) -> Result<(), Refused> {
        let request = self.guests[client].pending.take().expect("it waits");
        match (reply, request) {
            (Reply::Deny, _) => Err(Refused),
            // A client cannot get another app in a virtual host that it enters.
            (Reply::Rename(_), Request::Enter(_)) => {
                self.log("tell", client, request);
                Err(Refused)
            }
            (Reply::Rename(name), Request::Stream(want)) => {
                self.grant(client, Request::Stream(Want { name, ..want }), true)
            }
            (Reply::Allow | Reply::Rename(_), _) => self.grant(client, request, true),
        }
    }

    fn stop(&mut self, client: usize) {
        if let Some(Does { want, asked: true, .. }) = self.guests[client].does.take() {
            self.log("tell", client, Request::Stream(want));
        }
    }

    fn end(&mut self, client: usize) {
        if let Some(request) = self.guests[client].pending.take() {
            self.log("tell", client, request);
        }
        self.stop(client);
        while let Some((host, asked)) = self.guests[client].hosts.pop() {
            if asked {
                self.said.push(format!("tell {}", HOSTS[host]));
            }
        }
        self.guests.remove(client);
    }
}

/// The server and the model.
struct Run {
    server: Core,
    now: Instant,
    model: Model,
    clients: Vec<Client>,
    /// The last question about each client.
    asked: Vec<Option<AskId>>,
}

fn config(hosts: &[Host]) -> Config {
    let vhosts = hosts.iter().zip(HOSTS).map(|(host, name)| {
        let settings = |rules: Rules| {
            let [connect, publish, play] = rules.asks;
            VhostConfig {
                limits: rules.limits,
                conflict: if host.takes_over { Conflict::TakeOver } else { Conflict::Reject },
                asks: Asks { connect, publish, play, ..Asks::default() },
                ..VhostConfig::default()
            }
        };
        let streams = vec![format!("*/{}", NAMES[DOOR]).parse().expect("a pattern")];
        let application = host.application.map(|rules| Application { streams, settings: settings(rules) });
        Vhost::new(name, VhostConfig { applications: Applications::new(application), ..settings(host.own) })
    });
    Config { vhosts: Vhosts::new(vhosts).expect("two names"), ..Config::default() }
}

fn word(what: &str, subject: &Subject, client: &ClientFacts) -> String {
    match subject {
        Subject::Connect => format!("{what} {}", client.vhost),
        Subject::Publish(facts) => format!("{what} publish {}", facts.key),
        Subject::Play(facts) => format!("{what} play {}", facts.key),
        Subject::Traverse(_) => panic!("there is no server upstream"),
    }
}

fn pick(client: usize, of: &Model, fits: impl Fn(&Guest) -> bool) -> Option<usize> {
    let fitting: Vec<_> = (0..of.guests.len()).filter(|index| fits(&of.guests[*index])).collect();
    fitting.get(client.checked_rem(fitting.len())?).copied()
}

impl Run {
    fn step(&mut self, step: Step) {
        let (now, idle) = (self.now, |guest: &Guest| guest.pending.is_none() && guest.does.is_none());
        match step {
            Step::Connect { address, host } => {
                if self.clients.len() == 7 {
                    return;
                }
                let peer: SocketAddr = ADDRESSES[address].parse().expect("an address");
                let mut client = Client::on(self.server.connect_from(now, peer), now);
                let url = format!("rtmp://{}/live", HOSTS[host]);
                let object = Object::default().with("app", "live").with("tcUrl", url.as_str());
                client.call(now, 0, &Command::new("connect", 1.0, Value::Object(object)));
                client.call(now, 0, &Command::new("createStream", 2.0, Value::Null));
                self.clients.push(client);
                self.asked.push(None);
                let may = self.model.connect(address, host);
                self.judge(self.clients.len() - 1, may);
            }
            Step::Want { client, want } => {
                let Some(client) = pick(client, &self.model, idle) else { return };
                let kind = if want.publish { "publish" } else { "play" };
                let mark = if want.token == 0 { '?' } else { '&' };
                let name = format!("{}{}{mark}vhost={}", NAMES[want.name], TOKENS[want.token], HOSTS[want.host]);
                self.clients[client].call(now, 1, &Command::new(kind, 0.0, Value::Null).with(name.as_str()));
                let may = self.model.want(client, want);
                self.judge(client, may);
            }
            Step::Media { client } => {
                let publishes = |guest: &Guest| guest.does.is_some_and(|does| does.want.publish);
                let Some(client) = pick(client, &self.model, publishes) else { return };
                self.clients[client].message(now, MessageType::VIDEO, 1, 0, &[0x17, 1, 0, 0, 0, 9]);
                let superseded = self.model.guests[client].does.is_some_and(|does| does.superseded);
                self.judge(client, if superseded { Err(Refused) } else { Ok(()) });
            }
            Step::Stop { client } => {
                let Some(client) = pick(client, &self.model, |guest| guest.does.is_some()) else { return };
                self.clients[client].call(now, 1, &Command::new("closeStream", 0.0, Value::Null));
                self.model.stop(client);
            }
            Step::Answer { client, reply } => {
                let Some(client) = pick(client, &self.model, |guest| guest.pending.is_some()) else { return };
                let id = self.asked[client].expect("there is a question about it");
                let verdict = match (reply, self.model.guests[client].pending) {
                    (Reply::Allow, _) => Verdict::Allow,
                    (Reply::Deny, _) => Verdict::Deny("no".to_owned()),
                    // The same app, so that the names of its streams stay.
                    (Reply::Rename(_), Some(Request::Connect)) => Verdict::Rename("live".to_owned()),
                    (Reply::Rename(name), _) => Verdict::Rename(NAMES[name].to_owned()),
                };
                self.clients[client].conn.answer(now, id, verdict);
                self.clients[client].serve(now);
                let may = self.model.answer(client, reply);
                self.judge(client, may);
            }
            Step::Leave { client } => {
                let Some(client) = pick(client, &self.model, |_| true) else { return };
                self.end(client);
            }
            Step::Limit { host, limits } => {
                self.model.hosts[host].own.limits = limits;
                self.reconfigure();
            }
            Step::Application { host, application } => {
                self.model.hosts[host].application = application;
                self.reconfigure();
            }
        }
    }

    fn reconfigure(&mut self) {
        self.server.reconfigure(config(&self.model.hosts));
        for client in &mut self.clients {
            client.conn.reconfigured();
            client.serve(self.now);
        }
    }

    /// Refused clients are closed, and no others.
    fn judge(&mut self, client: usize, may: Result<(), Refused>) {
        let closing = self.clients[client].conn.session().is_closing();
        assert_eq!(closing, may.is_err(), "{:?}", self.model.guests[client]);
        if closing {
            self.end(client);
        }
    }

    fn end(&mut self, client: usize) {
        self.model.end(client);
        self.asked.remove(client);
        let mut client = self.clients.remove(client);
        client.conn.handle_disconnect(self.now, CloseReason::PeerClosed);
        client.serve(self.now);
        assert!(client.report.is_some());
        self.compare_said(&client.actions);
    }

    /// The back end got exactly these questions and notices, in addition to the earlier ones.
    fn compare_said(&mut self, actions: &[Action]) {
        for action in actions {
            let said = match action {
                Action::Ask(ask) => word("ask", &ask.subject, &ask.client),
                Action::Notify(notice) => word("tell", &notice.subject, &notice.client),
                _ => continue,
            };
            let expected = self.model.said.iter().position(|expected| *expected == said);
            let expected =
                expected.unwrap_or_else(|| panic!("the back end got {said}, expected is {:?}", self.model.said));
            self.model.said.remove(expected);
        }
    }

    fn compare(&mut self) {
        for index in 0..self.clients.len() {
            let actions = std::mem::take(&mut self.clients[index].actions);
            self.compare_said(&actions);
            let asked = actions.iter().rev().find_map(|action| match action {
                Action::Ask(ask) => Some(ask.id),
                _ => None,
            });
            self.asked[index] = asked.or(self.asked[index]);
        }
        assert!(self.model.said.is_empty(), "the back end did not get {:?}", self.model.said);
        for (host, counted) in self.server.vhosts().iter().enumerate() {
            let model = &self.model;
            let expected = [
                model.connections(host),
                model.publishers(host),
                model.players(host),
                model.streams(host),
                model.questions(host).len(),
            ];
            let applications: Vec<_> =
                counted.applications.iter().map(|one| [one.publishers, one.players, one.streams]).collect();
            let counted =
                [counted.connections, counted.publishers, counted.players, counted.streams, counted.questions];
            assert_eq!(counted, expected, "connections, publishers, players, streams, questions of {}", HOSTS[host]);
            let at_door = |publish: bool| {
                let does = model.does(host).filter(|does| does.want.name == DOOR);
                does.filter(|does| does.want.publish == publish).count()
            };
            let (publishers, players) = (at_door(true), at_door(false));
            let expected = model.hosts[host].application.map(|_| [publishers, players, (publishers + players).min(1)]);
            assert_eq!(applications, Vec::from_iter(expected), "of the application of {}", HOSTS[host]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_rights_and_counts_are_those_of_the_model(
        hosts in [host(), host()], steps in steps(),
    ) {
        let server = Core::new(config(&hosts), [5; 32]);
        let model = Model { hosts, guests: Vec::new(), said: Vec::new() };
        let mut run = Run { server, now: any_instant(), model, clients: Vec::new(), asked: Vec::new() };
        for step in steps {
            run.step(step);
            run.compare();
        }
        while !run.clients.is_empty() {
            run.end(0);
            run.compare();
        }
        prop_assert!(run.server.hub().streams().is_empty());
    }
}
