use std::fmt;

use super::{Command, request};
use crate::amf::{Object, Value};
use crate::flv::FourCC;

/// The properties of a client's `connect` (RTMP 1.0 §7.2.1.1). Absent properties are `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConnectInfo {
    /// The application; may carry a query, an instance, a trailing slash.
    pub app: Option<String>,
    /// The URL the client was given, without the stream name.
    pub tc_url: Option<String>,
    /// The client's own name and version.
    pub flash_ver: Option<String>,
    /// URL of the SWF file; OBS sends the tcUrl again.
    pub swf_url: Option<String>,
    /// URL of the web page the player is embedded in.
    pub page_url: Option<String>,
    /// 0 for AMF0, 3 for AMF3; the answer has the same number.
    pub object_encoding: f64,
    /// The client's Enhanced RTMP capabilities.
    pub capabilities: Capabilities,
    /// If the client is a relay of such a server as this: the ids of the servers that the stream has come by, with commas
    /// between them.
    pub relayed: Option<String>,
    /// If the client is another server of the cluster: its signature for what it pulls.
    pub pull: Option<Signature>,
    /// True if it stands for a request by HTTP: the URL has that scheme.
    pub is_web: bool,
    /// True if it stands for such a request of a page that may not play.
    pub is_page_denied: bool,
    /// The arguments after the command object: Flash applications put credentials here.
    pub arguments: Vec<Value>,
}

/// The signature of a pull within a cluster, which `Debug` does not show. It is not checked yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(String);

impl Signature {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// Enhanced RTMP capabilities, from `connect` or for its answer (Enhanced RTMP v2, "Enhancing NetConnection connect
/// Command").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// `capsEx`: a mask of [`Self::RECONNECT`] and the others.
    pub flags: u32,
    /// Video codecs that the client accepts, from `fourCcList` and `videoFourCcInfoMap`.
    pub video: FourCcSupport,
    /// Audio codecs that the client accepts, from `fourCcList` and `audioFourCcInfoMap`.
    pub audio: FourCcSupport,
}

impl Capabilities {
    /// Understands `NetConnection.Connect.ReconnectRequest`.
    pub const RECONNECT: u32 = 1;
    /// Understands multitrack messages.
    pub const MULTITRACK: u32 = 2;
    /// Can parse ModEx.
    pub const MOD_EX: u32 = 4;
    /// Uses the nanosecond offset.
    pub const TIMESTAMP_NANO_OFFSET: u32 = 8;

    /// True if all of `flags` were announced.
    pub fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// The capabilities that a command object, or the answer to `connect`, announces.
    pub(crate) fn of_object(object: &Object) -> Capabilities {
        let mut found = Capabilities::default();
        if let Some(flags) = object.get("capsEx").and_then(Value::as_number)
            && (0.0..=f64::from(u32::MAX)).contains(&flags)
        {
            found.flags = flags as u32;
        }
        if let Some(Value::StrictArray(names)) = object.get("fourCcList") {
            for name in names {
                if let Value::String(name) = name {
                    found.video.add(name.as_bytes());
                    found.audio.add(name.as_bytes());
                }
            }
        }
        for (key, support) in [("videoFourCcInfoMap", &mut found.video), ("audioFourCcInfoMap", &mut found.audio)] {
            let Some(map) = object.get(key).and_then(Value::as_object) else {
                continue;
            };
            for (name, mask) in map {
                // Bits 1 (can decode) and 4 (can forward): with either, the server can send the codec to the client.
                if mask.as_number().is_some_and(|mask| mask > 0.0 && mask < 256.0 && mask as u8 & 5 != 0) {
                    support.add(name.as_bytes());
                }
            }
        }
        found
    }
}

/// The FourCC codecs that a client announced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FourCcSupport {
    /// The client announced none, as most players do, with or without Enhanced RTMP.
    #[default]
    Unstated,
    /// Any codec (`"*"`).
    Any,
    /// These codecs.
    List(Vec<FourCC>),
}

impl FourCcSupport {
    /// Most codecs remembered of a client's list.
    const MAX: usize = 32;

    /// True if the client announced `codec`; `None` if it announced no codecs.
    pub fn supports(&self, codec: FourCC) -> Option<bool> {
        match self {
            FourCcSupport::Unstated => None,
            FourCcSupport::Any => Some(true),
            FourCcSupport::List(list) => Some(list.contains(&codec)),
        }
    }

    fn add(&mut self, name: &[u8]) {
        match (name, &mut *self) {
            (b"*", _) => *self = FourCcSupport::Any,
            (_, FourCcSupport::Any) => {}
            (&[a, b, c, d], FourCcSupport::Unstated) => *self = FourCcSupport::List(vec![FourCC([a, b, c, d])]),
            (&[a, b, c, d], FourCcSupport::List(list)) => {
                let codec = FourCC([a, b, c, d]);
                if list.len() < Self::MAX && !list.contains(&codec) {
                    list.push(codec);
                }
            }
            _ => {}
        }
    }
}

impl ConnectInfo {
    /// Reads a `connect` command. This cannot fail: a property with the wrong type counts as absent.
    pub fn from_command(command: &Command) -> Self {
        let empty = Object::default();
        let object = command.object.as_object().unwrap_or(&empty);
        let value = |name: &str| object.get(name).or_else(|| object.get(&format!("{name}\0")));
        let text = |name: &str| match value(name) {
            Some(Value::String(text)) => Some(request::text(text)),
            _ => None,
        };
        ConnectInfo {
            is_web: false,
            is_page_denied: false,
            app: text("app"),
            // gortmplib reports senders that spell the key in lower case.
            tc_url: text("tcUrl").or_else(|| text("tcurl")),
            flash_ver: text("flashVer"),
            swf_url: text("swfUrl"),
            page_url: text("pageUrl"),
            object_encoding: value("objectEncoding").and_then(Value::as_number).unwrap_or(0.0),
            capabilities: Capabilities::of_object(object),
            relayed: text("anabranch").filter(|path| is_server_path(path)),
            pull: text("anabranchPull").map(Signature),
            arguments: command.arguments.clone(),
        }
    }
}

/// True for ids of servers, each 16 hexadecimal digits, with commas between. Anything else comes from no relay: it is
/// ignored, and not kept or sent on.
fn is_server_path(text: &str) -> bool {
    let is_id = |id: &str| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.len() <= LONGEST_SERVER_PATH && text.split(',').all(is_id)
}

/// Ids of more servers than a stream goes through.
const LONGEST_SERVER_PATH: usize = 17 * 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_servers_are_taken_for_a_path() {
        let relayed = |text: &str| connect(Object::default().with("anabranch", text)).relayed;
        let id = "0123456789abcdef";
        for path in [id.to_owned(), format!("{id},{id}"), [id; 17].join(",")] {
            assert_eq!(relayed(&path), Some(path));
        }
        for other in [String::new(), "a,b".to_owned(), format!("{id},"), format!("{id};{id}"), [id; 18].join(",")] {
            assert_eq!(relayed(&other), None, "{other}");
        }
    }

    fn connect(object: Object) -> ConnectInfo {
        ConnectInfo::from_command(&Command::new("connect", 1.0, Value::Object(object)))
    }

    #[test]
    fn wrong_types_count_as_absent() {
        let info = connect(Object::default().with("app", 5.0).with("tcUrl", "rtmp://h/live").with("capsEx", -1.0));
        assert_eq!(info.app, None);
        assert_eq!(info.tc_url.as_deref(), Some("rtmp://h/live"));
        assert_eq!(info.capabilities.flags, 0);
        assert_eq!(ConnectInfo::from_command(&Command::new("connect", 1.0, Value::Null)), ConnectInfo::default());
    }

    #[test]
    fn applications_in_another_code_page_stay_apart() {
        let bytes = |bytes: &[u8]| Value::String(bytes.into());
        let info = connect(
            Object::default().with("app", bytes(b"\xff/\xfe")).with("tcUrl", bytes(b"rtmp://h/\xff/\xfe?a=%ff")),
        );
        assert_eq!(info.app.as_deref(), Some("%FF/%FE"));
        assert_eq!(info.tc_url.as_deref(), Some("rtmp://h/%FF/%FE?a=%ff"));
    }

    #[test]
    fn both_generations_of_codec_lists_are_read() {
        let info = connect(
            Object::default()
                .with("fourCcList", Value::StrictArray(vec!["hvc1".into(), "bad".into(), 7.0.into()]))
                .with("videoFourCcInfoMap", Value::Object(Object::default().with("av01", 1.0).with("vp09", 2.0)))
                .with("audioFourCcInfoMap", Value::EcmaArray(Object::default().with("*", 4.0)))
                .with("capsEx", 3.0),
        );
        let video = &info.capabilities.video;
        assert_eq!(video.supports(FourCC(*b"hvc1")), Some(true));
        assert_eq!(video.supports(FourCC(*b"av01")), Some(true));
        assert_eq!(video.supports(FourCC(*b"vp09")), Some(false), "encoding it does not mean decoding it");
        assert_eq!(info.capabilities.audio, FourCcSupport::Any);
        assert!(info.capabilities.has(Capabilities::RECONNECT | Capabilities::MULTITRACK));
        assert!(!info.capabilities.has(Capabilities::MOD_EX));
    }
}
