//! What the fuzz targets do with an input. Each function asserts what must hold besides not to panic: the programs that
//! libFuzzer runs are one line each.

pub mod amf;
pub mod chunk;
pub mod client;
pub mod connection;
mod cuts;
pub mod directory;
pub mod flv;
pub mod formats;
pub mod handshake;
pub mod http;
pub mod message;
#[path = "../../core/rtc/tests/support/payloads.rs"]
mod payloads;
#[path = "../../core/tests/support/playlist.rs"]
mod playlist;
pub mod policy;
pub mod preface;
pub mod relay;
pub mod replay;
pub mod rtc;
pub mod scene;
pub mod session;
pub mod source;
mod time;
pub mod url;

/// What is done with an input.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, as of its corpus.
    pub name: &'static str,
    /// The path of the function in this crate.
    pub path: &'static str,
    /// The function.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident: $run:path,)*) => {
        /// All targets.
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), path: stringify!($run), run: $run },)*];
    };
}

targets! {
    amf0: amf::amf0,
    amf3: amf::amf3,
    chunk_reader: chunk::run,
    client_session: client::run,
    command: message::command,
    directory: directory::run,
    flv_aggregate: flv::aggregate,
    flv_audio: flv::audio,
    flv_config: flv::config,
    flv_tags: flv::tags,
    flv_video: flv::video,
    fmp4: formats::fmp4,
    handshake_client: handshake::client,
    handshake_server: handshake::server,
    http: http::run,
    message: message::any,
    mpegts: formats::mpegts,
    playlist: formats::playlist,
    policy: policy::run,
    preface: preface::run,
    relay: relay::run,
    rtc_datagrams: rtc::datagrams,
    rtc_offer: rtc::offer,
    rtc_packets: rtc::packets,
    segmenter: formats::segmenter,
    server: scene::run,
    server_connection: connection::run,
    server_session: session::run,
    source: source::run,
    url: url::run,
}
