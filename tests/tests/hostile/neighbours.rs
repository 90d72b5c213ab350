use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anabranch_core::message::MessageType;
use anabranch_tests::conformance::Target;
use anabranch_tests::peer::{ScriptedClient, WebPlayer};
use anabranch_tests::sim::Rng;
use anabranch_tests::{TIMEOUT, wait_for};

use crate::{Counter, join};

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(20);
/// Frames from key frame to key frame.
const GOP: u32 = 24;
const PLAYERS: usize = 2;
/// In the number of the last frame.
const LAST: u32 = 1 << 31;

/// A player by RTMP or by HTTP.
enum Ear {
    Rtmp(Box<ScriptedClient>),
    Web(Box<WebPlayer>),
}

impl Ear {
    /// Type, timestamp and body of the next message.
    fn hear(&mut self) -> (u8, u32, Vec<u8>) {
        match self {
            Ear::Rtmp(player) => {
                let message = player.message();
                (message.type_id, message.timestamp, message.payload.to_vec())
            }
            Ear::Web(player) => {
                let tag = player.tag().expect("the answer goes on");
                (tag.kind, tag.timestamp, tag.body)
            }
        }
    }
}

/// When each frame was sent.
type Times = Arc<Mutex<Vec<Instant>>>;

/// A publisher and players that behave well: fifty frames a second of video and audio in turn, and the players get all
/// of the stream, to the byte.
pub(crate) struct Neighbours {
    stop: Arc<AtomicBool>,
    /// True while there are attackers.
    attended: Arc<AtomicBool>,
    /// Frames that the first player has.
    heard: Counter,
    publisher: JoinHandle<u32>,
    players: Vec<JoinHandle<(Heard, Vec<Duration>)>>,
}

/// What a player got.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard {
    pub(crate) frames: u32,
    pub(crate) lost: u32,
    pub(crate) longest_pause: Duration,
    /// From a frame's sending to its arrival, of ninety-nine in a hundred while there were attackers.
    pub(crate) late: Duration,
}

impl Neighbours {
    /// Starts them, and one by HTTP if there is a port for that; they are in the middle of it when this returns. `wait`
    /// returns once so many players of a stream are known to the server.
    pub(crate) fn start(target: &Target, web: Option<SocketAddr>, wait: impl FnOnce(&str, usize)) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let heard = Counter::default();
        let (attended, times) = (Arc::new(AtomicBool::new(false)), Times::default());
        let name = target.named("neighbours");
        let ears = (0..PLAYERS).map(|_| Ear::Rtmp(Box::new(ScriptedClient::player(target, &name))));
        let by_web = |web| Ear::Web(Box::new(WebPlayer::get(web, &format!("/live/{name}.flv"))));
        let ears: Vec<Ear> = ears.chain(web.map(by_web)).collect();
        wait(&format!("live/{name}"), ears.len());
        let players = ears.into_iter().enumerate().map(|(number, player)| {
            let heard = if number == 0 { heard.clone() } else { Counter::default() };
            let (attended, times) = (attended.clone(), times.clone());
            thread::spawn(move || play(player, &heard, &attended, &times))
        });
        let players = players.collect();
        let publisher = ScriptedClient::publisher(target, &name);
        let stopping = stop.clone();
        let publisher = thread::spawn(move || publish(publisher, &stopping, &times));
        let neighbours = Neighbours { stop, attended, heard, publisher, players };
        neighbours.wait_frames(50);
        neighbours
    }

    /// Connections that they have.
    pub(crate) fn connections(&self) -> usize {
        self.players.len() + 1
    }

    /// From now on there are attackers, or no more.
    pub(crate) fn attend(&self, attended: bool) {
        self.attended.store(attended, Ordering::Relaxed);
    }

    /// Waits until so many more frames have come.
    pub(crate) fn wait_frames(&self, count: usize) {
        let end = self.heard.load(Ordering::Relaxed) + count;
        wait_for("frames of the neighbours", TIMEOUT, || {
            assert!(self.players.iter().all(|player| !player.is_finished()), "a neighbour has stopped");
            (self.heard.load(Ordering::Relaxed) >= end).then_some(())
        });
    }

    /// Ends the stream; what all players together got of it.
    pub(crate) fn stop(self) -> Heard {
        self.stop.store(true, Ordering::Relaxed);
        let players: Vec<(Heard, Vec<Duration>)> = self.players.into_iter().map(join).collect();
        let (players, delays): (Vec<Heard>, Vec<_>) = players.into_iter().unzip();
        let mut delays = delays.concat();
        delays.sort();
        let sent = join(self.publisher);
        for heard in &players {
            assert_eq!(heard.frames + heard.lost, sent, "frames of a neighbour");
        }
        Heard {
            frames: players.iter().map(|heard| heard.frames).sum(),
            lost: players.iter().map(|heard| heard.lost).sum(),
            longest_pause: players.iter().map(|heard| heard.longest_pause).max().unwrap_or_default(),
            late: delays.get(delays.len() * 99 / 100).copied().unwrap_or_default(),
        }
    }
}

/// Publishes until the test stops it; returns the number of frames.
fn publish(mut publisher: ScriptedClient, stop: &AtomicBool, times: &Times) -> u32 {
    let mut due = Instant::now();
    for number in 0.. {
        let last = stop.load(Ordering::Relaxed);
        let number = if last { number | LAST } else { number };
        times.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        publisher.send(6, time(number), type_of(number), 1, &frame(number));
        if last {
            publisher.receive_pending();
            return (number & !LAST) + 1;
        }
        due += FRAME;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    unreachable!("numbers do not end")
}

/// Plays to the last frame, and holds every frame against the one that was sent; with the delays of those that came
/// while there were attackers.
fn play(mut player: Ear, count: &AtomicUsize, attended: &AtomicBool, times: &Times) -> (Heard, Vec<Duration>) {
    let mut delays = Vec::new();
    let mut heard = Heard::default();
    let mut expected = 0;
    let mut before: Option<Instant> = None;
    loop {
        let (type_id, timestamp, body) = player.hear();
        if !matches!(type_id, MessageType::AUDIO | MessageType::VIDEO) {
            continue;
        }
        let pause = before.replace(Instant::now()).map_or(Duration::ZERO, |before| before.elapsed());
        heard.longest_pause = heard.longest_pause.max(pause);
        let number = body.get(5..9).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let number = number.expect("a frame has a number");
        assert!(body == frame(number) && type_id == type_of(number), "a neighbour gets other bytes for frame {number}");
        assert_eq!(timestamp, time(number), "of frame {number}");
        assert!(number & !LAST >= expected, "frame {number} comes after {expected}");
        heard.lost += (number & !LAST) - expected;
        expected = (number & !LAST) + 1;
        heard.frames += 1;
        if attended.load(Ordering::Relaxed) {
            let sent = times.lock().unwrap_or_else(PoisonError::into_inner)[(number & !LAST) as usize];
            delays.push(sent.elapsed());
        }
        count.fetch_add(1, Ordering::Relaxed);
        if number & LAST != 0 {
            return (heard, delays);
        }
    }
}

fn time(number: u32) -> u32 {
    (number & !LAST) * FRAME.as_millis() as u32
}

fn type_of(number: u32) -> u8 {
    if number.is_multiple_of(2) { MessageType::VIDEO } else { MessageType::AUDIO }
}

/// The body of a frame: what it is, its number, and bytes that depend on the number.
fn frame(number: u32) -> Vec<u8> {
    let place = number & !LAST;
    let (head, length) = match (place % GOP, place % 2) {
        (0, _) => ([0x17, 1, 0, 0, 0], 6000),
        (_, 0) => ([0x27, 1, 0, 0, 0], 500 + place as usize * 37 % 1000),
        _ => ([0xaf, 1, 0, 0, 0], 180),
    };
    let mut noise = vec![0; length];
    Rng::new(place.into()).fill(&mut noise);
    [&head[..], &number.to_be_bytes(), &noise].concat()
}
