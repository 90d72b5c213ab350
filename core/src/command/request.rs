use super::{Command, ConnectInfo};
use crate::amf::{AmfString, Value, until_nul};

/// A client's request with typed arguments. The transaction id stays in the [`Command`].
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Opens the connection.
    Connect(Box<ConnectInfo>),
    /// Asks for a message stream.
    CreateStream,
    /// FMLE: the client is about to publish this name, and the server may end an earlier publisher of it.
    ReleaseStream(String),
    /// FMLE, Haivision: the client will publish this name.
    FcPublish(String),
    /// FMLE: the client no longer publishes this name.
    FcUnpublish(String),
    /// Publishes on a message stream.
    Publish {
        /// Stream name, with its query.
        name: String,
        /// Live, or a recording mode.
        publish_type: PublishType,
    },
    /// Plays on a message stream.
    Play(PlayArguments),
    /// Ends a message stream. `None` if the argument is missing or not a number (GStreamer's rtmp2sink sends the
    /// stream's name): it then means all streams of the connection.
    DeleteStream(Option<u32>),
    /// Ends publishing or playing on a message stream, which stays open.
    CloseStream,
    /// Turns audio on or off.
    ReceiveAudio(bool),
    /// Turns video on or off.
    ReceiveVideo(bool),
    /// Pauses (true) or resumes.
    Pause(bool),
    /// Jumps to a position in milliseconds.
    Seek(f64),
    /// FFmpeg, librtmp: the client will play a live stream.
    FcSubscribe(String),
    /// The client no longer plays the stream of an earlier `FCSubscribe`.
    FcUnsubscribe(String),
    /// FFmpeg: the duration of a recording.
    GetStreamLength(String),
    /// Asks for a bandwidth measurement.
    CheckBandwidth,
    /// librtmp: a list of names to play. The client wants no answer.
    SetPlaylist,
    /// An answer or a notice from the peer: `_result`, `_error`, `onStatus` and similar. The server never answers it.
    Answer,
    /// Anything else.
    Other,
}

/// The type argument of `publish` (RTMP 1.0 §7.2.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublishType {
    /// Live only; also for an unknown or missing type.
    #[default]
    Live,
    /// Record from the start.
    Record,
    /// Append to a recording.
    Append,
}

/// The arguments of `play` (RTMP 1.0 §7.2.2.1).
#[derive(Debug, Clone, PartialEq)]
pub struct PlayArguments {
    /// Stream name, with its query.
    pub name: String,
    /// As sent: seconds in the specification, milliseconds in FFmpeg and librtmp. -2 (any) if missing.
    pub start: f64,
    /// As sent, in the same units; -1 (the whole stream) if missing.
    pub duration: f64,
    /// Whether to drop the messages queued on the stream; true if missing.
    pub reset: bool,
}

impl Request {
    /// Recognises a command. This cannot fail: an argument of the wrong type gets a harmless default.
    pub fn from_command(command: &Command) -> Request {
        let name = || command.text(0).map(text).unwrap_or_default();
        let flag = || command.arguments.first().and_then(Value::as_bool).unwrap_or(true);
        match until_nul(command.name.as_bytes()) {
            b"connect" => Request::Connect(Box::new(ConnectInfo::from_command(command))),
            b"createStream" => Request::CreateStream,
            b"releaseStream" => Request::ReleaseStream(name()),
            b"FCPublish" => Request::FcPublish(name()),
            b"FCUnpublish" => Request::FcUnpublish(name()),
            b"publish" => Request::Publish {
                name: name(),
                publish_type: match command.text(1).map(|text| until_nul(text.as_bytes())) {
                    Some(b"record") => PublishType::Record,
                    Some(b"append") => PublishType::Append,
                    _ => PublishType::Live,
                },
            },
            b"play" => Request::Play(PlayArguments {
                name: name(),
                start: command.number(1).unwrap_or(-2.0),
                duration: command.number(2).unwrap_or(-1.0),
                reset: command.arguments.get(3).and_then(Value::as_bool).unwrap_or(true),
            }),
            b"play2" => Request::Play(play2(command)),
            b"deleteStream" => Request::DeleteStream(command.number(0).and_then(message_stream_id)),
            b"closeStream" => Request::CloseStream,
            b"receiveAudio" => Request::ReceiveAudio(flag()),
            b"receiveVideo" => Request::ReceiveVideo(flag()),
            b"pause" | b"pauseRaw" => Request::Pause(flag()),
            b"seek" => Request::Seek(command.number(0).unwrap_or(0.0)),
            b"FCSubscribe" => Request::FcSubscribe(name()),
            b"FCUnsubscribe" => Request::FcUnsubscribe(name()),
            b"getStreamLength" => Request::GetStreamLength(name()),
            b"_checkbw" | b"checkBandwidth" => Request::CheckBandwidth,
            b"set_playlist" => Request::SetPlaylist,
            b"_result" | b"_error" | b"onStatus" | b"onBWDone" | b"onFCPublish" | b"onFCSubscribe" => Request::Answer,
            _ => Request::Other,
        }
    }
}

/// `play2` has its arguments in an object (NetStreamPlayOptions).
fn play2(command: &Command) -> PlayArguments {
    let options = command.arguments.first().and_then(Value::as_object);
    let number = |key: &str| options.and_then(|options| options.get(key)).and_then(Value::as_number);
    PlayArguments {
        name: match options.and_then(|options| options.get("streamName")) {
            Some(Value::String(name)) => text(name),
            _ => String::new(),
        },
        start: number("start").unwrap_or(-2.0),
        duration: number("len").unwrap_or(-1.0),
        reset: true,
    }
}

/// The text of a name, an application or a URL, up to its first NUL. Valid UTF-8 stays unchanged. Each other byte
/// becomes `%` and two upper-case hexadecimal digits, as in RFC 3986 §2.1.
///
/// Encoders on systems with another code page send GBK or Latin-1. If every byte that is not UTF-8 became the same
/// character, different names would become one stream. A `%` that the client sent stays, because queries contain
/// escapes. So two names become equal only if one is the escaped form of the other, and in a URL those are the same
/// name.
pub(super) fn text(string: &AmfString) -> String {
    let mut text = String::with_capacity(string.len());
    for chunk in until_nul(string.as_bytes()).utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push('%');
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    text
}

fn message_stream_id(number: f64) -> Option<u32> {
    (0.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amf::Object;

    fn request(name: &str, arguments: Vec<Value>) -> Request {
        Request::from_command(&Command { name: name.into(), transaction: 0.0, object: Value::Null, arguments })
    }

    #[test]
    fn play_fills_in_what_is_missing() {
        let full = request("play", vec!["cam".into(), 0.0.into(), 5.0.into(), 0.0.into()]);
        let expected = PlayArguments { name: "cam".into(), start: 0.0, duration: 5.0, reset: false };
        assert_eq!(full, Request::Play(expected));
        let bare = request("play", vec!["cam".into()]);
        let expected = PlayArguments { name: "cam".into(), start: -2.0, duration: -1.0, reset: true };
        assert_eq!(bare, Request::Play(expected));
        let options = Object::default().with("streamName", "b").with("len", 7.0);
        let expected = PlayArguments { name: "b".into(), start: -2.0, duration: 7.0, reset: true };
        assert_eq!(request("play2", vec![Value::Object(options)]), Request::Play(expected));
    }

    #[test]
    fn delete_stream_takes_a_number_or_means_all() {
        assert_eq!(request("deleteStream", vec![1.0.into()]), Request::DeleteStream(Some(1)));
        assert_eq!(request("deleteStream", vec!["mykey".into()]), Request::DeleteStream(None));
        assert_eq!(request("deleteStream", vec![f64::NAN.into()]), Request::DeleteStream(None));
        assert_eq!(request("deleteStream", vec![]), Request::DeleteStream(None));
    }

    #[test]
    fn names_in_another_code_page_stay_apart() {
        let name = |bytes: &[u8]| match request("publish", vec![Value::String(bytes.into())]) {
            Request::Publish { name, .. } => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(b"\xff\xfe"), "%FF%FE");
        assert_ne!(name(b"\xff\xfe"), name(b"\xfe\xff"));
        // "直播" in GBK, and bytes that look like the start of a longer UTF-8 sequence.
        assert_eq!(name(b"\xd6\xb1\xb2\xa5?t=a%2Fb"), "ֱ%B2%A5?t=a%2Fb");
        assert_eq!(name(b"cam\xe7\x9b"), "cam%E7%9B");
        for utf8 in ["直播", "50%", "%FF", "\u{fffd}", ""] {
            assert_eq!(name(utf8.as_bytes()), utf8);
        }
        let arguments = || vec![Value::String(b"\xc4".as_slice().into())];
        assert_eq!(request("FCPublish", arguments()), Request::FcPublish("%C4".into()));
        assert!(matches!(request("play", arguments()), Request::Play(play) if play.name == "%C4"));
    }

    #[test]
    fn publish_types() {
        for (word, expected) in
            [("live", PublishType::Live), ("record", PublishType::Record), ("append", PublishType::Append)]
        {
            let expected = Request::Publish { name: "k".into(), publish_type: expected };
            assert_eq!(request("publish", vec!["k".into(), word.into()]), expected);
        }
    }
}
