//! Virtual hosts, streams and clients as the API shows them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anabranch_core::conn::{ApplicationSnapshot, Delivery, Role};
use anabranch_core::flv::VideoCodec;
use anabranch_core::hub::{HeldBy, StreamSnapshot};
use anabranch_core::stats::{AudioDescription, ConnSnapshot, VideoDescription, Window};
use anabranch_core::url::StreamKey;
use anabranch_host::{Closed, ConnectionInfo, Handle};

use super::context::now_ms;
use super::shapes::{Application, Attached, Audio, Client, Close, Hls, Kbps, OverRtc, Publish, Stream, Vhost, Video};
use crate::identity::Identity;

/// A virtual host's id, which is derived from its name.
fn vhost_id(name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    format!("vid-{:x}", hasher.finish())
}

fn kbps(stats: &ConnSnapshot) -> Kbps {
    let rounded = |kbps: f64| kbps.round() as u64;
    Kbps {
        recv_30s: rounded(stats.rate_in.kbps(Window::Seconds30)),
        send_30s: rounded(stats.rate_out.kbps(Window::Seconds30)),
    }
}

/// All virtual hosts, in the order of the configuration.
pub(super) fn vhosts(handle: &Handle) -> Vec<Vhost> {
    let counted = handle.vhosts();
    let mut list: Vec<_> = counted
        .iter()
        .map(|vhost| Vhost {
            id: vhost_id(&vhost.name),
            name: vhost.name.clone(),
            enabled: vhost.enabled,
            clients: vhost.connections,
            streams: vhost.streams,
            send_bytes: 0,
            recv_bytes: 0,
            kbps: Kbps::default(),
            hls: Hls { enabled: false },
            publishers: vhost.publishers,
            players: vhost.players,
            applications: vhost.applications.iter().map(show_application).collect(),
        })
        .collect();
    let places: BTreeMap<_, _> = counted.iter().enumerate().map(|(place, vhost)| (&*vhost.name, place)).collect();
    // Only collected while the connection is locked; its numbers are read afterwards.
    let mut views = Vec::new();
    handle.inspect_each(|conn| {
        if let Some((_, key)) = conn.streams().next()
            && let Some(place) = places.get(key.vhost())
        {
            views.push((*place, conn.stats()));
        }
    });
    let now = Instant::now();
    for (place, view) in views {
        let (vhost, stats) = (&mut list[place], view.snapshot(now));
        let rate = kbps(&stats);
        vhost.send_bytes += stats.bytes_out;
        vhost.recv_bytes += stats.bytes_in;
        vhost.kbps.recv_30s += rate.recv_30s;
        vhost.kbps.send_30s += rate.send_30s;
    }
    list
}

/// What a list of streams shows about connections.
#[derive(Debug, Default)]
pub(super) struct Listing {
    sides: HashMap<StreamKey, Sides>,
}

/// The connections of one stream.
#[derive(Debug, Default)]
struct Sides {
    publishers: Vec<(u64, String)>,
    sent: u64,
    send_kbps: u64,
    dropped: u64,
    lag: u64,
}

impl Listing {
    /// Collects the connections of these streams.
    pub(super) fn of(handle: &Handle, streams: &[StreamSnapshot]) -> Self {
        let mut sides: HashMap<_, _> = streams.iter().map(|stream| (stream.key.clone(), Sides::default())).collect();
        let mut players = Vec::new();
        // An empty list needs no connections.
        if sides.is_empty() {
            return Listing::default();
        }
        handle.inspect_each(|conn| {
            for (role, key) in conn.streams() {
                match (role, sides.get_mut(key)) {
                    (Role::Publisher, Some(side)) => {
                        let tc_url = without_secrets(&conn.facts().tc_url.unwrap_or_default());
                        side.publishers.push((conn.id(), tc_url));
                    }
                    (Role::Player, Some(_)) => players.push((key.clone(), conn.stats())),
                    (_, None) => {}
                }
            }
        });
        let now = Instant::now();
        for (key, view) in players {
            if let Some(side) = sides.get_mut(&key) {
                let stats = view.snapshot(now);
                side.sent += stats.bytes_out;
                side.send_kbps += kbps(&stats).send_30s;
                side.dropped += stats.dropped.frames;
                side.lag = side.lag.max(stats.lag);
            }
        }
        Listing { sides }
    }

    /// The list of these streams.
    pub(super) fn streams(&self, streams: &[StreamSnapshot], identity: &Identity) -> Vec<Stream> {
        let none = Sides::default();
        streams.iter().map(|stream| show(stream, self.sides.get(&stream.key).unwrap_or(&none), identity)).collect()
    }
}

fn show_application(application: &ApplicationSnapshot) -> Application {
    Application {
        streams: application.name.to_string(),
        active: application.streams,
        publishers: application.publishers,
        players: application.players,
    }
}

fn show(stream: &StreamSnapshot, sides: &Sides, identity: &Identity) -> Stream {
    let stats = stream.stats.as_ref().map(|view| view.snapshot(Instant::now()));
    // A stream may have two, of which one stands by.
    let number = |held: &Option<HeldBy>| match held {
        Some(HeldBy::Client { connection, .. }) => Some(*connection),
        _ => None,
    };
    let publisher = sides.publishers.iter().find(|(id, _)| Some(*id) != number(&stream.backup)).cloned();
    let backup = number(&stream.backup).map(|id| identity.client_id(id)).unwrap_or_default();
    let (cid, tc_url) = publisher.map_or_else(Default::default, |(id, url)| (identity.client_id(id), url));
    let known = stats.filter(|_| stream.published);
    Stream {
        id: identity.stream_id(&stream.key),
        name: stream.key.stream().to_owned(),
        vhost: vhost_id(stream.key.vhost()),
        app: stream.key.app().to_owned(),
        tc_url,
        url: url(&stream.key),
        live_ms: now_ms(),
        clients: stream.players + usize::from(stream.published),
        frames: stats.map_or(0, |stats| stats.video_frames),
        send_bytes: sides.sent,
        recv_bytes: stats.map_or(0, |stats| stats.bytes),
        kbps: Kbps {
            recv_30s: stats.map_or(0, |stats| stats.rate.kbps(Window::Seconds30).round() as u64),
            send_30s: sides.send_kbps,
        },
        publish: Publish {
            active: stream.published,
            cid,
            backup,
            switches: stream.switches,
            fallback: stream.fallback,
        },
        video: known.and_then(|stats| stats.video).map(|video| show_video(&video)),
        audio: known.and_then(|stats| stats.audio).map(|audio| show_audio(&audio)),
        key: stream.key.to_string(),
        application: stream.group.as_deref().unwrap_or_default().to_owned(),
        players: stream.players,
        audio_frames: stats.map_or(0, |stats| stats.audio_frames),
        fps: stats.map_or(0.0, |stats| stats.video_rate.fps(Window::Seconds30)),
        gop_ms: known.and_then(|stats| stats.key_frame_intervals.last).map(|interval| interval.milliseconds),
        jumps: stats.map_or(0, |stats| stats.jumps),
        keyless: stream.keyless,
        keyless_starts: stream.keyless_starts,
        merge_window_ms: milliseconds(stream.merge_window),
        log_bytes: stream.log_bytes,
        held_bytes: stream.held_bytes,
        dropped_frames: sides.dropped,
        lag_frames: sides.lag,
        idle_ms: stats.and_then(|stats| stats.idle).map(milliseconds),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn url(key: &StreamKey) -> String {
    format!("/{}/{}", key.app(), key.stream())
}

/// A client's URL without user, password and parameters: if the API needs no credentials, all users of this machine can
/// read it.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.find('/').unwrap_or(rest.len());
            let start = rest[..host].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[start..])
        }
        None => url.to_owned(),
    }
}

fn show_video(video: &VideoDescription) -> Video {
    let summary = video.summary;
    let (width, height) = summary.and_then(|summary| summary.size).unwrap_or_default();
    Video {
        // SRS's spelling, which dashboards compare with.
        codec: if video.codec == VideoCodec::Avc { "H264".to_owned() } else { video.codec.name().to_owned() },
        profile: summary.and_then(|summary| summary.profile_name).unwrap_or_default().to_owned(),
        level: summary.and_then(|summary| summary.level).map(|level| level.to_string()).unwrap_or_default(),
        width,
        height,
    }
}

fn show_audio(audio: &AudioDescription) -> Audio {
    let summary = audio.summary;
    Audio {
        codec: audio.codec.name().to_owned(),
        sample_rate: summary.map_or(0, |summary| summary.sample_rate),
        channel: summary.and_then(|summary| summary.channels).unwrap_or_default(),
        profile: summary.and_then(|summary| summary.profile_name).unwrap_or_default().to_owned(),
    }
}

/// A connection.
pub(super) fn client(info: &ConnectionInfo, over_rtc: Option<OverRtc>, handle: &Handle, identity: &Identity) -> Client {
    let role = |role: Role, key: &StreamKey| match (role, handle.backup(key)) {
        (Role::Publisher, Some(HeldBy::Client { connection, .. })) if connection == info.id => "backup".to_owned(),
        _ => role.to_string(),
    };
    let first = info.streams.first();
    let stream = first.map(|(_, key)| identity.stream_id(key));
    let plays = info.streams.iter().any(|(role, _)| *role == Role::Player);
    let publishes = info.streams.iter().any(|(role, _)| *role == Role::Publisher);
    let kind = match first {
        Some(_) if publishes => info.manner.name(),
        Some(_) => info.facts.delivery.kind(),
        None => "unknown",
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let shown = |url: &Option<String>| url.as_deref().map(without_secrets).unwrap_or_default();
    let facts = &info.facts;
    let vhost = first.map_or(&*facts.vhost, |(_, key)| key.vhost());
    Client {
        id: identity.client_id(info.id),
        vhost: vhost_id(vhost),
        stream: stream.unwrap_or_default(),
        ip: info.peer.map(|peer| peer.ip().to_string()).unwrap_or_default(),
        page_url: shown(&facts.page_url),
        swf_url: shown(&facts.swf_url),
        tc_url: shown(&facts.tc_url),
        url: first.map(|(_, key)| url(key)).unwrap_or_default(),
        name: first.map(|(_, key)| key.stream().to_owned()).unwrap_or_default(),
        kind: kind.to_owned(),
        publish: publishes,
        alive: info.stats.age.as_secs_f64(),
        send_bytes: info.stats.bytes_out,
        recv_bytes: info.stats.bytes_in,
        kbps: kbps(&info.stats),
        port: info.peer.map_or(0, |peer| peer.port()),
        app: first.map_or_else(|| facts.app.clone(), |(_, key)| key.app().to_owned()),
        flash_ver: text(&facts.agent),
        form: if plays { facts.delivery.name().to_owned() } else { String::new() },
        user_agent: if facts.delivery == Delivery::Rtmp { String::new() } else { text(&facts.agent) },
        phase: info.phase.to_string(),
        streams: info
            .streams
            .iter()
            .map(|(attached, key)| Attached { role: role(*attached, key), key: key.to_string() })
            .collect(),
        recv_frames: info.stats.frames_in,
        send_frames: info.stats.frames_out,
        dropped_frames: info.stats.dropped.frames,
        dropped_ms: info.stats.dropped.milliseconds,
        lag_frames: info.stats.lag,
        rtc: over_rtc,
    }
}

/// A connection that has ended.
pub(super) fn closed(closed: &Closed, identity: &Identity) -> Close {
    let (role, stream) =
        closed.stream.as_ref().map_or_else(Default::default, |(role, key)| (role.to_string(), key.to_string()));
    let stream = if closed.request.is_some() { closed.asked.clone() } else { stream };
    let time = closed.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Close {
        id: identity.client_id(closed.id),
        time_ms: milliseconds(time),
        ip: closed.address.clone().unwrap_or_default(),
        role,
        stream,
        request: closed.request.map(|request| request.name().to_owned()).unwrap_or_default(),
        code: closed.code.unwrap_or_default().to_owned(),
        reason: closed.reason.to_owned(),
        words: closed.words.clone(),
        alive: closed.duration.as_secs_f64(),
        send_bytes: closed.sent,
        recv_bytes: closed.received,
        dropped_frames: closed.missed.frames,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_what_may_be_secret() {
        for (url, shown) in [
            ("rtmp://h/live", "rtmp://h/live"),
            ("rtmp://user:pass@h:1936/live?token=x", "rtmp://h:1936/live"),
            ("rtmp://a@b@h", "rtmp://h"),
            ("rtmp://h/live/a@b", "rtmp://h/live/a@b"),
            ("https://h/page?session=1#top", "https://h/page"),
            ("live?token=x", "live"),
            ("", ""),
            ("://", "://"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
