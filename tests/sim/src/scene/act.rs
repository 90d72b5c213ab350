use std::fmt;
use std::time::Duration;

use anabranch_core::conn::Config;

use crate::{ClientId, Encoder, Marks, Media, Route, Sim, Track};

/// One thing that happens in a scene.
#[derive(Debug, Clone)]
pub struct Operation {
    /// When, from the beginning on.
    pub at: Duration,
    /// What.
    pub act: Act,
}

/// What happens. Clients are numbered in the order in which they come.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each operation says what it does; `client` is the client that it happens to")]
pub enum Act {
    /// A client connects and publishes.
    Publish { route: Route, name: String, encoder: Encoder, line: Line },
    /// A client connects and plays.
    Play { route: Route, name: String, line: Line },
    /// A client plays one more stream on its connection.
    AlsoPlay { client: usize, name: String },
    /// A client publishes one more stream on its connection.
    AlsoPublish { client: usize, name: String, encoder: Encoder },
    /// The connection breaks.
    Kill { client: usize },
    /// The client closes without a message.
    Close { client: usize },
    /// The client ends its streams in good order, and closes.
    Stop { client: usize },
    /// The client ends its streams in good order, and stays connected.
    StopAndStay { client: usize },
    /// Its link delivers nothing for this long.
    Stall { client: usize, duration: Duration },
    /// It reads nothing more.
    Deaf { client: usize },
    /// Nothing that it sends arrives any more.
    Hang { client: usize },
    /// A publisher sends nothing, or goes on.
    Mute { client: usize, on: bool },
    /// A publisher sends new headers.
    Reconfigure { client: usize },
    /// A player turns a track on or off.
    Receive { client: usize, track: Media, on: bool },
    /// A player pauses or resumes.
    Pause { client: usize, on: bool },
    /// The server goes down in good order.
    Shutdown,
    /// Other settings come into force.
    Settings { config: Box<Config> },
}

/// The properties of a client's link, as far as they are not random.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// True if all but the latency is so from the server to the client only.
    pub down_only: bool,
    /// Bytes a second.
    pub bandwidth: Option<u64>,
    /// Of one direction.
    pub latency: Option<Duration>,
    /// Bytes on their way before a write stops.
    pub buffer: Option<usize>,
    /// Lost segments of a million.
    pub loss: u32,
}

impl Line {
    fn apply(&self, net: &mut Sim, id: ClientId) {
        let link = net.link(id);
        if let Some(latency) = self.latency {
            link.latency(latency);
        }
        let up = (!self.down_only).then_some(&mut link.up);
        for pipe in up.into_iter().chain([&mut link.down]) {
            if let Some(bandwidth) = self.bandwidth {
                pipe.bandwidth(bandwidth);
            }
            if let Some(buffer) = self.buffer {
                pipe.buffer(buffer);
            }
            pipe.loss(self.loss);
        }
        let delays = self.bandwidth.is_some() || self.loss > 0;
        if delays && !self.down_only {
            net.hold_up(id, Duration::from_secs(2));
        }
    }
}

impl Act {
    /// True if one more client comes.
    pub fn opens(&self) -> bool {
        matches!(self, Act::Publish { .. } | Act::Play { .. })
    }

    /// The client that it happens to, if that client is connected.
    fn client(&self) -> Option<usize> {
        match self {
            Act::Publish { .. } | Act::Play { .. } | Act::Shutdown | Act::Settings { .. } => None,
            Act::AlsoPlay { client, .. }
            | Act::AlsoPublish { client, .. }
            | Act::Kill { client }
            | Act::Close { client }
            | Act::Stop { client }
            | Act::StopAndStay { client }
            | Act::Stall { client, .. }
            | Act::Deaf { client }
            | Act::Hang { client }
            | Act::Mute { client, .. }
            | Act::Reconfigure { client }
            | Act::Receive { client, .. }
            | Act::Pause { client, .. } => Some(*client),
        }
    }

    /// Runs the operation. `clients` are the clients so far, `None` for those left out: nothing happens to these.
    pub(super) fn perform(&self, net: &mut Sim, clients: &mut Vec<Option<ClientId>>) {
        let id = match self {
            Act::Publish { route, name, encoder, line } => {
                let id = net.publish_with(route, name, encoder.clone());
                line.apply(net, id);
                return clients.push(Some(id));
            }
            Act::Play { route, name, line } => {
                let id = net.play(route, name);
                line.apply(net, id);
                return clients.push(Some(id));
            }
            Act::Shutdown => return net.shutdown(),
            Act::Settings { config } => return net.put_in_force(config),
            other => other.client().and_then(|client| clients.get(client).copied().flatten()),
        };
        let Some(id) = id else {
            return;
        };
        match self {
            Act::Publish { .. } | Act::Play { .. } | Act::Shutdown | Act::Settings { .. } => {}
            Act::AlsoPlay { name, .. } => net.also_play(id, name),
            Act::AlsoPublish { name, encoder, .. } => {
                net.also_publish(id, name, encoder.clone());
            }
            Act::Kill { .. } => net.kill(id),
            Act::Close { .. } => net.close(id),
            Act::Stop { .. } => net.stop(id),
            Act::StopAndStay { .. } => net.stop_and_stay(id),
            Act::Stall { duration, .. } => net.stall(id, *duration),
            Act::Deaf { .. } => net.link(id).down.stall(),
            Act::Hang { .. } => net.link(id).up.stall(),
            Act::Mute { on, .. } => net.mute(id, *on),
            Act::Reconfigure { .. } => net.reconfigure(id),
            Act::Receive { track, on, .. } => net.receive(id, *track, *on),
            Act::Pause { on, .. } => net.pause(id, *on),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = if self.down_only { "down " } else { "" };
        if let Some(bandwidth) = self.bandwidth {
            write!(f, ", {scope}{bandwidth} B/s")?;
        }
        if let Some(latency) = self.latency {
            write!(f, ", {latency:?} away")?;
        }
        if let Some(buffer) = self.buffer {
            write!(f, ", {scope}buffer {buffer} B")?;
        }
        if self.loss > 0 {
            write!(f, ", {scope}loss {} %", f64::from(self.loss) / 10_000.0)?;
        }
        Ok(())
    }
}

/// Where a client connects to, and from where.
fn target(route: &Route, name: &str) -> String {
    let from = route.address.map(|address| format!(" from {}", address.ip())).unwrap_or_default();
    format!("{}/{}/{name}{from}", route.host, route.app)
}

fn tracks(encoder: &Encoder) -> String {
    let Encoder { video, audio, gop, .. } = encoder;
    let mut text = match (video, audio) {
        (Some(video), Some(audio)) => format!("a picture each {video:?}, GOP {gop}, a sound each {audio:?}"),
        (Some(video), None) => format!("a picture each {video:?}, GOP {gop}"),
        (None, Some(audio)) => format!("a sound each {audio:?}"),
        (None, None) => "nothing".into(),
    };
    if !encoder.metadata {
        text.push_str(", no metadata");
    }
    if encoder.repeat_headers {
        text.push_str(", repeats headers");
    }
    if encoder.first_timestamp != 0 {
        text.push_str(&format!(", from timestamp {}", encoder.first_timestamp));
    }
    let Encoder { marks, video_late, audio_late, holds, silences, .. } = encoder;
    if *marks != Marks::Marked {
        text.push_str(&format!(", key frames {marks:?}"));
    }
    for (track, late) in [(Track::Video, video_late), (Track::Audio, audio_late)] {
        if !late.is_zero() {
            text.push_str(&format!(", {track:?} {late:?} late"));
        }
    }
    for (what, stretches) in [("held", holds), ("silent", silences)] {
        for (track, time) in stretches {
            text.push_str(&format!(", {track:?} {what} {time:?}"));
        }
    }
    if encoder.reorder {
        text.push_str(", out of order");
    }
    if let Some(end) = encoder.end_of_sequence {
        text.push_str(&format!(", its sequence ends after {end:?}"));
    }
    for (at, to) in &encoder.jumps {
        text.push_str(&format!(", jumps to {to} after {at:?}"));
    }
    text
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on: &bool, yes, no| if *on { yes } else { no };
        match self {
            Act::Publish { route, name, encoder, line } => {
                write!(f, "publishes {} ({}{line})", target(route, name), tracks(encoder))
            }
            Act::Play { route, name, line } => write!(f, "plays {}{line}", target(route, name)),
            Act::AlsoPlay { client, name } => write!(f, "client {client} also plays {name}"),
            Act::AlsoPublish { client, name, encoder } => {
                write!(f, "client {client} also publishes {name} ({})", tracks(encoder))
            }
            Act::Kill { client } => write!(f, "the connection of client {client} breaks"),
            Act::Close { client } => write!(f, "client {client} closes without a word"),
            Act::Stop { client } => write!(f, "client {client} stops and closes"),
            Act::StopAndStay { client } => write!(f, "client {client} stops and stays"),
            Act::Stall { client, duration } => write!(f, "the link of client {client} stalls for {duration:?}"),
            Act::Deaf { client } => write!(f, "client {client} reads nothing any more"),
            Act::Hang { client } => write!(f, "nothing that client {client} sends arrives any more"),
            Act::Mute { client, on } => {
                write!(f, "client {client} {}", word(on, "falls silent", "sends again, if it was silent"))
            }
            Act::Reconfigure { client } => write!(f, "client {client} sends new headers"),
            Act::Receive { client, track, on } => {
                let track = if *track == Media::Sound { "audio" } else { "video" };
                write!(f, "client {client} turns {track} {}", word(on, "on", "off"))
            }
            Act::Pause { client, on } => write!(f, "client {client} {}", word(on, "pauses", "resumes")),
            Act::Shutdown => write!(f, "the server shuts down"),
            Act::Settings { config } => {
                let names: Vec<_> = config.vhosts.iter().map(|vhost| vhost.name.as_str()).collect();
                write!(f, "other settings come into force, for the virtual hosts {names:?}")
            }
        }
    }
}
