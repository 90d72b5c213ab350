//! The commands that a server sends: results, errors and status notices, in the form that clients expect.
//!
//! Information objects are AMF0 Objects, never ECMA arrays: rtmpdump does not start playing on the latter. The third
//! value of a createStream result is Null: FFmpeg accepts nothing else there.

use super::{Capabilities, Command};
use crate::amf::{Object, Value, amf0};

/// Severity of a status notice. All kinds of clients end the stream or the connection after `Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The request succeeded, or the stream's state changed.
    Status,
    /// A request was not done as asked; the stream continues.
    Warning,
    /// The request failed.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Status => "status",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// The information object of a notice.
pub fn information(level: Level, code: &str, description: &str) -> Object {
    Object::default().with("level", level.name()).with("code", code).with("description", description)
}

/// The answer that accepts `connect`. `object_encoding` must be the number that the client sent.
pub fn connect_result(transaction: f64, object_encoding: f64) -> Command {
    let any = || Value::Object(Object::default().with("*", 4.0));
    let properties = Object::default()
        // Flash and older encoders check the version and need a Flash Media Server of at least 3.
        .with("fmsVer", "FMS/3,5,7,7009")
        .with("capabilities", 31.0)
        .with("mode", 1.0)
        // A relay forwards every codec (Enhanced RTMP v2: CanForward), and parses multitrack and ModEx.
        .with("fourCcList", Value::StrictArray(vec!["*".into()]))
        .with("videoFourCcInfoMap", any())
        .with("audioFourCcInfoMap", any())
        .with("capsEx", f64::from(Capabilities::RECONNECT | Capabilities::MULTITRACK | Capabilities::MOD_EX));
    let information = information(Level::Status, "NetConnection.Connect.Success", "Connection succeeded.")
        .with("objectEncoding", object_encoding);
    Command::new("_result", transaction, Value::Object(properties)).with(Value::Object(information))
}

/// The answer that refuses `connect`; the server closes the connection after it.
pub fn connect_error(transaction: f64, information: Object) -> Command {
    Command::new("_error", transaction, Value::Null).with(Value::Object(information))
}

/// The answer to `createStream`.
pub fn create_stream_result(transaction: f64, message_stream_id: u32) -> Command {
    result(transaction).with(f64::from(message_stream_id))
}

/// A result without a value.
pub fn result(transaction: f64) -> Command {
    Command::new("_result", transaction, Value::Null)
}

/// The answer to a call that this server does not know or cannot carry out.
pub fn call_failed(transaction: f64, description: &str) -> Command {
    Command::new("_error", transaction, Value::Null).with(Value::Object(information(
        Level::Error,
        "NetConnection.Call.Failed",
        description,
    )))
}

/// `onStatus`, sent on the message stream that it is about.
pub fn on_status(level: Level, code: &str, description: &str) -> Command {
    Command::new("onStatus", 0.0, Value::Null).with(Value::Object(information(level, code, description)))
}

/// `onFCPublish`: FMLE-like encoders wait for it. Some hardware needs the transaction id of its FCPublish in it.
pub fn on_fc_publish(transaction: f64) -> Command {
    Command::new("onFCPublish", transaction, Value::Null).with(Value::Object(
        Object::default().with("code", "NetStream.Publish.Start").with("description", "Started publishing stream."),
    ))
}

/// `onFCUnpublish`: the notice after FCUnpublish.
pub fn on_fc_unpublish() -> Command {
    Command::new("onFCUnpublish", 0.0, Value::Null).with(Value::Object(
        Object::default().with("code", "NetStream.Unpublish.Success").with("description", "Stop publishing stream."),
    ))
}

/// `onFCSubscribe`: the answer to FCSubscribe that Akamai-like clients wait for.
pub fn on_fc_subscribe() -> Command {
    Command::new("onFCSubscribe", 0.0, Value::Null).with(Value::Object(
        Object::default().with("code", "NetStream.Play.Start").with("description", "Started playing stream."),
    ))
}

/// `onBWDone`: says that the bandwidth check is over. There was none, but some clients wait for this notice.
pub fn on_bandwidth_done() -> Command {
    Command::new("onBWDone", 0.0, Value::Null)
}

/// `NetConnection.Connect.ReconnectRequest`, on message stream 0 (Enhanced RTMP v2).
pub fn reconnect_request(tc_url: Option<&str>, description: &str) -> Command {
    let mut information = information(Level::Status, "NetConnection.Connect.ReconnectRequest", description);
    if let Some(tc_url) = tc_url {
        information.insert("tcUrl", tc_url);
    }
    Command::new("onStatus", 0.0, Value::Null).with(Value::Object(information))
}

/// The body of the data message `onPlayStatus` that says that playback is complete.
pub fn play_complete() -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    amf0::encode(&Value::from("onPlayStatus"), &mut body);
    let information = information(Level::Status, "NetStream.Play.Complete", "Played for the requested duration.");
    amf0::encode(&Value::Object(information), &mut body);
    body
}
