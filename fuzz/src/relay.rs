//! Relays: templates of targets, and uplinks against any server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_core::client::ClientCloseReason;
use anabranch_core::conn::{Config, Core, VhostConfig};
use anabranch_core::message::Message;
use anabranch_core::relay::{
    AttemptId, Edge, Failure, Forward, Order, Origin, PushTarget, Relays, Template, Uplink, UplinkOutput,
};
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
use bytes::Buf;

use crate::cuts::{Cuts, take_byte};
use crate::time::any_instant;

/// A byte of setup. Then a template, a name and parameters, one a line; or cuts, then what a server sends.
pub fn run(mut input: &[u8]) {
    let flags = take_byte(&mut input);
    if flags & 1 == 0 {
        let text = String::from_utf8_lossy(input);
        let mut lines = text.splitn(3, '\n');
        let mut line = || lines.next().unwrap_or_default();
        template(line(), line(), line());
    } else {
        let cuts = Cuts::take(&mut input);
        uplinks(flags, &cuts.pieces(input));
    }
}

/// Names of clients never decide where the server connects to, and secrets are not shown.
fn template(text: &str, name: &str, params: &str) {
    let key = StreamKey::new(DEFAULT_VHOST, "live", name);
    if let (Ok(template), Ok(key)) = (text.parse::<Template>(), &key) {
        assert_eq!(template.as_str(), text.trim());
        let sample = StreamKey::new(DEFAULT_VHOST, "live", "cam").expect("a name");
        let known = template.target(&sample, "").expect("it was checked");
        if let Ok(target) = template.target(key, params) {
            let (one, other) = (known.destination(), target.destination());
            assert_eq!((one.host(), one.port(), one.scheme()), (other.host(), other.port(), other.scheme()));
            assert!(!target.destination().stream().contains(char::is_control));
            let query = other.stream().split_once('?').map_or("", |(_, query)| query);
            assert!(query.len() < 4 || !target.hide(query).contains(query) || "***".contains(query));
        }
    }
    if let Ok(key) = key {
        let _ = PushTarget::of_url(text, &key);
    }
    if let Ok(origin) = text.parse::<Origin>() {
        assert_eq!(origin.to_string().parse(), Ok(origin));
    }
}

/// A server with a push of a published stream and a pull of a played one. Every uplink gets the same bytes.
fn uplinks(flags: u8, pieces: &[&[u8]]) {
    let mut now = any_instant();
    let edge = Edge::of(["10.0.0.1", "origin.example"].map(|origin| origin.parse().expect("an origin")).into());
    let forward = vec![Forward::new("rtmp://10.0.0.2/a/{stream}?key={params}".parse().expect("a template"))];
    let config = VhostConfig { edge: Some(edge), forward, ..VhostConfig::default() };
    let server = Core::new(Config::from(config), [5; 32]);
    let relays = server.relays().clone();
    let key = |name| StreamKey::new(DEFAULT_VHOST, "live", name).expect("a name");
    let mut publisher = server.hub().publish(&key("own")).expect("it is free");
    let limits = anabranch_core::policy::Limits::default();
    let player = server.hub().admit_player(&key("other"), &limits).expect("there is room");
    for number in 0..4_u8 {
        let frame = [&[if number == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0][..], &[number; 3000]].concat();
        publisher.push(now, Message::video(u32::from(number) * 40, &frame[..])).expect("it has the name");
    }
    let mut open: Vec<(Uplink, usize)> = Vec::new();
    for turn in 0..200_u64 {
        obey(&relays, now, flags, &mut open);
        open.retain_mut(|(uplink, at)| {
            if let Some(piece) = pieces.get(*at) {
                uplink.handle_input(now, piece);
                *at += 1;
            } else if *at == pieces.len() && flags & 2 != 0 {
                uplink.handle_disconnect(now, ClientCloseReason::PeerClosed);
                *at += 1;
            }
            uplink.handle_timeout(now);
            serve(uplink, now, flags & 4 != 0)
        });
        now += Duration::from_millis(turn * 7);
    }
    relays.close(now);
    drop((publisher, player));
    for _ in 0..20 {
        obey(&relays, now, flags, &mut open);
        open.retain_mut(|(uplink, _)| {
            uplink.handle_timeout(now);
            serve(uplink, now, true)
        });
        now += Duration::from_secs(10);
    }
    assert!(open.is_empty(), "every uplink ends: {open:?}");
    while !matches!(relays.poll(now), Order::Wait(_)) {}
    assert!(relays.is_over(), "no relay is left: {:?}", relays.list(now));
    assert!(server.hub().streams().is_empty());
}

/// Does what the relays order.
fn obey(relays: &Relays, now: Instant, flags: u8, open: &mut Vec<(Uplink, usize)>) {
    let connect = |attempt: AttemptId, address: SocketAddr, open: &mut Vec<(Uplink, usize)>| {
        if flags & 8 != 0 && address.port() == 1936 {
            return relays.failed(now, attempt, Failure::Connect("refused".to_owned()));
        }
        open.extend(relays.connected(now, attempt, address).map(|uplink| (uplink, 0)));
    };
    for turn in 0.. {
        assert!(turn < 10_000, "orders without end");
        match relays.poll(now) {
            Order::Resolve { attempt, port, .. } => {
                relays.resolved(now, attempt, vec![SocketAddr::from(([10, 0, 0, 3], port))]);
            }
            Order::Connect { attempt, address, .. } => connect(attempt, address, open),
            Order::Wait(next) => {
                assert!(next.is_none_or(|next| next > now), "it has done all that is due");
                return;
            }
            Order::Remark(remark) => _ = remark.to_string(),
            _ => {}
        }
    }
}

/// Polls an uplink; false once it is over.
fn serve(uplink: &mut Uplink, now: Instant, writes: bool) -> bool {
    for turn in 0.. {
        assert!(turn < 100_000, "it does not come to rest");
        match uplink.poll(now) {
            UplinkOutput::Action(_) => {}
            UplinkOutput::Closed(report) => {
                let _ = report.to_string();
                return false;
            }
            UplinkOutput::Wait(_) => {
                let left = uplink.outbound().remaining();
                assert!(left < 1 << 20, "{left} bytes wait");
                if !writes || left == 0 {
                    return true;
                }
                uplink.outbound().advance(left);
            }
        }
    }
    true
}
