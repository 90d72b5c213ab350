use std::collections::VecDeque;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::location::{Event, Output, Reply, Request, RequestId};
use smol::channel::Receiver;
use smol::future::FutureExt as _;
use smol::{LocalExecutor, Task, Timer, block_on};
use tracing::{debug, error, info, warn};

use super::clock;
use super::dial::{Dial, DialError, Dialed, resolve};
use super::directory::{Directory, Leaving, Shared, with_cure};
use super::link::LinkError;
use super::notices;
use super::replies::Announcement;
use super::session::{Answered, Question, Session};
use super::streams::Streams;

/// The pause after a panic, which would otherwise come again at once.
const AFTER_BUG: Duration = Duration::from_secs(1);
/// How long the server tries to reach itself.
const SELF_TEST: Duration = Duration::from_secs(3);

/// Talks to the directory until the server has left it.
pub(super) fn run(
    shared: &Arc<Shared>,
    dial: &Dial,
    woken: &Receiver<()>,
    secret: &str,
    version: &str,
    streams: &mut Option<Streams>,
) {
    loop {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let driver = Driver {
                shared: shared.clone(),
                dial: Arc::new(dial.clone()),
                executor: LocalExecutor::new(),
                streams: &mut *streams,
                secret: secret.to_owned(),
                version: version.to_owned(),
                turn: 0,
                opening: None,
                session: None,
                notices: None,
                moved: None,
                last_words: String::new(),
                has_announced: false,
                announcements: VecDeque::new(),
                clocks_agree: true,
            };
            block_on(driver.run(woken));
        }));
        if ended.is_ok() {
            return;
        }
        error!(event = "bug", "the part that talks to the directory panicked, which is a bug; it begins again");
        shared.lock().location.handle_disconnected(Instant::now());
        std::thread::sleep(AFTER_BUG);
    }
}

struct Driver<'a> {
    shared: Arc<Shared>,
    /// What the streams of the server want; `None` in tests of the directory alone.
    streams: &'a mut Option<Streams>,
    dial: Arc<Dial>,
    executor: LocalExecutor<'static>,
    /// For a directory that has no secret yet.
    secret: String,
    version: String,
    /// Which host is tried first.
    turn: usize,
    opening: Option<Task<Result<Dialed, DialError>>>,
    session: Option<Session>,
    notices: Option<Task<()>>,
    /// Ends when the Sentinels name another master.
    moved: Option<Task<()>>,
    /// What was logged last of the directory, so that the same is not logged again with each attempt.
    last_words: String,
    has_announced: bool,
    /// The announcements that have no answer, and up to which change each says whether the server drains.
    announcements: VecDeque<(RequestId, u64)>,
    /// False once it was said that the clock is far from the directory's.
    clocks_agree: bool,
}

/// Why the driver goes on.
enum Woken {
    /// Something is to be done.
    Called,
    Dialed(Result<Dialed, DialError>),
    Turned(Result<(), LinkError>),
    Moved,
    TimeIsUp,
}

impl Driver<'_> {
    async fn run(mut self, woken: &Receiver<()>) {
        let who = &self.shared.who;
        info!(event = "cluster", node = %who.node, "this server is {} of the cluster, reached at {}", who.node, who.advertise);
        self.executor.spawn(reach_oneself(self.shared.clone())).detach();
        loop {
            let deadline = self.settle();
            if self.shared.lock().leaving == Leaving::Done {
                return;
            }
            match self.wait(woken, deadline).await {
                Woken::Called | Woken::TimeIsUp => {}
                Woken::Dialed(Ok(dialed)) => self.connected(dialed),
                Woken::Dialed(Err(error)) => self.not_reached(&error),
                Woken::Turned(Ok(())) => {
                    if let Err(words) = self.answers() {
                        self.lost(&words);
                    }
                }
                Woken::Turned(Err(error)) => self.lost(&error.to_string()),
                Woken::Moved => self.lost("the Sentinels name another master"),
            }
        }
    }

    async fn wait(&mut self, woken: &Receiver<()>, deadline: Option<Instant>) -> Woken {
        let Driver { executor, opening, session, moved, .. } = self;
        let called = async {
            // The sender lives as long as what this shares.
            let _ = woken.recv().await;
            Woken::Called
        };
        let dialed = async {
            match opening {
                Some(task) => Woken::Dialed(task.await),
                None => pending().await,
            }
        };
        let turned = async {
            match session {
                Some(session) => Woken::Turned(session.turn().await),
                None => pending().await,
            }
        };
        let moved = async {
            match moved {
                Some(task) => task.await,
                None => pending().await,
            }
            Woken::Moved
        };
        let time = async {
            match deadline {
                Some(at) => Timer::at(at).await,
                None => pending().await,
            };
            Woken::TimeIsUp
        };
        executor.run(called.or(dialed).or(moved).or(turned).or(time)).await
    }

    /// Does all that core wants done now. Returns when it wants to be asked again.
    fn settle(&mut self) -> Option<Instant> {
        if let Some(streams) = self.streams {
            streams.follow(&Directory::of(&self.shared));
        }
        loop {
            let output = self.shared.lock().location.poll(Instant::now());
            match output {
                Output::Connect => self.connect(),
                Output::Disconnect => self.hangs(),
                Output::Ask(id, request) => self.ask(id, request),
                Output::Event(event) => self.event(event),
                Output::Wait(deadline) => {
                    self.own_questions();
                    return deadline;
                }
            }
        }
    }

    fn connect(&mut self) {
        let (dial, turn) = (self.dial.clone(), self.turn);
        self.turn = self.turn.wrapping_add(1);
        self.opening = Some(self.executor.spawn(async move { dial.open(turn).await }));
    }

    fn connected(&mut self, dialed: Dialed) {
        self.opening = None;
        let session = Session::new(dialed);
        let (host, address) = (session.host.clone(), session.address);
        info!(event = "directory_connected", address = %address, "the directory answers: {} at {address}", self.shared.who.shown);
        self.last_words.clear();
        self.shared.tally.connect();
        self.session = Some(session);
        self.shared.connected(address.to_string());
        let listening = notices::follow(self.shared.clone(), self.dial.clone(), host, address);
        self.notices = Some(self.executor.spawn(listening));
        if self.dial.place.master.is_some() {
            let watching = notices::until_moved(self.dial.clone(), address, self.shared.who.ttl / 3);
            self.moved = Some(self.executor.spawn(watching));
        }
        self.shared.lock().location.handle_connected(Instant::now());
    }

    fn not_reached(&mut self, error: &DialError) {
        self.opening = None;
        self.shared.tally.fail();
        let words = with_cure(error);
        self.shared.failed(&error.words);
        if self.is_new(&error.words) {
            warn!(event = "directory_unreachable", error = %error, "the directory cannot be used: {words}");
        }
        self.shared.lock().location.handle_disconnected(Instant::now());
    }

    fn lost(&mut self, words: &str) {
        self.drop_connection(words);
        self.shared.lock().location.handle_disconnected(Instant::now());
    }

    /// Core gives the connection up.
    fn hangs(&mut self) {
        if self.opening.take().is_some() {
            self.shared.tally.fail();
            let words = "no reply in time";
            self.shared.failed(words);
            if self.is_new(words) {
                warn!(event = "directory_unreachable", error = words, "the directory cannot be used: {words}");
            }
        }
        self.drop_connection("no reply in time");
    }

    fn drop_connection(&mut self, words: &str) {
        let Some(session) = self.session.take() else { return };
        self.announcements.clear();
        // The directory may come back without it.
        self.shared.is_known(None);
        self.notices = None;
        self.moved = None;
        self.shared.tally.lose();
        self.shared.failed(&format!("{}: {words}", session.address));
        let (leases, _) = self.shared.lock().location.leases();
        self.last_words = words.to_owned();
        warn!(
            event = "directory_lost",
            address = %session.address,
            error = words,
            leases,
            "the directory is lost: {words}; {leases} streams of this server go on; \
             cluster.on_loss says what happens to new publishers"
        );
    }

    /// True if other words were logged last.
    fn is_new(&mut self, words: &str) -> bool {
        let is_new = self.last_words != words;
        if is_new {
            self.last_words = words.to_owned();
        } else {
            debug!(event = "directory_unreachable", error = words, "the directory still cannot be used: {words}");
        }
        is_new
    }

    fn ask(&mut self, id: RequestId, request: Request) {
        let Some(session) = &mut self.session else { return };
        let announced = match &request {
            Request::Announce if self.shared.lock().leaving != Leaving::No => {
                // A record that is written now would stay.
                self.shared.lock().location.handle_reply(Instant::now(), id, Reply::Done);
                return;
            }
            Request::Announce => {
                let secret =
                    if self.shared.keeps_secret() { self.shared.secret_or(&self.secret) } else { String::new() };
                let (record, turn) = self.shared.record(&self.version);
                self.announcements.push_back((id, turn));
                Some((record.write(), secret))
            }
            _ => None,
        };
        session.ask(&self.shared.who, Question::Core(id, request, announced));
    }

    /// What this program asks besides core.
    fn own_questions(&mut self) {
        let leaving = self.shared.lock().leaving;
        let Some(session) = &mut self.session else {
            if leaving == Leaving::Begun {
                self.shared.has_left();
            }
            return;
        };
        if leaving == Leaving::Begun {
            self.shared.lock().leaving = Leaving::Asked;
            // After all releases, which were asked for before.
            session.ask(&self.shared.who, Question::Leave);
        } else if leaving == Leaving::No && self.shared.takes_list() {
            session.ask(&self.shared.who, Question::List);
        }
    }

    /// Handles the answers that have come.
    fn answers(&mut self) -> Result<(), String> {
        loop {
            let Some(session) = &mut self.session else { return Ok(()) };
            let Some(answer) = session.next(&self.shared.who)? else { return Ok(()) };
            self.answer(answer);
        }
    }

    fn answer(&mut self, answer: Answered) {
        match answer {
            Answered::Core { id, request, reply, took } => self.reply(id, &request, reply, took),
            Answered::Announced { id, request, took, answer } => {
                let Announcement { before, secret, time } = answer;
                self.compare_clocks(time, took);
                let who = &self.shared.who;
                let other = before.filter(|before| self.has_announced && before.boot != who.boot);
                if let Some(other) = other {
                    let address = other.address().unwrap_or_default().to_owned();
                    warn!(
                        event = "node_id_taken",
                        node = %who.node,
                        address,
                        "another server calls itself {} in the directory: each server needs its own cluster.node and \
                         cluster.advertise",
                        who.node
                    );
                }
                self.has_announced = true;
                while let Some((_, turn)) = self.announcements.front().copied().filter(|(sent, _)| *sent <= id) {
                    self.announcements.pop_front();
                    self.shared.is_known(Some(turn));
                }
                if let Some(secret) = secret {
                    if secret.len() > super::settings::LONGEST_SECRET {
                        warn!(event = "directory_refuses", "the secret in the directory is too long and not used");
                    } else if self.shared.has_secret(&secret) {
                        info!(event = "secret_changed", "the cluster has another secret now");
                    }
                }
                self.reply(id, &request, Reply::Done, took);
            }
            Answered::List(nodes) => self.shared.lists(nodes),
            Answered::Left => self.shared.has_left(),
            Answered::Refused { words, core, took } => {
                if self.is_new(&words) {
                    let cure = "look at the Redis, and at the rights of its user";
                    warn!(
                        event = "directory_refuses",
                        error = words,
                        "the directory refuses a request: {words}: {cure}"
                    );
                }
                if let Some((id, request)) = core {
                    self.reply(id, &request, Reply::Failed, took);
                }
            }
        }
    }

    /// Says once that the clocks are far from each other, until they are near again.
    fn compare_clocks(&mut self, time: Duration, took: Duration) {
        let fault = clock::fault(time, clock::now(), took);
        if let Some(fault) = fault.as_ref().filter(|_| self.clocks_agree) {
            warn!(event = "clock_apart", "{}: {}", fault.words, fault.cure);
        }
        self.clocks_agree = fault.is_none();
    }

    fn reply(&mut self, id: RequestId, request: &Request, reply: Reply, took: Duration) {
        self.shared.tally.answered(request, &reply, took);
        self.shared.lock().location.handle_reply(Instant::now(), id, reply);
    }

    fn event(&mut self, event: Event) {
        match &event {
            Event::Lost { name, reason } => {
                self.shared.tally.lose_name();
                warn!(event = "name_lost", stream = %name.escape_debug(), "the name {} is lost: {reason}", name.escape_debug());
            }
            Event::Registered { name, fencing } => {
                debug!(
                    event = "name_registered",
                    stream = %name.escape_debug(),
                    fencing,
                    "the directory has the name {} of this server again",
                    name.escape_debug()
                );
            }
            Event::Granted { .. } | Event::Refused { .. } | Event::Located { .. } | Event::Changed { .. } => {}
        }
        self.shared.deliver(event);
    }
}

/// Connects to the address that this server has told the others.
async fn reach_oneself(shared: Arc<Shared>) {
    let address = &shared.who.advertise;
    let connected = async {
        let addresses = resolve(&address.host, address.port).await.map_err(|error| error.words)?;
        let mut last = "it has no address".to_owned();
        for address in addresses {
            match smol::Async::<std::net::TcpStream>::connect(address).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    };
    let late = async {
        Timer::after(SELF_TEST).await;
        Err("no answer".to_owned())
    };
    if let Err(words) = connected.or(late).await {
        warn!(
            event = "advertise_unreachable",
            error = words,
            "this server does not reach itself at {address}: {words}; see whether the other servers do, and correct \
             cluster.advertise otherwise"
        );
    }
}
