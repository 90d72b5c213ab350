//! `Debug` output is for people: a value that holds media is one line, however long the media is, and the state of a
//! server shows none of the tokens and frames that it holds.

use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anabranch_core::conn::{Config, Core};
use anabranch_core::flv::{self, TagReader, Tags, aggregate, tag};
use anabranch_core::handshake::ServerHandshake;
use anabranch_core::hub::Conflict;
use anabranch_core::message::data::{DataLimits, from_publisher};
use anabranch_core::message::{Message, SharedObject, UserControl};
use anabranch_core::policy::Limits;
use anabranch_core::preface::Preface;
use anabranch_core::source::{Frame, WireFormat};
use anabranch_core::url::StreamKey;
use anabranch_core::{amf, replay};
use bytes::Bytes;

/// More than the longest type name and all its numbers.
const LONGEST: usize = 500;
/// Bytes of a body that no line may show: 100,000 of `B7`.
static BODY: [u8; 100_000] = [0xb7; 100_000];

fn line(value: &dyn Debug) -> String {
    let line = format!("{value:?}");
    assert!(line.len() < LONGEST && !line.contains('\n'), "{} bytes: {:.300}", line.len(), line);
    line
}

fn body(start: &[u8]) -> Vec<u8> {
    [start, &BODY].concat()
}

#[test]
fn a_frame_is_one_line() {
    let message = Message::video(40, [0x17, 1, 0, 0, 0, 9].as_slice());
    let frame = Frame::encode(message, WireFormat { chunk_size: 128 });
    assert_eq!(line(&frame), "Frame(Video KeyFrame at 40 ms, 6 bytes [17, 01, 00, 00, 00, 09])");
    let message = Message::audio(7, body(&[0xaf, 1]).as_slice());
    assert_eq!(
        line(&Frame::encode(message, WireFormat { chunk_size: 128 })),
        "Frame(Audio Frame at 7 ms, 100002 bytes [af, 01, b7, b7, b7, b7, b7, b7, b7, b7, b7, b7, b7, b7, b7, b7] ...)"
    );
}

#[test]
fn messages_and_their_parts_are_one_line() {
    line(&Message::video(40, BODY.as_slice()));
    let plain = body(&[0x17, 1, 0, 0, 0]);
    let extended = body(&[0x90 | 1, b'h', b'v', b'c', b'1', 0, 0, 0]);
    let unknown = body(&[0x90 | 9, b'h', b'v', b'c', b'1']);
    let mod_ex = body(&[0x90 | 7, 0xff, 0xff, 0xff]);
    let multitrack = body(&[0x90 | 6, 0x01, b'a', b'v', b'c', b'1', 0]);
    for video in [plain, extended, unknown, mod_ex, multitrack] {
        if let Ok(video) = flv::video::parse(&video) {
            line(&video);
            line(&video.tracks());
            video.tracks().for_each(|track| drop(line(&track)));
            line(&video.mod_ex.iter());
            video.mod_ex.iter().for_each(|prefix| drop(line(&prefix)));
        }
    }
    let header = body(&[0x17, 0, 0, 0, 0]);
    flv::video_header_slots(&header).for_each(|slot| drop(line(&slot)));
    line(&flv::video_header_slots(&header));
    for audio in
        [body(&[0xaf, 1]), body(&[0x90 | 1, b'O', b'p', b'u', b's']), body(&[0x90 | 9, b'O', b'p', b'u', b's'])]
    {
        if let Ok(audio) = flv::audio::parse(&audio) {
            line(&audio);
            audio.tracks().for_each(|track| drop(line(&track)));
        }
    }
    let layout = flv::audio::MultichannelConfig::parse(&[2, 255].into_iter().chain([7; 255]).collect::<Vec<_>>())
        .map(|it| line(&it));
    assert!(layout.is_ok());

    let mut tags = Vec::new();
    tag::write_tag(9, 0, &BODY, &mut tags).expect("short enough");
    line(&aggregate::parse(&tags, 0));
    aggregate::parse(&tags, 0).for_each(|part| drop(line(&part)));
    line(&from_publisher(
        18,
        &body(b"\x02\0\x06onText\x0c\0\x01\x86\xa0"),
        &DataLimits { metadata: 1 << 20, other: 1 << 20, amf: amf::Limits::default() },
    ));
    line(&UserControl::SwfVerifyResponse(BODY.to_vec()));
    line(&UserControl::Unknown { event: 77, data: BODY.to_vec() });
    let mut object = b"\0\x01a\0\0\0\x01\0\0\0\0\0\0\0\0\x06\0\x01\x86\xa0".to_vec();
    object.extend_from_slice(&BODY);
    line(&SharedObject::parse(&object));
    line(&replay::What::Input(&BODY));
}

#[test]
fn values_of_amf_show_no_bytes() {
    line(&amf::amf3::Value::ByteArray(Bytes::from_static(&BODY)));
    line(&amf::amf3::Externalized::Opaque(Bytes::from_static(&BODY)));
    line(&amf::amf0::Decoder::new(&BODY, &amf::Limits::default()));
    let mut out = BODY.to_vec();
    line(&amf::amf0::Encoder::new(&mut out));
}

#[test]
fn readers_show_no_bytes_that_they_hold() {
    let mut file = Vec::new();
    tag::write_file_header(true, true, &mut file);
    tag::write_tag(9, 5, &BODY, &mut file).expect("short enough");
    let tags = Tags::new(&file).expect("a file");
    line(&tags);
    tags.for_each(|tag| drop(line(&tag)));
    let mut reader = TagReader::default();
    assert_eq!(reader.read(&mut &file[..90_000]), Ok(None));
    line(&reader);
    let mut preface = Preface::default();
    let _ = preface.read(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\x00");
    let _ = preface.read(&BODY[..3000]);
    line(&preface);
    let mut handshake = ServerHandshake::new([7; 32], 0);
    let _ = handshake.read(&[3], &mut Vec::new());
    let _ = handshake.read(&BODY[..1500], &mut Vec::new());
    line(&handshake);
}

#[test]
fn the_state_of_a_server_shows_neither_frames_nor_tokens() {
    #[allow(clippy::disallowed_methods)] // any instant does
    let now = Instant::now();
    let server = Core::new(Config::default(), [7; 32]);
    let key: StreamKey = "live/cam".parse().expect("a name");
    let mut publisher = server
        .hub()
        .admit_publisher(now, &key, "very-secret-token", Conflict::TakeOver, &Limits::NONE)
        .expect("it is free");
    for time in 0..100 {
        publisher.push(now, Message::video(time * 40, body(&[0x17, 1, 0, 0, 0]).as_slice())).expect("it is published");
    }
    let player = server.play("live/cam").expect("it may play");
    let mut conn = server.connect(now);
    conn.handle_input(now, &body(&[3])[..1600]);
    for state in [&server as &dyn Debug, server.hub(), &publisher, &player, &conn] {
        let shown = format!("{state:?}");
        assert!(shown.len() < 3000 && !shown.contains("secret"), "{} bytes: {:.600}", shown.len(), shown);
    }
    line(&conn);
    line(server.hub());
}

/// Types whose fields are bytes show them as their number and the first of them, which a derived `Debug` does not.
#[test]
fn no_type_with_bytes_derives_debug() {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    files(&root, &mut |path, text| {
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (at, _) in text.match_indices("#[derive(") {
            let item = &text[at..];
            let derives = item.lines().next().unwrap_or_default();
            // The item goes to the first closing brace at its own margin, or to a semicolon.
            let end = item.find("\n}\n").unwrap_or(item.len()).min(item.find(";\n").unwrap_or(item.len()));
            let has_bytes = item[..end].lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
                // These are fields and variants; `Payload` and `Frame` have a `Debug` that is short.
                ["Bytes", "Vec<u8>", "[u8]"].iter().any(|bytes| {
                    line.match_indices(bytes).any(|(at, _)| {
                        let before = line[..at].chars().next_back();
                        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                            && (line.contains(": ") || line.contains('('))
                    })
                })
            });
            if derives.contains("Debug") && has_bytes {
                let name = item.lines().find(|line| line.contains("struct ") || line.contains("enum "));
                found.push(format!("{}: {}", path.display(), name.unwrap_or_default()));
            }
        }
    });
    assert!(found.is_empty(), "write Debug with crate::shown for {found:#?}");
}

fn files(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).expect("core has sources") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "tests") {
                files(&path, look);
            }
        } else if path.file_name().is_some_and(|name| !name.to_string_lossy().ends_with("tests.rs")) {
            look(&path, &fs::read_to_string(&path).expect("it is text"));
        }
    }
}
