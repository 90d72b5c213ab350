use std::time::Duration;

use super::Destination;
use crate::amf::{self, Object, Value};
use crate::chunk::{ChunkLimits, Leniency};
use crate::command::{Capabilities, Command};
use crate::handshake::ClientHandshakeKind;

/// What a client sends about itself, how it sends, and what it allows a server. One value serves any number of
/// connections to the same application.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The application in `connect`.
    pub app: String,
    /// `tcUrl` in `connect`; what a reconnect request without a host is relative to.
    pub tc_url: String,
    /// The page that a player is embedded in. Default none.
    pub page_url: Option<String>,
    /// The SWF file of a player. Default none.
    pub swf_url: Option<String>,
    /// Our name and version. Default in the form that encoders since FMLE send: servers look for `FMLE/` in it.
    pub flash_ver: String,
    /// What follows the command object of `connect`: some applications want credentials here. Default nothing.
    pub arguments: Vec<Value>,
    /// Further properties of the command object of `connect`. Default none.
    pub properties: Object,
    /// Which parts of Enhanced RTMP are announced; `None` for nothing. Default: what a relay supports, which is
    /// everything.
    pub enhanced: Option<EnhancedRtmp>,
    /// Form of the handshake. Default simple: only Flash Media Server refuses it.
    pub handshake: ClientHandshakeKind,
    /// Chunk size of what we send, in bytes; best that of the frames to be sent, see
    /// [`send_frame`](super::Client::send_frame). Default 60000.
    pub chunk_size: u32,
    /// Window Acknowledgement Size announced to the server, and ours until the server names one, in bytes.
    /// Default 2 500 000.
    pub window: u32,
    /// How to take chunk headers that inherit from nothing.
    pub leniency: Leniency,
    /// What the server may make us hold and queue.
    pub limits: ClientLimits,
    /// How long things may take.
    pub timeouts: ClientTimeouts,
}

impl Default for ClientConfig {
    /// Without application and URL, which a server may refuse: see [`ClientConfig::to`].
    fn default() -> Self {
        ClientConfig {
            app: String::new(),
            tc_url: String::new(),
            page_url: None,
            swf_url: None,
            flash_ver: "FMLE/3.0 (compatible; Anabranch)".into(),
            arguments: Vec::new(),
            properties: Object::new(),
            enhanced: Some(EnhancedRtmp::default()),
            handshake: ClientHandshakeKind::Simple,
            chunk_size: 60_000,
            window: 2_500_000,
            leniency: Leniency::Lenient,
            limits: ClientLimits::default(),
            timeouts: ClientTimeouts::default(),
        }
    }
}

impl ClientConfig {
    /// Default settings for connections to the application of `destination`.
    pub fn to(destination: &Destination) -> Self {
        ClientConfig { app: destination.app().into(), tc_url: destination.tc_url(), ..ClientConfig::default() }
    }

    /// The `connect` command.
    pub(super) fn connect(&self, transaction: f64) -> Command {
        let mut object = Object::new().with("app", self.app.as_str()).with("type", "nonprivate");
        object.insert("flashVer", self.flash_ver.as_str());
        for (key, url) in [("swfUrl", &self.swf_url), ("pageUrl", &self.page_url)] {
            if let Some(url) = url {
                object.insert(key, url.as_str());
            }
        }
        // The codecs of Flash Player, all of them, as every client says.
        let mut object = object
            .with("tcUrl", self.tc_url.as_str())
            .with("fpad", false)
            .with("capabilities", 15.0)
            .with("audioCodecs", 4071.0)
            .with("videoCodecs", 252.0)
            .with("videoFunction", 1.0)
            .with("objectEncoding", 0.0);
        if let Some(enhanced) = &self.enhanced {
            enhanced.write(&mut object);
        }
        for (name, value) in &self.properties {
            object.insert(name.clone(), value.clone());
        }
        let command = Command::new("connect", transaction, Value::Object(object));
        Command { arguments: self.arguments.clone(), ..command }
    }
}

/// What of Enhanced RTMP a client announces (Enhanced RTMP v2, "Enhancing NetConnection connect Command").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnhancedRtmp {
    /// `fourCcList`: codecs by their FourCC, or `*` for any.
    pub four_cc_list: Vec<String>,
    /// `videoFourCcInfoMap`: for each video codec a mask of 1 (can decode), 2 (can encode) and 4 (can forward).
    pub video_four_cc_info_map: Vec<(String, u32)>,
    /// `audioFourCcInfoMap`: the same for audio.
    pub audio_four_cc_info_map: Vec<(String, u32)>,
    /// `capsEx`: a mask of the flags of [`Capabilities`].
    pub caps_ex: u32,
}

impl Default for EnhancedRtmp {
    /// A relay: it forwards whatever comes, and understands multitrack, ModEx and reconnect requests.
    fn default() -> Self {
        let any = || vec![("*".to_owned(), 4)];
        EnhancedRtmp {
            four_cc_list: vec!["*".into()],
            video_four_cc_info_map: any(),
            audio_four_cc_info_map: any(),
            caps_ex: Capabilities::RECONNECT | Capabilities::MULTITRACK | Capabilities::MOD_EX,
        }
    }
}

impl EnhancedRtmp {
    fn write(&self, object: &mut Object) {
        let map = |entries: &[(String, u32)]| {
            let entries = entries.iter().map(|(codec, mask)| (codec.as_str(), *mask));
            entries.fold(Object::new(), |object, (codec, mask)| object.with(codec, mask))
        };
        let list: Vec<_> = self.four_cc_list.iter().map(|codec| Value::from(codec.as_str())).collect();
        object.insert("fourCcList", Value::StrictArray(list));
        object.insert("videoFourCcInfoMap", map(&self.video_four_cc_info_map));
        object.insert("audioFourCcInfoMap", map(&self.audio_four_cc_info_map));
        object.insert("capsEx", self.caps_ex);
    }
}

/// Bounds on what one connection can hold.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Bounds of the chunk reader. Buffers of ordinary frames are allocated once: `eager` is 64 KiB.
    pub chunks: ChunkLimits,
    /// Longest command, data or control message, in bytes. Default 1 MiB.
    pub command: u32,
    /// Bounds on the AMF values in one message.
    pub amf: amf::Limits,
    /// Streams published and played on one connection. Default 16.
    pub streams: usize,
    /// Calls that wait for their answer, those of the client's own included. Default 64.
    pub calls: usize,
    /// Events waiting for [`poll_output`](super::Client::poll_output); at the bound nothing more is parsed until they
    /// are taken. Default 512.
    pub events: usize,
    /// Bytes of the messages that those events came of, with the same effect; one message may go over it. Default 4
    /// MiB.
    pub event_bytes: usize,
    /// Bytes of answers to the server waiting to be written; at the bound nothing more is parsed. Default 64 KiB.
    pub replies: usize,
    /// Bytes received but not parsed because of the three bounds above. An adapter that honours
    /// [`Wait::read`](crate::session::Wait::read) never gets past one read beyond it. Default 1 MiB.
    pub inbox: usize,
    /// Bytes waiting to be written at which no more media is taken. Default 8 MiB; one message may go over it.
    pub outbound: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        ClientLimits {
            chunks: ChunkLimits { eager: 64 << 10, ..ChunkLimits::default() },
            command: 1 << 20,
            amf: amf::Limits::default(),
            streams: 16,
            calls: 64,
            events: 512,
            event_bytes: 4 << 20,
            replies: 64 << 10,
            inbox: 1 << 20,
            outbound: 8 << 20,
        }
    }
}

/// Durations a client waits before it gives up.
#[derive(Debug, Clone)]
pub struct ClientTimeouts {
    /// From the first moment to the answer to `connect`, handshake included. Default 10 s.
    pub connect: Duration,
    /// For the answer to any other request. Default 10 s.
    pub answer: Duration,
    /// Without any progress in writing while bytes wait. Default 30 s.
    pub write: Duration,
    /// Without a byte from the server once connected. Default no limit: a server need not send anything to a publisher.
    pub read: Option<Duration>,
    /// For the last bytes of a connection that is being closed. Default 3 s.
    pub linger: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        ClientTimeouts {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            write: Duration::from_secs(30),
            read: None,
            linger: Duration::from_secs(3),
        }
    }
}
