use std::fmt;

use super::{Config, VhostConfig};
use crate::preface::MAX_PREFACE;
use crate::session::{MIN_REPLIES, SessionLimits};
use crate::url::{MAX_NAME_LEN, MAX_TEXT_LEN};

/// Two limits of which one must be at least as large as the other: otherwise the other limit cannot be used in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The limit that must be at least as large.
    pub limit: &'static str,
    /// Its value.
    pub value: u64,
    /// What it must have room for.
    pub room_for: &'static str,
    /// The size of that.
    pub needed: u64,
    /// What happens to clients if it has no room for it.
    pub else_: &'static str,
}

impl Agreement {
    /// Whether the limits agree.
    pub fn holds(&self) -> bool {
        self.value >= self.needed
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Agreement { limit, value, room_for, needed, else_ } = self;
        write!(f, "{limit} is {value} and {room_for} needs {needed}: {else_}")
    }
}

/// What the names and URLs of a client need with any settings: checked when this is compiled.
const _: () = {
    assert!(MAX_NAME_LEN >= MAX_TEXT_LEN + 512, "a key of the longest text has room for app and virtual host");
    assert!(MAX_NAME_LEN <= u16::MAX as usize, "places in a name are 16 bits");
    assert!(MAX_PREFACE >= 4096 + 16, "PROXY protocol 2 with 4 KiB of extensions");
    assert!(SessionLimits::LONGEST_CONNECT as usize >= 4 * MAX_TEXT_LEN + 4096, "a URL four times, and the rest");
    assert!(MIN_REPLIES > 2 * 1536, "S0 S1 S2");
};

impl Config {
    /// The limits that must agree, of all virtual hosts, with their values.
    pub fn agreements(&self) -> Vec<Agreement> {
        let mut found = before_connect(self);
        let hosts: Vec<_> = self.vhosts.iter().map(|vhost| &vhost.settings).collect();
        let alone = [&self.defaults];
        for vhost in if hosts.is_empty() { &alone[..] } else { &hosts[..] } {
            let applications = vhost.applications.iter().flat_map(|one| of_application(&one.settings, vhost));
            for agreement in of_vhost(vhost).into_iter().chain(applications) {
                if !found.contains(&agreement) {
                    found.push(agreement);
                }
            }
        }
        found
    }
}

fn before_connect(config: &Config) -> Vec<Agreement> {
    let limits = &config.defaults.session.limits;
    let chunks = &limits.chunks_before_connect;
    let message = u64::from(chunks.message);
    vec![
        Agreement {
            limit: "chunks_before_connect.message",
            value: message,
            room_for: "a URL of the longest length, which OBS sends three times,",
            needed: 3 * MAX_TEXT_LEN as u64 + 4096,
            else_: "clients with long tokens in their URL are refused",
        },
        Agreement {
            limit: "chunks_before_connect.partial",
            value: chunks.partial as u64,
            room_for: "chunks_before_connect.message",
            needed: message,
            else_: "a connect of that length never arrives",
        },
        Agreement {
            limit: "chunks_before_connect.streams",
            value: chunks.streams as u64,
            room_for: "control messages and commands",
            needed: 2,
            else_: "no client can connect",
        },
        Agreement {
            limit: "amf_before_connect.bytes",
            value: limits.amf_before_connect.bytes as u64,
            room_for: "chunks_before_connect.message",
            needed: message,
            else_: "a connect of that length arrives and is refused",
        },
        Agreement {
            limit: "amf_before_connect.values",
            value: limits.amf_before_connect.values as u64,
            room_for: "the connect of Enhanced RTMP",
            needed: 64,
            else_: "newer clients are refused",
        },
        Agreement {
            limit: "command",
            value: u64::from(limits.command),
            room_for: "chunks_before_connect.message",
            needed: message,
            else_: "a connect of that length arrives and is refused",
        },
    ]
}

/// Those of an application, and of its limits with those of its virtual host.
fn of_application(application: &VhostConfig, vhost: &VhostConfig) -> Vec<Agreement> {
    let mut found = of_vhost(application);
    let (all, own) = (&vhost.limits, &application.limits);
    for (limit, value, room_for, needed) in [
        ("limits.publishers", all.publishers, "limits.publishers of an application", own.publishers),
        ("limits.players", all.players, "limits.players of an application", own.players),
        ("limits.streams", all.streams, "limits.streams of an application", own.streams),
    ] {
        if let (Some(value), Some(needed)) = (value, needed) {
            let (value, needed) = (u64::from(value), u64::from(needed));
            found.push(Agreement { limit, value, room_for, needed, else_: "the latter is never reached" });
        }
    }
    found
}

fn of_vhost(vhost: &VhostConfig) -> Vec<Agreement> {
    let (session, source, counts) = (&vhost.session, &vhost.source, &vhost.limits);
    let limits = &session.limits;
    let message = u64::from(limits.chunks.message);
    let mut found = vec![
        Agreement {
            limit: "chunks.partial",
            value: limits.chunks.partial as u64,
            room_for: "chunks.message",
            needed: message,
            else_: "a frame of that length never arrives",
        },
        Agreement {
            limit: "chunks.message",
            value: message,
            room_for: "command",
            needed: u64::from(limits.command),
            else_: "a command of that length never arrives",
        },
        Agreement {
            limit: "chunks.message",
            value: message,
            room_for: "metadata",
            needed: u64::from(limits.metadata),
            else_: "metadata of that length ends the connection",
        },
        Agreement {
            limit: "command",
            value: u64::from(limits.command),
            room_for: "publish with a name of the longest length",
            needed: MAX_TEXT_LEN as u64 + 256,
            else_: "stream keys that are tokens are refused",
        },
        Agreement {
            limit: "amf.bytes",
            value: limits.amf.bytes as u64,
            room_for: "publish with a name of the longest length",
            needed: MAX_TEXT_LEN as u64 + 256,
            else_: "such a publish is ignored",
        },
        Agreement {
            limit: "source.header_bytes",
            value: source.header_bytes as u64,
            room_for: "metadata, and a sixteenth for the headers of codecs",
            needed: u64::from(limits.metadata) / 15 * 16,
            else_: "metadata is shortened to 15/16 of it",
        },
        Agreement {
            limit: "source.bytes",
            value: source.bytes as u64,
            room_for: "chunks.message",
            needed: message,
            else_: "a frame of that length takes all before it out of the stream",
        },
        Agreement {
            limit: "source.bytes",
            value: source.bytes as u64,
            room_for: "high_water",
            needed: vhost.high_water as u64,
            else_: "players skip before their queue is full",
        },
    ];
    let mut count = |limit, value: Option<u32>, room_for, needed: Option<u32>| {
        if let (Some(value), Some(needed)) = (value, needed) {
            let (value, needed) = (u64::from(value), u64::from(needed));
            found.push(Agreement { limit, value, room_for, needed, else_: "the latter is never reached" });
        }
    };
    count("limits.players", counts.players, "limits.stream_players", counts.stream_players);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Limits;

    #[test]
    fn the_defaults_agree() {
        for agreement in Config::default().agreements() {
            assert!(agreement.holds(), "{agreement}");
        }
    }

    #[test]
    fn each_contradiction_is_found_and_named() {
        type Change = fn(&mut VhostConfig);
        let changes: [(&str, Change); 12] = [
            ("chunks_before_connect.message", |vhost| vhost.session.limits.chunks_before_connect.message = 4096),
            ("chunks_before_connect.partial", |vhost| vhost.session.limits.chunks_before_connect.partial = 4096),
            ("chunks_before_connect.streams", |vhost| vhost.session.limits.chunks_before_connect.streams = 1),
            ("amf_before_connect.bytes", |vhost| vhost.session.limits.amf_before_connect.bytes = 4096),
            ("amf_before_connect.values", |vhost| vhost.session.limits.amf_before_connect.values = 16),
            ("command", |vhost| vhost.session.limits.command = 2000),
            ("chunks.partial", |vhost| vhost.session.limits.chunks.partial = 1 << 20),
            ("chunks.message", |vhost| vhost.session.limits.chunks.message = 64 << 10),
            ("amf.bytes", |vhost| vhost.session.limits.amf.bytes = 1024),
            ("source.header_bytes", |vhost| vhost.source.header_bytes = 64 << 10),
            ("source.bytes", |vhost| vhost.source.bytes = 1 << 20),
            ("limits.players", |vhost| {
                vhost.limits = Limits { players: Some(5), stream_players: Some(10), ..Limits::default() };
            }),
        ];
        for (limit, change) in changes {
            let mut config = Config::default();
            change(&mut config.defaults);
            let broken: Vec<_> = config.agreements().into_iter().filter(|agreement| !agreement.holds()).collect();
            assert!(broken.iter().any(|agreement| agreement.limit == limit), "{limit}: {broken:?}");
            assert!(broken.iter().all(|agreement| agreement.to_string().contains(agreement.room_for)));
        }
    }
}
