//! The hub against a simple model: the holder of each name, the players of each stream, the frames of each player, the
//! listing and the counts. Clients and the program publish, take over, play and leave in any order, with limits that
//! change.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anabranch_core::hub::{
    Busy, Conflict, Counts, Hub, HubConfig, NotAdmitted, Player, Publisher, PullEnd, Pulled, StreamId, Superseded,
};
use anabranch_core::message::{Message, MessageType, Payload};
use anabranch_core::policy::{Counted, Limits, Refusal};
use anabranch_core::source::Gap;
use anabranch_core::url::StreamKey;
use proptest::prelude::*;

/// Three names of one virtual host and one of another, in the order of their keys.
const NAMES: [(&str, &str); 4] =
    [("a.example", "cam"), ("a.example", "door"), ("a.example", "x"), ("b.example", "cam")];

/// A publisher with empty credentials cannot take over a stream.
const CREDENTIALS: [&str; 3] = ["", "one", "two"];

/// Bytes of a key frame in the log.
const FRAME: usize = 12 + 7;

/// Names and credentials by index; publishers and players by a number that selects an existing one.
#[derive(Debug, Clone, Copy)]
enum Step {
    Admit {
        name: usize,
        credentials: usize,
        conflict: Conflict,
    },
    /// The program itself.
    Publish(usize),
    /// New limits, the same for everything except streams and players per stream; `None` means no limit.
    Limit(Option<u32>),
    Push(usize),
    /// Ends a publication, with or without a time of its end.
    End(usize, bool),
    AdmitPlayer(usize),
    /// The program itself.
    Play(usize),
    Leave(usize),
    /// A player takes up to this many frames.
    Pull(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..NAMES.len();
    let conflict = prop::sample::select(vec![Conflict::Reject, Conflict::TakeOver]);
    let step = prop_oneof![
        6 => (name(), 0..CREDENTIALS.len(), conflict)
            .prop_map(|(name, credentials, conflict)| Step::Admit { name, credentials, conflict }),
        2 => name().prop_map(Step::Publish),
        1 => prop::option::of(0u32..4).prop_map(Step::Limit),
        8 => any::<usize>().prop_map(Step::Push),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(pick, word)| Step::End(pick, word)),
        4 => name().prop_map(Step::AdmitPlayer),
        2 => name().prop_map(Step::Play),
        2 => any::<usize>().prop_map(Step::Leave),
        8 => (any::<usize>(), 1usize..5).prop_map(|(pick, most)| Step::Pull(pick, most)),
    ];
    prop::collection::vec(step, 1..120)
}

/// The expected state of one name in the hub.
#[derive(Debug, Clone, Default)]
struct Stream {
    /// The number of the stream, counted over all streams.
    id: u64,
    holder: Option<Holder>,
    players: usize,
    clients: usize,
    /// The frames of each publication so far, by number.
    publications: Vec<Vec<u16>>,
    /// Number of frames of the last publication in the log: all since a player joined, because each is a key frame.
    in_log: usize,
    live: bool,
    ended: Option<Instant>,
    last_frame: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    number: u64,
    credentials: usize,
    client: bool,
}

/// A publication.
#[derive(Debug, Clone, Copy)]
struct Right {
    name: usize,
    holder: Holder,
    /// The stream, and the number of this publication in it.
    publication: (u64, usize),
    last_frame: Option<Instant>,
}

/// The place of a player in the model.
#[derive(Debug, Clone, Copy)]
struct Seat {
    name: usize,
    client: bool,
    /// The publication it joined in or started in, and the next frame; `None` before its start.
    publication: usize,
    next: Option<usize>,
    /// Number of frames in the publication when the player joined.
    joined_at: usize,
    /// The player has noticed that its publication has ended, and waits to start with another.
    waits: bool,
    missed: u64,
    /// Publications that ended before the player joined.
    over_before: usize,
}

#[derive(Debug, Default)]
struct Model {
    streams: [Option<Stream>; NAMES.len()],
    last_id: u64,
    last_holder: u64,
    last_frame: u16,
    limits: Limits,
}

impl Model {
    fn stream(&mut self, name: usize) -> &mut Stream {
        let last_id = &mut self.last_id;
        self.streams[name].get_or_insert_with(|| {
            *last_id += 1;
            Stream { id: *last_id, ..Stream::default() }
        })
    }

    /// The counts of the virtual host of a name, counted one by one.
    fn counts(&self, name: usize) -> Counts {
        let here = || (0..NAMES.len()).filter(|other| NAMES[*other].0 == NAMES[name].0);
        let streams = || here().filter_map(|other| self.streams[other].as_ref());
        Counts {
            streams: streams().count(),
            publishers: streams().filter(|stream| stream.holder.is_some_and(|holder| holder.client)).count(),
            players: streams().map(|stream| stream.clients).sum(),
        }
    }

    fn room(&self, kind: Counted, most: Option<u32>, present: usize) -> Result<(), Refusal> {
        if most.is_some_and(|most| present >= most as usize) { Err(Refusal::Limit(kind)) } else { Ok(()) }
    }

    fn admit(&mut self, name: usize, credentials: usize, conflict: Conflict) -> Result<Right, NotAdmitted> {
        let (counts, stream) = (self.counts(name), self.streams[name].as_ref());
        match stream.and_then(|stream| stream.holder) {
            Some(other) if conflict == Conflict::TakeOver && may_follow(other, credentials) => {}
            Some(_) => return Err(Busy.into()),
            None => {
                if stream.is_none() {
                    self.room(Counted::Streams, self.limits.streams, counts.streams)?;
                }
                self.room(Counted::Publishers, self.limits.publishers, counts.publishers)?;
            }
        }
        Ok(self.begin(name, credentials, true))
    }

    fn publish(&mut self, name: usize) -> Result<Right, Busy> {
        if self.streams[name].as_ref().is_some_and(|stream| stream.holder.is_some()) {
            return Err(Busy);
        }
        Ok(self.begin(name, 0, false))
    }

    fn begin(&mut self, name: usize, credentials: usize, client: bool) -> Right {
        self.last_holder += 1;
        let holder = Holder { number: self.last_holder, credentials, client };
        let stream = self.stream(name);
        stream.holder = Some(holder);
        stream.live = true;
        stream.ended = None;
        stream.publications.push(Vec::new());
        stream.in_log = 0;
        Right { name, holder, publication: (stream.id, stream.publications.len()), last_frame: None }
    }

    fn admit_player(&mut self, name: usize) -> Result<Seat, Refusal> {
        let (counts, stream) = (self.counts(name), self.streams[name].as_ref());
        self.room(Counted::Players, self.limits.players, counts.players)?;
        let clients = stream.map_or(0, |stream| stream.clients);
        self.room(Counted::StreamPlayers, self.limits.stream_players, clients)?;
        if stream.is_none() {
            self.room(Counted::Streams, self.limits.streams, counts.streams)?;
        }
        Ok(self.play(name, true))
    }

    fn is_superseded(&self, right: &Right) -> bool {
        let now = self.streams[right.name].as_ref().map(|stream| (stream.id, stream.publications.len()));
        now != Some(right.publication)
    }

    fn push(&mut self, right: &mut Right, now: Instant) -> Result<u16, Superseded> {
        // The number is used up even without a player.
        self.last_frame += 1;
        let number = self.last_frame;
        right.last_frame = Some(now);
        if self.is_superseded(right) {
            return Err(Superseded);
        }
        let stream = self.stream(right.name);
        stream.last_frame = Some(now);
        stream.publications.last_mut().expect("it has begun").push(number);
        stream.in_log = if stream.players == 0 { 1 } else { stream.in_log + 1 };
        Ok(number)
    }

    /// A publication ends, with or without a time.
    fn give_up(&mut self, right: Right, time: Option<Instant>) {
        let publishes = !self.is_superseded(&right);
        let Some(stream) = &mut self.streams[right.name] else {
            return;
        };
        if publishes {
            stream.live = false;
            stream.ended = time.or(right.last_frame).or(stream.last_frame);
        }
        stream.holder.take_if(|holder| *holder == right.holder);
        self.forget(right.name);
    }

    fn play(&mut self, name: usize, client: bool) -> Seat {
        let stream = self.stream(name);
        stream.players += 1;
        stream.clients += usize::from(client);
        let joined_at = stream.publications.last().map_or(0, Vec::len);
        let begun = stream.publications.len();
        let over_before = if stream.live { begun - 1 } else { begun };
        Seat { name, client, publication: begun, next: None, joined_at, waits: false, missed: 0, over_before }
    }

    fn leave(&mut self, seat: Seat) {
        let stream = self.streams[seat.name].as_mut().expect("a player keeps its stream");
        stream.players -= 1;
        stream.clients -= usize::from(seat.client);
        self.forget(seat.name);
    }

    fn forget(&mut self, name: usize) {
        self.streams[name].take_if(|stream| stream.holder.is_none() && stream.players == 0);
    }

    fn pull(&self, seat: &mut Seat, most: usize) -> (Vec<u16>, PullEnd) {
        let stream = self.streams[seat.name].as_ref().expect("a player keeps its stream");
        let ended = stream.ended.filter(|_| stream.publications.len() > seat.over_before);
        let nothing = if stream.live { PullEnd::Pending } else { PullEnd::Ended(ended) };
        let present = stream.publications.len();
        let frames = stream.publications.last().map_or(&[][..], Vec::as_slice);
        if seat.publication != present || seat.next.is_none() {
            seat.waits = true;
            // An ended publication is only for players that waited for it.
            let waited = seat.publication != present || seat.joined_at < frames.len();
            if frames.is_empty() || !(stream.live || waited) {
                return (Vec::new(), nothing);
            }
            let next = if seat.publication != present {
                // The unread frames of the publication it started in, and all frames of those in between.
                if let Some(next) = seat.next {
                    let left = stream.publications[seat.publication - 1..present - 1].iter().map(Vec::len);
                    seat.missed += left.sum::<usize>() as u64 - next as u64;
                }
                // The player waited for this publication: it gets all of it.
                0
            } else {
                // Every frame is a key frame: start at the first one since the player joined, or else at the newest.
                seat.joined_at.min(frames.len() - 1)
            };
            seat.publication = present;
            seat.waits = false;
            seat.next = Some(next);
        }
        let next = seat.next.expect("set above");
        let taken: Vec<u16> = frames[next..].iter().copied().take(most).collect();
        seat.next = Some(next + taken.len());
        let pulled = if taken.len() == most { PullEnd::Full } else { nothing };
        (taken, pulled)
    }
}

fn may_follow(holder: Holder, credentials: usize) -> bool {
    credentials != 0 && holder.credentials == credentials
}

fn key(name: usize) -> StreamKey {
    StreamKey::new(NAMES[name].0, "live", NAMES[name].1).expect("a good name")
}

fn key_frame(number: u16, timestamp: u32) -> Message {
    let [high, low] = number.to_be_bytes();
    let payload = Payload::from(&[0x17, 1, 0, 0, 0, high, low][..]);
    Message { chunk_stream: 6, timestamp, type_id: MessageType::VIDEO, message_stream_id: 1, payload }
}

fn pull(player: &mut Player, most: usize) -> (Vec<u16>, Pulled) {
    let mut numbers = Vec::new();
    let pulled = player.pull(|frame| {
        let body = frame.payload();
        numbers.push(u16::from_be_bytes([body[5], body[6]]));
        numbers.len() < most
    });
    (numbers, pulled)
}

/// The hub with its publishers and players, each next to its counterpart in the model.
struct Run {
    hub: Hub,
    model: Model,
    publishers: Vec<(Publisher, Right)>,
    players: Vec<(Player, Seat)>,
    /// The model's number for each id of the hub.
    ids: BTreeMap<u64, StreamId>,
}

impl Run {
    fn new() -> Self {
        let hub = Hub::new(HubConfig::default());
        let (publishers, players) = (Vec::new(), Vec::new());
        Run { hub, model: Model::default(), publishers, players, ids: BTreeMap::new() }
    }

    fn step(&mut self, step: Step, now: Instant, time: u32) -> Result<(), TestCaseError> {
        match step {
            Step::Admit { name, credentials, conflict } => {
                let (key, limits, shown) = (key(name), self.model.limits, CREDENTIALS[credentials]);
                let allowed = self.hub.may_publish(now, &key, shown, conflict, &limits);
                let admitted = self.hub.admit_publisher(now, &key, shown, conflict, &limits);
                match (admitted, self.model.admit(name, credentials, conflict)) {
                    (Ok(publisher), Ok(right)) => {
                        prop_assert_eq!(allowed, Ok(()));
                        self.publishers.push((publisher, right));
                    }
                    (publisher, right) => {
                        prop_assert_eq!(allowed.err(), right.as_ref().err().cloned());
                        prop_assert_eq!(publisher.err(), right.err());
                    }
                }
            }
            Step::Publish(name) => match (self.hub.publish(&key(name)), self.model.publish(name)) {
                (Ok(publisher), Ok(right)) => self.publishers.push((publisher, right)),
                (publisher, right) => prop_assert_eq!(publisher.err(), right.err()),
            },
            Step::Push(pick) => {
                if let Some((publisher, right)) = pick_from(&mut self.publishers, pick) {
                    let expected = self.model.push(right, now);
                    let number = self.model.last_frame;
                    prop_assert_eq!(publisher.push(now, key_frame(number, time)).err(), expected.err());
                }
            }
            Step::End(pick, word) => {
                if let Some((publisher, right)) = take(&mut self.publishers, pick) {
                    if word {
                        publisher.end(now);
                    } else {
                        drop(publisher);
                    }
                    self.model.give_up(right, word.then_some(now));
                }
            }
            Step::Play(name) => {
                let player = self.hub.play(&key(name));
                self.players.push((player, self.model.play(name, false)));
            }
            Step::AdmitPlayer(name) => {
                let (key, limits) = (key(name), self.model.limits);
                let allowed = self.hub.may_play(&key, &limits);
                match (self.hub.admit_player(&key, &limits), self.model.admit_player(name)) {
                    (Ok(player), Ok(seat)) => {
                        prop_assert_eq!(allowed, Ok(()));
                        self.players.push((player, seat));
                    }
                    (player, seat) => {
                        prop_assert_eq!(allowed.err(), seat.as_ref().err().cloned());
                        prop_assert_eq!(player.err(), seat.err());
                    }
                }
            }
            Step::Limit(most) => {
                let half = most.map(|most| most.div_ceil(2));
                self.model.limits = Limits {
                    publishers: half,
                    players: most,
                    stream_players: half,
                    streams: most,
                    ..Limits::default()
                };
            }
            Step::Leave(pick) => {
                if let Some((player, seat)) = take(&mut self.players, pick) {
                    drop(player);
                    self.model.leave(seat);
                }
            }
            Step::Pull(pick, most) => {
                if let Some((player, seat)) = pick_from(&mut self.players, pick) {
                    let before = seat.missed;
                    let (numbers, Pulled { missed, end }) = pull(player, most);
                    prop_assert_eq!((numbers, end), self.model.pull(seat, most));
                    prop_assert_eq!(missed.frames, seat.missed - before);
                    prop_assert_eq!(missed.bytes, missed.frames * FRAME as u64);
                }
            }
        }
        Ok(())
    }

    /// Compares everything that can be read without changing the hub.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        let list = self.hub.streams();
        let known: Vec<(usize, &Stream)> =
            self.model.streams.iter().enumerate().filter_map(|(name, stream)| Some((name, stream.as_ref()?))).collect();
        prop_assert_eq!(list.len(), known.len());
        for (listed, (name, stream)) in list.iter().zip(known) {
            prop_assert_eq!(&listed.key, &key(name));
            prop_assert_eq!(*self.ids.entry(stream.id).or_insert(listed.id), listed.id);
            prop_assert_eq!(listed.published, stream.holder.is_some());
            prop_assert_eq!(listed.players, stream.players);
            prop_assert_eq!(listed.log_bytes, stream.in_log * FRAME);
            prop_assert_eq!(listed.stats.is_some(), stream.last_frame.is_some());
        }
        let ids: Vec<StreamId> = self.ids.values().copied().collect();
        prop_assert!(ids.is_sorted_by(|earlier, later| earlier < later), "ids are unique and increase");
        for (name, (vhost, _)) in NAMES.iter().enumerate() {
            prop_assert_eq!(self.hub.counts(vhost), self.model.counts(name));
            let players = self.model.streams[name].as_ref().map_or(0, |stream| stream.players);
            prop_assert_eq!(self.hub.player_count(&key(name)), players);
        }
        for (publisher, right) in &self.publishers {
            prop_assert_eq!(publisher.key(), &key(right.name));
            prop_assert_eq!(publisher.is_superseded(), self.model.is_superseded(right));
            let (stream, _) = right.publication;
            prop_assert_eq!(publisher.stream_id(), self.ids[&stream]);
            let players = self.model.streams[right.name].as_ref().map_or(0, |stream| stream.players);
            prop_assert_eq!(publisher.players(), players);
        }
        for (player, seat) in &self.players {
            let stream = self.model.streams[seat.name].as_ref().expect("a player keeps its stream");
            prop_assert_eq!((player.key(), player.stream_id()), (&key(seat.name), self.ids[&stream.id]));
            prop_assert_eq!(player.is_live(), stream.live);
            let left = seat.next.map(|next| {
                let frames = stream.publications[seat.publication - 1..].iter().map(Vec::len).sum::<usize>();
                (frames - next) as u64
            });
            let unsent = player.unsent();
            prop_assert_eq!(unsent.frames, left.unwrap_or(0));
            prop_assert_eq!(player.behind(), if seat.waits { 0 } else { left.unwrap_or(0) });
            prop_assert!(left.is_some() || unsent == Gap::default());
        }
        Ok(())
    }
}

/// The element selected by `pick`.
fn pick_from<T>(list: &mut [T], pick: usize) -> Option<&mut T> {
    let index = pick.checked_rem(list.len())?;
    list.get_mut(index)
}

fn take<T>(list: &mut Vec<T>, pick: usize) -> Option<T> {
    let index = pick.checked_rem(list.len())?;
    Some(list.swap_remove(index))
}

proptest! {
    #[test]
    fn any_run_is_as_the_model_says(steps in steps()) {
        let start = support::any_instant();
        let mut run = Run::new();
        for (index, step) in steps.into_iter().enumerate() {
            let time = 10 * index as u32;
            run.step(step, start + Duration::from_millis(time.into()), time)?;
            run.compare()?;
        }
        let Run { hub, publishers, players, .. } = run;
        drop((publishers, players));
        prop_assert!(hub.streams().is_empty(), "no stream remains without publishers and players");
        prop_assert_eq!(hub.counts(NAMES[0].0), Counts::default());
    }
}
