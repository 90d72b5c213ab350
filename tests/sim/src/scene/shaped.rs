use std::collections::BTreeMap;
use std::time::Duration;

use super::{Act, Line, Operation, Shape};
use crate::{Encoder, Media, Rng};

const HOUR: Duration = Duration::from_secs(3600);

/// A client that has not left.
#[derive(Debug, Clone, Copy)]
struct Living {
    client: usize,
    /// Its index among publishers or players; a client with the same index does the same.
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Publisher(usize),
    Player(usize),
}

#[derive(Debug)]
enum Later {
    Act(Box<Act>),
    Enter(Place),
}

/// Writes the history of publishers and players that come, stay for a while and go.
struct Author<'a> {
    shape: &'a Shape,
    rng: Rng,
    clients: usize,
    living: Vec<Living>,
    /// By time, and by number among those of one time.
    later: BTreeMap<(Duration, usize), Later>,
    operations: Vec<Operation>,
}

impl Author<'_> {
    fn enter(&mut self, at: Duration, place: Place) {
        let Shape { streams, bandwidth, latency, loss, .. } = *self.shape;
        let line = Line { bandwidth, latency, loss, ..Line::default() };
        let name = |number: usize| format!("s{}", number % streams.max(1));
        let act = match place {
            Place::Publisher(number) => {
                let encoder = self.encoder();
                Act::Publish { route: "live".into(), name: name(number), encoder, line }
            }
            Place::Player(number) => Act::Play { route: "live".into(), name: name(number), line },
        };
        self.living.push(Living { client: self.clients, place });
        self.clients += 1;
        self.operations.push(Operation { at, act });
    }

    fn encoder(&self) -> Encoder {
        let encoder = if self.shape.small { Encoder::small() } else { Encoder::default() };
        match self.shape.frames_per_second {
            Some(rate) => {
                let picture = Duration::from_secs(1) / rate.max(1);
                Encoder { video: Some(picture), gop: rate.max(1) * 2, audio: Some(picture * 23 / 33), ..encoder }
            }
            None => encoder,
        }
    }

    fn later(&mut self, at: Duration, later: Later) {
        let number = self.operations.len() + self.later.len();
        self.later.entry((at, number)).or_insert(later);
    }

    /// Lets happen what was put off until now.
    fn catch_up(&mut self, now: Duration) {
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), later) = entry.remove_entry();
            match later {
                Later::Act(act) => self.operations.push(Operation { at, act: *act }),
                Later::Enter(place) => self.enter(at, place),
            }
        }
    }

    fn soon(&mut self, now: Duration, most: usize) -> Duration {
        now + Duration::from_millis(self.rng.within(1..=most) as u64)
    }

    /// A client leaves in one of several ways, and another comes in its place.
    fn replace(&mut self, now: Duration, broken: bool) {
        let Some(at) = self.anybody() else {
            return;
        };
        let Living { client, place } = self.living.swap_remove(at);
        let act = match self.rng.within(0..=2) {
            _ if broken => Act::Kill { client },
            0 => Act::Close { client },
            _ => Act::Stop { client },
        };
        self.operations.push(Operation { at: now, act });
        let back = self.soon(now, 3_000);
        self.later(back, Later::Enter(place));
    }

    fn stall(&mut self, now: Duration) {
        let duration = Duration::from_millis(self.rng.within(1..=6_000) as u64);
        if let Some(at) = self.anybody() {
            let client = self.living[at].client;
            self.operations.push(Operation { at: now, act: Act::Stall { client, duration } });
        }
    }

    /// Operations that end nothing: a pause, a track off, new headers, a silent publisher.
    fn vary(&mut self, now: Duration) {
        let Some(at) = self.anybody() else {
            return;
        };
        let Living { client, place } = self.living[at];
        let track = self.rng.pick(&[Media::Sound, Media::Key]);
        let (first, then) = match (place, self.rng.once_in(2)) {
            (Place::Player(_), true) => (Act::Pause { client, on: true }, Some(Act::Pause { client, on: false })),
            (Place::Player(_), false) => {
                (Act::Receive { client, track, on: false }, Some(Act::Receive { client, track, on: true }))
            }
            (Place::Publisher(_), true) => (Act::Mute { client, on: true }, Some(Act::Mute { client, on: false })),
            (Place::Publisher(_), false) => (Act::Reconfigure { client }, None),
        };
        self.operations.push(Operation { at: now, act: first });
        if let Some(then) = then {
            let end = self.soon(now, 8_000);
            self.later(end, Later::Act(Box::new(then)));
        }
    }

    fn anybody(&mut self) -> Option<usize> {
        (!self.living.is_empty()).then(|| self.rng.within(0..=self.living.len() - 1))
    }

    /// A time around so many times an hour from now on.
    fn next(&mut self, now: Duration, hourly: u32) -> Duration {
        if hourly == 0 {
            return Duration::MAX;
        }
        let mean = (HOUR / hourly).as_millis() as usize;
        now + Duration::from_millis(self.rng.within(1..=mean.max(1) * 2) as u64)
    }
}

pub(super) fn history(rng: Rng, shape: &Shape, end: Duration) -> Vec<Operation> {
    let mut author =
        Author { shape, rng, clients: 0, living: Vec::new(), later: BTreeMap::new(), operations: Vec::new() };
    let publishers = (0..shape.publishers).map(Place::Publisher);
    for place in publishers.chain((0..shape.players).map(Place::Player)) {
        let at = author.soon(Duration::ZERO, 2_000);
        author.later(at, Later::Enter(place));
    }
    let hourly = [shape.churn, shape.breaks, shape.stalls, shape.variations];
    let mut next = hourly.map(|hourly| author.next(Duration::ZERO, hourly));
    while let Some((kind, now)) = next.iter().copied().enumerate().min_by_key(|(_, time)| *time)
        && now < end
    {
        author.catch_up(now);
        match kind {
            0 => author.replace(now, false),
            1 => author.replace(now, true),
            2 => author.stall(now),
            _ => author.vary(now),
        }
        next[kind] = author.next(now, hourly[kind]);
    }
    author.catch_up(end);
    author.operations
}
