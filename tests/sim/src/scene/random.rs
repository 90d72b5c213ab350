use std::time::Duration;

use anabranch_core::conn::{Ask, Asks, Config, Subject, Verdict, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::pacing::Pacing;
use anabranch_core::policy::{Action, Limits, Rate, Secret, Token, TokenScope, Vhost, Vhosts, sign};
use anabranch_core::source::{SourceLimits, StartRule, Timestamps};
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};

use super::{Act, Line, Operation, UNIX};
use crate::{Encoder, Marks, Media, Reply, Rng, Route, Track};

const HOSTS: [&str; 4] = ["a.example", "b.example", "c.example", "off.example"];
/// Things that happen in a scene for which no duration is given, and the clients that there are at the most.
const DISTURBANCES: usize = 40;
const CLIENTS: usize = 12;

fn milliseconds(rng: &mut Rng, choices: &[u64]) -> Duration {
    Duration::from_millis(rng.pick(choices))
}

fn secret() -> Secret {
    Secret::new("the secret of all these scenes").expect("it is long enough")
}

fn signature(action: Action, vhost: &str, stream: &str, expires: u64) -> String {
    let key = StreamKey::new(vhost, "live", stream).expect("a name");
    sign(&secret(), action, &key, expires)
}

/// Random settings, all of them small, so that every limit is reached.
pub(super) fn settings(rng: &mut Rng) -> VhostConfig {
    let mut config = VhostConfig {
        source: SourceLimits {
            bytes: rng.pick(&[3_000, 20_000, 60_000, 1 << 20]),
            frames: rng.pick(&[20, 200, 16_384]),
            milliseconds: rng.pick(&[500, 2_000, 10_000]),
            ..SourceLimits::default()
        },
        start_rule: rng.pick(&[
            StartRule::default(),
            StartRule::default(),
            StartRule::NextKeyFrame,
            StartRule::NewestKeyFrame { bytes: 5_000, milliseconds: 600, frames: 20 },
        ]),
        timestamps: rng.pick(&[Timestamps::Monotonic, Timestamps::Monotonic, Timestamps::Monotonic, Timestamps::Pass]),
        reduce_sequence_headers: rng.once_in(2),
        pacing: Pacing { merge_window: milliseconds(rng, &[0, 30, 350]), ..Pacing::default() },
        conflict: rng.pick(&[Conflict::Reject, Conflict::TakeOver]),
        unpublish_grace: milliseconds(rng, &[0, 500, 2_000]),
        idle_publisher: rng.once_in(5).then(|| milliseconds(rng, &[500, 3_000])),
        max_gap: rng.once_in(4).then(|| milliseconds(rng, &[500, 3_000])),
        high_water: rng.pick(&[1, 4 << 10, 64 << 10]),
        token: rng.once_in(6).then(|| Token { secrets: vec![secret()], required_for: TokenScope::Publish }),
        asks: asks(rng),
        ..VhostConfig::default()
    };
    if rng.once_in(6) {
        let one_of = |rng: &mut Rng| rng.once_in(3).then(|| rng.within(1..=4) as u32);
        config.limits = Limits {
            connections: one_of(rng),
            publishers: one_of(rng),
            players: one_of(rng),
            stream_players: one_of(rng),
            streams: one_of(rng),
            publisher_rate: rng.once_in(3).then(|| Rate::new(rng.within(500..=10_000) as u64)),
            questions: one_of(rng),
        };
    }
    if rng.once_in(6) {
        config.security = "deny publish 10.6.6.6; deny play 10.7.7.7".parse().expect("the rules are good");
    }
    config.session.chunk_size = rng.pick(&[128, 4096, 60_000]);
    config.session.window = rng.pick(&[5_000, 2_500_000]);
    config.session.timeouts.write = Duration::from_secs(rng.pick(&[2, 30]));
    config.session.timeouts.next_message = Duration::from_secs(rng.pick(&[2, 10]));
    config.session.timeouts.ping = Duration::from_secs(rng.pick(&[1, 30]));
    config
}

/// The same without what would leave nothing to see: no client here has a signed URL, or stays below a rate.
pub(super) fn hostile(rng: &mut Rng) -> VhostConfig {
    VhostConfig { token: None, limits: Limits::default(), ..settings(rng) }
}

fn asks(rng: &mut Rng) -> Asks {
    let wanted = rng.once_in(2);
    Asks {
        connect: wanted && rng.once_in(2),
        publish: wanted && rng.once_in(2),
        play: wanted && rng.once_in(2),
        traverse: wanted && rng.once_in(4),
        timeout: milliseconds(rng, &[100, 600, 10_000]),
        allow_on_timeout: rng.once_in(2),
    }
}

/// One virtual host for all clients, or several with their own settings.
pub(super) fn config(rng: &mut Rng) -> Config {
    let defaults = settings(rng);
    if rng.once_in(2) {
        return defaults.into();
    }
    let mut vhosts: Vec<_> = ["a.example", "b.example", "__defaultVhost__"]
        .into_iter()
        .take(rng.within(2..=3))
        .map(|name| Vhost::new(name, settings(rng)))
        .collect();
    vhosts.push(Vhost { enabled: false, ..Vhost::new("off.example", settings(rng)) });
    Config { defaults, vhosts: Vhosts::new(vhosts).expect("the names are good"), ..Config::default() }
}

/// Whether the settings of this scene change in its course. Then all of them say the same of timestamps: what a player
/// is to expect of them is known when it comes.
pub(super) fn changing(mut rng: Rng, config: Config) -> (Config, Option<Changes>) {
    if !rng.once_in(3) {
        return (config, None);
    }
    let config = Changes::of_one_time(config.clone(), config.defaults.timestamps);
    let first = config.clone();
    (config, Some(Changes { rng, first }))
}

/// What the settings of a scene come to be.
pub(super) struct Changes {
    rng: Rng,
    first: Config,
}

impl Changes {
    fn of_one_time(config: Config, timestamps: Timestamps) -> Config {
        let settings = |settings: &VhostConfig| VhostConfig { timestamps, ..settings.clone() };
        let vhosts = config.vhosts.iter().map(|vhost| Vhost { settings: settings(&vhost.settings), ..vhost.clone() });
        let vhosts = Vhosts::new(vhosts).expect("they were good");
        Config { defaults: settings(&config.defaults), vhosts, ..config }
    }

    /// Mostly those of the beginning, with something else here and there: a virtual host goes, and may come back.
    fn next(&mut self) -> Config {
        let rng = &mut self.rng;
        let timestamps = self.first.defaults.timestamps;
        if rng.once_in(8) {
            return Changes::of_one_time(config(rng), timestamps);
        }
        let mut other = |before: &VhostConfig| if rng.once_in(2) { settings(rng) } else { before.clone() };
        let defaults = other(&self.first.defaults);
        let all: Vec<_> = self.first.vhosts.iter().collect();
        let mut vhosts: Vec<_> =
            all.into_iter().map(|vhost| Vhost { settings: other(&vhost.settings), ..vhost.clone() }).collect();
        if vhosts.len() > 1 && rng.once_in(2) {
            let at = rng.within(0..=vhosts.len() - 1);
            if rng.once_in(3) {
                vhosts[at].enabled = false;
            } else {
                vhosts.remove(at);
            }
        }
        let vhosts = Vhosts::new(vhosts).expect("the names are good");
        Changes::of_one_time(Config { defaults, vhosts, ..self.first.clone() }, timestamps)
    }
}

/// How hooks answer: by client and question, so that an answer does not change when other clients are left out.
pub(super) fn reply(rng: &Rng, ask: &Ask) -> Reply {
    let (kind, facts) = match &ask.subject {
        Subject::Connect => (0, None),
        Subject::Publish(facts) => (1, Some(facts)),
        Subject::Play(facts) => (2, Some(facts)),
        Subject::Traverse(facts) => (3, Some(facts)),
    };
    let name = facts.map_or(0, |facts| facts.key.stream().bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte)));
    let mut rng = rng.fork(ask.client.connection).fork(name << 2 | kind);
    let after = milliseconds(&mut rng, &[0, 0, 0, 50, 700]);
    match rng.within(0..=14) {
        0 => Reply::deny().after(after),
        1 => Reply::of(Verdict::Redirect("rtmp://other.example/live/a".into())).after(after),
        2 => Reply::never(),
        _ => Reply::allow().after(after),
    }
}

/// What real encoders do beside: media that arrive apart, in bursts, now and then, out of order; key frames that are
/// not marked, or end.
pub(super) fn odd(rng: &mut Rng, encoder: &mut Encoder) {
    let late = |rng: &mut Rng| milliseconds(rng, &[0, 300, 950, 1_100, 1_500, 4_000, 10_000]);
    match rng.within(0..=2) {
        0 => encoder.video_late = late(rng),
        1 => encoder.audio_late = late(rng),
        _ => {}
    }
    let stretch = |rng: &mut Rng| {
        let (from, length) =
            (milliseconds(rng, &[0, 700, 2_000, 4_000]), milliseconds(rng, &[500, 1_500, 4_000, 8_000]));
        (rng.pick(&[Track::Audio, Track::Video]), from..from + length)
    };
    if rng.once_in(3) {
        encoder.holds = vec![stretch(rng)];
    }
    if rng.once_in(3) {
        encoder.silences = vec![stretch(rng)];
    }
    encoder.reorder = rng.once_in(3);
    encoder.end_of_sequence = rng.once_in(4).then(|| milliseconds(rng, &[0, 1_000, 3_000]));
    encoder.marks = match rng.within(0..=5) {
        0 => Marks::Inside,
        1 => Marks::None,
        2 => Marks::Until(milliseconds(rng, &[1, 2_000])),
        _ => Marks::Marked,
    };
    // What lies behind a jump can be told if not much else is odd.
    let late = encoder.video_late.max(encoder.audio_late) > Duration::from_millis(1_100);
    if encoder.reorder || late || !encoder.holds.is_empty() {
        encoder.jumps.clear();
    }
    // Time lapse, surveillance.
    if rng.once_in(5) {
        encoder.video = encoder.video.and(Some(milliseconds(rng, &[1_000, 2_000, 5_000])));
        encoder.gop = rng.pick(&[1, 1, 3]);
        // Three of them may be further than a medium may get ahead, or step back.
        encoder.reorder &= encoder.video < Some(Duration::from_secs(2));
    }
}

impl Encoder {
    /// One that does some of what real ones do beside the usual: any number of them, by the state of `rng`.
    pub fn odd(rng: &mut Rng) -> Self {
        let mut encoder = Encoder { gop: rng.pick(&[15, 200]), ..Encoder::small() };
        odd(rng, &mut encoder);
        encoder
    }
}

fn encoder(rng: &mut Rng) -> Encoder {
    let mut encoder = Encoder { metadata: !rng.once_in(4), repeat_headers: rng.once_in(4), ..Encoder::small() };
    match rng.within(0..=7) {
        0 => encoder.audio = None,
        1 => encoder.video = None,
        2 => encoder.gop = 200,
        3 => encoder.gop = 1,
        _ => {}
    }
    encoder.first_timestamp = rng.pick(&[0, 0, 0xff_ff00, u32::MAX - 3_000]);
    if rng.once_in(5) {
        let at = milliseconds(rng, &[1_000, 2_000, 4_000]);
        // Far ahead or far back: up to a second back is taken for frames that come out of order.
        encoder.jumps = vec![(at, rng.pick(&[7_000_000, 0x4000_0000, u32::MAX - 100_000]))];
    }
    if rng.once_in(2) {
        odd(rng, &mut encoder);
    }
    encoder
}

fn route(rng: &mut Rng) -> Route {
    let route = Route::to(rng.pick(&[HOSTS[0], HOSTS[0], HOSTS[0], HOSTS[1], HOSTS[2], HOSTS[3]]), "live");
    match rng.within(0..=5) {
        0 => route.from_address("10.6.6.6"),
        1 => route.from_address("10.7.7.7"),
        2 => route.from_address("2001:db8::1"),
        _ => route,
    }
}

/// A stream of few, in various words.
fn name(rng: &mut Rng, action: Action) -> String {
    let stream = rng.pick(&["a", "a", "b"]);
    let mut name = match rng.within(0..=3) {
        0 => format!("{stream}?token=x"),
        1 => format!("{stream}?token=y"),
        _ => {
            // Good with virtual hosts or without.
            let vhost = rng.pick(&[HOSTS[0], DEFAULT_VHOST]);
            let token = signature(action, vhost, stream, UNIX + 5);
            format!("{stream}?expires={}&token={token}", UNIX + 5)
        }
    };
    if rng.once_in(8) {
        name.push_str(&format!("&vhost={}", rng.pick(&HOSTS)));
    }
    name
}

/// A client so far.
#[derive(Debug, Clone, Copy)]
struct Known {
    plays: bool,
    streams: u32,
    has_own: bool,
}

/// Writes the history of a scene.
struct Author {
    rng: Rng,
    now: Duration,
    most: usize,
    clients: Vec<Known>,
    operations: Vec<Operation>,
    changes: Option<Changes>,
}

impl Author {
    fn add(&mut self, act: Act) {
        let plays = match act {
            Act::Play { .. } => Some(true),
            Act::Publish { .. } => Some(false),
            _ => None,
        };
        self.clients.extend(plays.map(|plays| Known { plays, streams: 1, has_own: false }));
        self.operations.push(Operation { at: self.now, act });
    }

    fn publish(&mut self) {
        let rng = &mut self.rng;
        let (route, name, encoder) = (route(rng), name(rng, Action::Publish), encoder(rng));
        self.add(Act::Publish { route, name, encoder, line: Line::default() });
    }

    fn play(&mut self) {
        let rng = &mut self.rng;
        let (route, name) = (route(rng), name(rng, Action::Play));
        let line = match rng.once_in(3) {
            true => Line {
                down_only: true,
                bandwidth: Some(rng.within(500..=30_000) as u64),
                buffer: Some(rng.within(100..=20_000)),
                loss: if rng.once_in(2) { 20_000 } else { 0 },
                ..Line::default()
            },
            false => Line::default(),
        };
        self.add(Act::Play { route, name, line });
    }

    /// Other settings come into force, now and then.
    fn change(&mut self) {
        if let Some(changes) = &mut self.changes
            && changes.rng.once_in(10)
        {
            let config = Box::new(changes.next());
            self.add(Act::Settings { config });
        }
    }

    /// Something happens to a client.
    fn disturb(&mut self) {
        let has_room = self.clients.len() < self.most;
        let client = self.rng.within(0..=self.clients.len() - 1);
        let players: Vec<_> = (0..self.clients.len()).filter(|index| self.clients[*index].plays).collect();
        let rng = &mut self.rng;
        let act = match rng.within(0..=21) {
            0..=3 if has_room => return self.publish(),
            4..=6 if has_room => return self.play(),
            7 => Act::Kill { client },
            8 => Act::Close { client },
            9 => Act::Stop { client },
            10 => Act::StopAndStay { client },
            11 => Act::Stall { client, duration: Duration::from_millis(rng.within(1..=5_000) as u64) },
            12 => Act::Mute { client, on: rng.once_in(2) },
            13 => Act::Reconfigure { client },
            14 => Act::Deaf { client },
            // It hangs, and another client comes in its place.
            15 => {
                let encoder = encoder(rng);
                self.add(Act::Hang { client });
                let (route, name) = (Route::to(HOSTS[0], "live"), "a?token=x".into());
                Act::Publish { route, name, encoder, line: Line::default() }
            }
            16..=17 => {
                self.clients[client].streams += 1;
                Act::AlsoPlay { client, name: name(rng, Action::Play) }
            }
            18 => {
                let Known { has_own, streams, .. } = &mut self.clients[client];
                if *has_own || *streams >= 3 {
                    return;
                }
                (*has_own, *streams) = (true, *streams + 1);
                // Its own name: a connection does not contend with itself.
                let token = signature(Action::Publish, HOSTS[0], &format!("own{client}"), UNIX + 60);
                let name = format!("own{client}?expires={}&token={token}", UNIX + 60);
                Act::AlsoPublish { client, name, encoder: encoder(rng) }
            }
            19..=20 if !players.is_empty() => {
                let track = rng.pick(&[Media::Sound, Media::Key]);
                Act::Receive { client: rng.pick(&players), track, on: rng.once_in(2) }
            }
            21 if !players.is_empty() => Act::Pause { client: rng.pick(&players), on: rng.once_in(2) },
            _ => return,
        };
        self.add(act);
    }
}

/// What happens, and until when: so long, or until there have been enough disturbances.
pub(super) fn history(rng: Rng, duration: Option<Duration>, changes: Option<Changes>) -> (Vec<Operation>, Duration) {
    let minutes = duration.map_or(0, |duration| duration.as_secs() as usize / 60);
    let most = CLIENTS * (1 + minutes * 6);
    let mut author = Author { rng, now: Duration::ZERO, most, clients: Vec::new(), operations: Vec::new(), changes };
    let first = Route::to(HOSTS[0], "live");
    let (name, encoder) = (name(&mut author.rng, Action::Publish), encoder(&mut author.rng));
    author.add(Act::Publish { route: first.clone(), name, encoder, line: Line::default() });
    author.add(Act::Play { route: first, name: "a".into(), line: Line::default() });
    for count in 0.. {
        let next = author.now + Duration::from_millis(author.rng.within(1..=500) as u64);
        if duration.map_or(count == DISTURBANCES, |duration| next > duration) {
            break;
        }
        author.now = next;
        author.change();
        author.disturb();
    }
    let mut end = duration.unwrap_or(author.now);
    author.now = end;
    if author.rng.once_in(4) {
        author.add(Act::Shutdown);
        end += Duration::from_secs(4);
    }
    (author.operations, end)
}
