//! Writes the first inputs of each target's corpus: what real clients sent, and the test vectors.
//!
//!     cargo run --manifest-path fuzz/Cargo.toml --no-default-features --example seeds -- FOLDER

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, io, process};

use anabranch_core::client::{self, Client, ClientConfig, Destination, PlayOptions, StreamHandle};
use anabranch_core::command::PublishType;
use anabranch_core::conn::{self, Config, Conn, Core};
use anabranch_core::message::{Message, MessageType, Payload};
use anabranch_core::session::Outbound;
use bytes::Buf;

#[path = "../../core/tests/support/mod.rs"]
mod support;

use support::{fixtures, recorded};

/// Cuts that go through headers: three pieces of 1, 11 and 131 bytes, over and over.
const CUTS: [u8; 4] = [3, 0, 10, 130];

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seeds FOLDER");
        process::exit(2);
    };
    let seeds = Seeds { folder };
    wire(&seeds)?;
    bodies(&seeds)?;
    names(&seeds)?;
    connections(&seeds)?;
    clients(&seeds)?;
    formats(&seeds)?;
    webrtc(&seeds)?;
    directory(&seeds)
}

/// Offers of real clients, pictures, and what peers send.
fn webrtc(seeds: &Seeds) -> io::Result<()> {
    let offers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/rtc/tests/fixtures/offers");
    for entry in fs::read_dir(offers)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "sdp") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let purposes: &[u8] = if name.starts_with("whep") { &[1, 2, 5] } else { &[0] };
        for purpose in purposes {
            seeds.write("rtc_offer", &format!("{name}-{purpose}"), &[&[*purpose], &fs::read(&path)?])?;
        }
    }
    let avc = b"\x01\x42\xC0\x1F\xFF\xE1\x00\x04\x67\x42\xC0\x1F\x01\x00\x04\x68\xCE\x3C\x80";
    let long = |head: &[u8], length: usize| {
        let unit: Vec<u8> = head.iter().copied().chain((0..length).map(|at| at as u8)).collect();
        [&(unit.len() as u32).to_be_bytes()[..], &unit].concat()
    };
    let pictures = [
        ("avc-key", 4, &avc[..], [long(&[6, 5], 20), long(&[0x65], 3000)].concat()),
        ("avc-slices", 0, avc, [long(&[9], 1), long(&[1], 400), long(&[1], 900), long(&[0x41], 1200)].concat()),
        ("hevc", 5, &[], [long(&[0x26, 1], 2500), long(&[0x4E, 1], 9)].concat()),
        ("av1", 6, b"\x81\0\0\0", [&[0x12, 0, 0x0A, 2, 1, 2, 0x32, 0xE8, 7][..], &[7; 1000]].concat()),
        ("vp9", 3, &[], vec![0x82; 2400]),
    ];
    for (name, choice, record, picture) in pictures {
        seeds.write("rtc_packets", name, &[&[choice, record.len() as u8], record, &picture])?;
    }
    // A check of addresses without a proof, the beginning of DTLS, and packets without keys.
    let check = b"\0\x01\0\x14\x21\x12\xA4\x42abcdefghijkl\0\x06\0\x0Dabcd1234:peer\0\0\0";
    let hello = b"\x16\xFE\xFF\0\0\0\0\0\0\0\0\0\x10\x01\0\0\x04\0\0\0\0\0\0\0\x04\xFE\xFD\0\0";
    let packet = b"\x80\x60\0\x01\0\0\0\x01\0\0\0\x02abcdefghijklmnopqrstuvwxyz";
    let report = b"\x80\xC8\0\x06\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let step = |kind: u8, bytes: &[u8]| [&[kind | (bytes.len() >> 8 << 5) as u8, bytes.len() as u8], bytes].concat();
    for connects in [0u8, 2] {
        for publishes in [0u8, 1] {
            let steps = [&check[..], hello, packet, report].map(|bytes| [step(0, bytes), step(1, bytes)].concat());
            let name = format!("strangers-{connects}-{publishes}");
            seeds.write("rtc_datagrams", &name, &[&[connects | publishes], &steps.concat(), &[3, 50]])?;
        }
    }
    // Pictures and sound: a unit alone, two in one, parts of one with a gap, and an end.
    let units = [
        step(2 | 16, b"\x65\x80abcd"),
        step(2 | 16, b"\x78\0\x05\x67\x42\xC0\x1F\x01\0\x04\x68\xCE\x3C\x80"),
        step(2, b"\x7C\x85abcd"),
        step(2 | 8, b"\x7C\x05efgh"),
        step(2 | 16, b"\x7C\x45ijkl"),
        step(2 | 4, b"\xFCabcdefgh"),
        vec![3, 10],
    ];
    seeds.write("rtc_datagrams", "pictures", &[&[0], &units.concat()])
}

/// Decoder configurations behind their codec and length, samples, requests for playlists, and streams.
fn formats(seeds: &Seeds) -> io::Result<()> {
    let avc = b"\x00\x10\x01\x64\x00\x1e\xff\xe1\x00\x04\x67\x64\x00\x1e\x01\x00\x01\x68";
    let aac = b"\x05\x02\x12\x10";
    let samples = [[1, 1, 10, 2, 9, 4, 1, 0], [2, 1, 9, 0, 9, 2, 1, 0], [1, 2, 10, 200, 9, 4, 0, 0]].concat();
    seeds.write("fmp4", "avc-aac", &[avc, aac, &samples])?;
    let payloads = [&[4, 1, 10, 6, 0, 0, 0, 2, 0x65, 1][..], &[5, 1, 10, 3, 1, 2, 3], &[0, 2, 10, 5, 0, 0, 0, 1, 0x41]];
    seeds.write("mpegts", "avc-aac", &[avc, aac, &payloads.concat()])?;
    for (name, codec, config) in [
        ("mp3", 6, &[0xFF, 0xFB, 0x90, 0xC4][..]),
        ("opus", 7, b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0"),
        ("ac-3", 9, &[0x0B, 0x77, 0x3F, 0x5E, 0x1E, 0x40, 0x4B, 0xF4]),
        ("e-ac-3", 10, &[0x0B, 0x77, 0x01, 0xBF, 0x34, 0x87]),
        ("vp9", 3, &[0, 0x29, 0x82, 2, 2, 2, 0, 0]),
    ] {
        for target in ["fmp4", "mpegts"] {
            seeds.write(target, name, &[&[codec, config.len() as u8], config, avc, &[0, 1, 10, 3, 1, 2, 3]])?;
        }
    }
    for (name, text) in [
        ("whole", "\n1-0123456789abcdef0123456789abcdef.m4s"),
        ("next", "_HLS_msn=4&_HLS_part=1&_HLS_skip=YES\n4.1-0123456789abcdef0123456789abcdef.m4s"),
        ("far", "s=1&_HLS_msn=99\ni0-0123456789abcdef0123456789abcdef.mp4"),
        ("wrong", "_HLS_part=0\nd1-0123456789abcdef0123456789abcdef.m4s"),
    ] {
        seeds.write("playlist", name, &[text.as_bytes()])?;
    }
    let begin = [0u8, 0, 2, 0, 3, 0x10, 11, 10];
    let picture = [8u8, 0, 0x1C, 33, 8, 0, 8, 0];
    let group = [&[0x1B, 33][..], &picture.repeat(30)].concat();
    for (name, settings) in [("auto", [0x40, 50, 80]), ("fixed", [0x41, 20, 80]), ("transport", [0x42, 0, 80])] {
        let again = [&[1, 0, 6, 30][..], &begin, &group.repeat(3)].concat();
        seeds.write("segmenter", name, &[&settings, &begin, &group.repeat(6), &again, &[1, 0, 7, 255]])?;
    }
    Ok(())
}

/// The replies of the scripts in `cluster/scripts.rs`, of Sentinels, and a message of a channel.
fn directory(seeds: &Seeds) -> io::Result<()> {
    let record = r#"{"id":"a:1935","boot":"0f","advertise":{"rtmp":"rtmp://a:1935"},"version":"1","load":{"streams":1,"players":2},"draining":false}"#;
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let list = |values: &[String]| format!("*{}\r\n{}", values.len(), values.concat());
    for (name, reply) in [
        ("granted", list(&[bulk("ok"), bulk("1700000000000000")])),
        ("held", list(&[bulk("held"), bulk("a:1935"), bulk("7"), bulk(record)])),
        ("hold", list(&[bulk("hold"), bulk("3000")])),
        ("found", list(&[bulk("a:1935"), bulk("7"), bulk(record)]) + "$-1\r\n"),
        ("announced", list(&[bulk(record), bulk("secret")])),
        ("nodes", list(&[bulk(record), bulk("no record")])),
        ("notice", list(&[bulk("message"), bulk("ab:c"), bulk("v/live/a%20b a:1935 7")])),
        ("master", list(&[bulk("127.0.0.1"), bulk("6379")])),
        ("role", list(&[bulk("master"), ":0\r\n".to_owned(), "*0\r\n".to_owned()])),
        ("errors", "-NOSCRIPT No matching script.\r\n+OK\r\n-READONLY no\r\n*-1\r\n".to_owned()),
    ] {
        seeds.write("directory", name, &[&CUTS, reply.as_bytes()])?;
    }
    Ok(())
}

struct Seeds {
    folder: PathBuf,
}

impl Seeds {
    fn write(&self, target: &str, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let folder = self.folder.join(target);
        fs::create_dir_all(&folder)?;
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        fs::write(folder.join(format!("seed-{name}")), parts.concat())
    }

    /// Each vector of a kind, behind `head`.
    fn vectors(&self, kind: &str, target: &str, head: &[u8]) -> io::Result<()> {
        for vector in fixtures::vectors(kind) {
            self.write(target, fixtures::id(&vector), &[head, &fixtures::input(&vector)])?;
        }
        Ok(())
    }
}

fn wire(seeds: &Seeds) -> io::Result<()> {
    let one = |kind: &str| fixtures::input(&fixtures::vectors(kind)[0]);
    for vector in fixtures::vectors("c0c1") {
        seeds.write("handshake_server", fixtures::id(&vector), &[&CUTS, &fixtures::input(&vector), &one("c2")])?;
    }
    seeds.write("handshake_server", "simple", &[&CUTS, &recorded::simple_hello(), &[0; 1536]])?;
    for asked in [0, 1] {
        seeds.write("handshake_client", &format!("{asked}"), &[&[asked], &CUTS, &[3], &one("s1s2")])?;
    }
    for (name, header) in [
        ("version-1", &b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 1935\r\n"[..]),
        ("version-1-unknown", b"PROXY UNKNOWN\r\n"),
        ("version-1-ipv6", b"PROXY TCP6 2001:db8::1 2001:db8::2 51000 1935\r\n"),
        ("version-2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xc7\x38\x07\x8f"),
        ("version-2-local", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
        ("srs", b"\xf3\0\x04\xc0\0\x02\x01"),
    ] {
        seeds.write("preface", name, &[&CUTS, header, b"\x03"])?;
    }
    for (name, text) in [
        ("get", "GET /live/cam.flv?a=b HTTP/1.1\r\nHost: h\r\nOrigin: https://a\r\n\r\n"),
        ("two", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n"),
        ("smuggled", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("upgrade", "GET /a/b.flv HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ] {
        seeds.write("http", name, &[&CUTS, text.as_bytes()])?;
    }
    let frames = b"\x89\x82\x01\x02\x03\x04ab\x82\x81\0\0\0\0x\x88\x80\0\0\0\0";
    seeds.write("http", "frames", &[&CUTS, frames])?;
    for vector in fixtures::vectors("chunks") {
        for setup in [0, 2] {
            let name = format!("{}-{setup}", fixtures::id(&vector));
            seeds.write("chunk_reader", &name, &[&[setup], &CUTS, &fixtures::input(&vector)])?;
        }
    }
    Ok(())
}

fn bodies(seeds: &Seeds) -> io::Result<()> {
    seeds.vectors("amf0", "amf0", &[0])?;
    seeds.vectors("amf3", "amf3", &[0])?;
    seeds.vectors("amf0", "command", &[0])?;
    seeds.vectors("cmd17", "command", &[3])?;
    for type_id in 1..=6 {
        seeds.vectors(&format!("ctl{type_id}"), "message", &[type_id])?;
    }
    seeds.vectors("sharedobject", "message", &[19])?;
    let set_data_frame =
        b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x05width\0\x40\x94\0\0\0\0\0\0\0\0\x09";
    seeds.write("message", "set-data-frame", &[&[18], set_data_frame])?;
    seeds.write(
        "message",
        "unfit-metadata",
        &[&[18], b"\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x01a\x06\0\x01b\x02\0\x01c"],
    )?;
    seeds.vectors("video", "flv_video", &[])?;
    seeds.vectors("audio", "flv_audio", &[])?;
    seeds.vectors("aggregate", "flv_aggregate", &[0, 0, 0x13, 0x88])?;
    // The contents of an aggregate are framed like those of a file.
    for limit in [0, 1] {
        let head = [&[limit][..], &CUTS, b"FLV\x01\x05\0\0\0\x09\0\0\0\0"].concat();
        seeds.vectors("aggregate", "flv_tags", &head)?;
    }
    seeds.write("flv_tags", "longer-header", &[&[0], &CUTS, b"FLV\x01\x05\0\0\0\x0c123\0\0\0\0\x08\0\0\x01"])?;
    // The decoder configurations in the vectors lie behind a header of five bytes, or two.
    for (kind, head, codecs) in [("video", 5, 0..6u8), ("audio", 2, 6..12)] {
        for vector in fixtures::vectors(kind) {
            let input = fixtures::input(&vector);
            for codec in codecs.clone() {
                if let Some(payload) = input.get(head..).filter(|payload| payload.len() > 1) {
                    let selector = codec << 1 | u8::from(kind == "audio");
                    seeds.write(
                        "flv_config",
                        &format!("{}-{codec}", fixtures::id(&vector)),
                        &[&[selector], payload],
                    )?;
                }
            }
        }
    }
    Ok(())
}

fn names(seeds: &Seeds) -> io::Result<()> {
    for vector in fixtures::vectors("tcurl") {
        let url = vector["input"].as_str().expect("a URL");
        seeds.write("url", fixtures::id(&vector), &[url.as_bytes(), b"\n-\ncam?token=1&a=b\n/other"])?;
    }
    for (name, text) in [
        ("librtmp", "rtmp://h/live/k?u=http:/\nlive/k?u=http:/\nx/p\n//other/app"),
        ("obs", "rtmp://user:password@[::1]:1936/live/k\nlive/k\n\nrtmp://b/c"),
        ("vhost", "rtmp://h/live?vhost=a\nlive...vhost...b\ncam?domain=c;x=%41\n?q"),
        ("app-only", "-\nlive\nroom/cam\n"),
    ] {
        seeds.write("url", name, &[text.as_bytes()])?;
    }
    for (name, text) in [
        ("rules", "allow publish 10.0.0.0/8; deny publish 10.6.6.6; deny play 2001:db8:bad::/48"),
        ("network", "10.0.0.0/8\n*.example.com [::1] a.b\n0123456789abcdef\nlive\ncam\nhttp://a.b/c\n00"),
        ("all", "allow play all\nexample.com\n0123456789abcdef\nlive/room\ncam\n1000\nabcd"),
    ] {
        seeds.write("policy", name, &[text.as_bytes()])?;
    }
    Ok(())
}

fn connections(seeds: &Seeds) -> io::Result<()> {
    for (index, connection) in recorded::connections().iter().enumerate() {
        // One has its handshake with it; behind the others', all are the same.
        let (setup, from) = match index {
            1 => (0x80, 0),
            _ if connection.name.ends_with("simple") => ((index % 8) as u8, connection.handshake),
            _ => continue,
        };
        for target in ["server_session", "server_connection"] {
            seeds.write(target, &connection.name, &[&[setup, 0], &CUTS, &connection.bytes[from..]])?;
        }
    }
    for path in recordings()? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let said = from_hex(&fs::read_to_string(&path)?);
        // A few frames are as good as all.
        let said = &said[..said.len().min(9000)];
        for target in ["server_session", "server_connection"] {
            seeds.write(target, &name, &[&[0, 0], &CUTS, said])?;
        }
        seeds.write("chunk_reader", &name, &[&[0], &CUTS, said])?;
    }
    Ok(())
}

/// What our own server says to our own client.
fn clients(seeds: &Seeds) -> io::Result<()> {
    for (wishes, other) in [(1, false), (2, true), (3, false), (14, true)] {
        let now = Instant::now();
        let server = Core::new(Config::default(), [7; 32]);
        let destination = Destination::parse("rtmp://example.org/live/cam").expect("a URL");
        let client = |wishes: u8| {
            let mut client = Client::new(ClientConfig::to(&destination).into(), [4; 32], now);
            let publish = || client.publish("cam", PublishType::Live).expect("nothing is there yet");
            let published = (wishes & 1 != 0).then(publish);
            if wishes & 2 != 0 {
                let options = PlayOptions { ask_length: wishes & 4 != 0, ..PlayOptions::default() };
                client.play("cam", options).expect("little is there yet");
            }
            (client, published)
        };
        let ((mut publisher, published), mut its_conn) = (client(u8::from(other)), server.connect(now));
        exchange(now, &mut publisher, &mut its_conn);
        let ((mut ours, ours_published), mut conn) = (client(wishes), server.connect(now));
        let mut said = exchange(now, &mut ours, &mut conn);
        for (client, conn, stream) in
            [(&mut publisher, &mut its_conn, published), (&mut ours, &mut conn, ours_published)]
        {
            if let Some(stream) = stream {
                send(client, stream);
                exchange(now, client, conn);
            }
        }
        said.extend(exchange(now, &mut ours, &mut conn));
        its_conn.shutdown();
        drop(its_conn);
        conn.shutdown();
        said.extend(exchange(now, &mut ours, &mut conn));
        seeds.write("client_session", &format!("{wishes}"), &[&[0, wishes], &CUTS, &said[1 + 2 * 1536..]])?;
        for flags in [1, 7] {
            seeds.write("relay", &format!("{wishes}-{flags}"), &[&[flags], &CUTS, &said])?;
        }
    }
    Ok(())
}

/// A few frames.
fn send(client: &mut Client, stream: StreamHandle) {
    for number in 0..20 {
        let head: &[u8] = if number % 5 == 0 { &[0x17, 1, 0, 0, 0] } else { &[0x27, 1, 0, 0, 0] };
        let payload = Payload::from(&[head, &[0x55; 150]].concat()[..]);
        let (timestamp, type_id) = (number * 40, MessageType::VIDEO);
        let message = Message { chunk_stream: 6, timestamp, type_id, message_stream_id: 0, payload };
        client.send_message(stream, message).expect("it is being published");
    }
}

/// Passes bytes both ways until neither side has any; what the server said.
fn exchange(now: Instant, client: &mut Client, conn: &mut Conn) -> Vec<u8> {
    let mut said = Vec::new();
    loop {
        while let client::ClientOutput::Event(_) = client.poll_output() {}
        while let conn::Output::Action(_) = conn.poll(now) {}
        let take = |outbound: &mut Outbound| outbound.copy_to_bytes(outbound.remaining());
        let (sent, answer) = (take(client.outbound()), take(conn.outbound()));
        if sent.is_empty() && answer.is_empty() {
            return said;
        }
        conn.handle_input(now, &sent);
        let _ = client.handle_input(now, &answer);
        said.extend_from_slice(&answer);
    }
}

/// Files of what clients sent behind their handshake.
fn recordings() -> io::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/fixtures");
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "hex") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Lines of hexadecimal digits, and comments.
fn from_hex(text: &str) -> Vec<u8> {
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).map(str::trim).collect();
    hex::decode(digits).expect("hex digits")
}
