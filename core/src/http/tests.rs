use proptest::prelude::*;

use super::websocket::{ClientFrame, FrameReader};
use super::*;

/// All requests in these bytes, up to the first error, and how many bytes were taken.
fn read(bytes: &[u8], cuts: &[usize]) -> (Vec<Request>, Option<HttpError>, usize) {
    let mut reader = RequestReader::new(Limits::default());
    let (mut requests, mut taken, mut start) = (Vec::new(), 0, 0);
    let ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    for end in ends {
        let Some(mut piece) = bytes.get(start..end) else {
            continue;
        };
        start = end;
        while !piece.is_empty() {
            let before = piece.len();
            let read = reader.read(&mut piece);
            taken += before - piece.len();
            match read {
                Ok(request) => requests.extend(request),
                Err(error) => return (requests, Some(error), taken),
            }
        }
    }
    (requests, None, taken)
}

fn one(text: &str) -> Result<Request, HttpError> {
    match read(text.as_bytes(), &[]) {
        (requests, None, _) => Ok(requests.into_iter().next().expect("it is whole")),
        (_, Some(error), _) => Err(error),
    }
}

#[test]
fn a_request_is_read_with_its_fields_and_body() {
    let request = one("POST /a/b?c=d HTTP/1.1\r\nHost: h\r\ncontent-length: 3\r\nX:  y \r\n\r\nabc").expect("legal");
    assert_eq!((request.method(), request.path(), request.query()), ("POST", "/a/b", Some("c=d")));
    assert_eq!((request.field("x"), request.field("z"), &request.body()[..]), (Some("y"), None, &b"abc"[..]));
    assert!(request.keeps_alive());
    let whole = one("GET http://h:1/x?y HTTP/1.0\r\n\r\n").expect("legal");
    assert_eq!((whole.target(), whole.field("Host"), whole.keeps_alive()), ("/x?y", Some("h:1"), false));
    for host in ["", "A-b_c.example", "a:8080", "a:", "192.0.2.1:80", "[::1]", "[2001:db8::1]:8080"] {
        assert!(one(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_ok(), "{host}");
        assert!(host.is_empty() || one(&format!("GET HTTP://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_ok());
    }
    assert_eq!(one("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n").expect("legal").target(), "/");
    let close = one("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n").expect("legal");
    assert!(!close.keeps_alive());
}

#[test]
fn requests_follow_one_another_with_an_empty_line_between_them_or_none() {
    let text = "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nxGET /b HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /c \
                HTTP/1.1\r\nHost: h\r\n\r\n";
    let (requests, error, taken) = read(text.as_bytes(), &[]);
    let targets: Vec<&str> = requests.iter().map(Request::target).collect();
    assert_eq!((targets, error, taken), (vec!["/a", "/b", "/c"], None, text.len()));
}

#[test]
fn what_could_be_understood_in_two_ways_is_refused() {
    let cases = [
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", "several lengths"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "a transfer coding"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx", "no number"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx", "no number"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\nx", "no number"),
        ("GET / HTTP/1.1\nHost: h\n\n", "LF alone"),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", "LF alone"),
        ("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", "not followed by LF"),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", "no name"),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", "no name"),
        ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", "no name"),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", "value"),
        ("GET / HTTP/1.1\r\n\r\n", "no host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "several hosts"),
        ("GET / HTTP/1.1\r\nHost: x@a.example\r\n\r\n", "host is none"),
        ("GET / HTTP/1.1\r\nHost: a.example/evil\r\n\r\n", "host is none"),
        ("GET / HTTP/1.1\r\nHost: x/?vhost=a.example&y=\r\n\r\n", "host is none"),
        ("GET / HTTP/1.1\r\nHost: a.example:\u{661}\r\n\r\n", "host is none"),
        ("GET / HTTP/1.1\r\nHost: a.example:65536\r\n\r\n", "host is none"),
        ("GET / HTTP/1.1\r\nHost: a.example:8:0\r\n\r\n", "host is none"),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "host is none"),
        ("GET / HTTP/1.1\r\nHost: [x]\r\n\r\n", "host is none"),
        ("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", "host is none"),
        ("GET http://nope.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "different hosts"),
        ("GET http://a.example:81/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "different hosts"),
        ("GET http://x@h/ HTTP/1.0\r\n\r\n", "in its target is none"),
        ("GET http:///x HTTP/1.0\r\n\r\n", "in its target is none"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "several empty lines"),
        ("GET x HTTP/1.1\r\nHost: h\r\n\r\n", "neither a path"),
        ("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "neither a path"),
        ("\x03GET / HTTP/1.1\r\n\r\n", "a method"),
        (" GET / HTTP/1.1\r\n\r\n", "a method"),
    ];
    for (text, words) in cases {
        let error = one(text).expect_err(text);
        assert!(matches!(error, HttpError::Malformed(_)), "{text:?}: {error}");
        assert!(error.to_string().contains(words), "{text:?}: {error}");
        assert_eq!(error.status(), 400);
    }
    let coded = one("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").expect_err("a coding");
    assert_eq!((coded, coded.status()), (HttpError::TransferCoding, 501));
    assert_eq!(one("GET / HTTP/2.0\r\nHost: h\r\n\r\n").map_err(|error| error.status()), Err(505));
}

#[test]
fn a_request_has_limits() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(8 << 10));
    let (_, error, taken) = read(long.as_bytes(), &[]);
    assert_eq!((error, taken), (Some(HttpError::HeadTooLong { limit: 8 << 10 }), (8 << 10) + 1));
    let fields = |count| "a: b\r\n".repeat(count);
    assert!(one(&format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", fields(63))).is_ok());
    let many = one(&format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", fields(64))).expect_err("65");
    assert_eq!((many, many.status()), (HttpError::TooManyFields { limit: 64 }, 431));
    for length in ["32769", "99999999999999999999"] {
        let error = one(&format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n")).expect_err(length);
        assert!(matches!(error.status(), 413 | 400), "{error}");
    }
}

#[test]
fn live_paths_name_a_stream() {
    let path = |target: &str| {
        let request = one(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).expect("legal");
        LivePath::of(&request).map(|path| (path.app, path.stream))
    };
    let named = |app: &str, stream: &str| Some((app.to_owned(), stream.to_owned()));
    assert_eq!(path("/live/cam.flv?token=x.flv"), named("live", "cam"));
    assert_eq!(path("/live/cam.live.flv"), named("live", "cam"));
    assert_eq!(path("/live/cam.mp4"), named("live", "cam"));
    assert_eq!(path("/live/room/a%20b%C3%A9.flv"), named("live/room", "a bé"));
    assert_eq!(path("/live/cam%231%5c2.flv"), named("live", "cam#1\\2"));
    assert_eq!(path("//live/cam.flv"), named("/live", "cam"));
    for other in [
        "/cam.flv",
        "/live/.flv",
        "/live/.live.flv",
        "/live/cam",
        "/live/cam.FLV",
        "/",
        "/api/x.flv",
        "/assets/x.flv",
        "//api/x.flv",
        "/%20api/x.flv",
        "/_definst_/api/x.flv",
        "/%27api/x.flv",
        "/api...vhost...a/x.flv",
        "/_definst_/x.flv",
        "/live/%20.flv",
        "/live/a%3fb.flv",
        "/live/a%0ab.flv",
        "/live/%ff.flv",
        "/live/%+1.flv",
        "/live/%1",
        "/live/cam.flv/",
        "//cam.flv",
    ] {
        assert_eq!(path(other), None, "{other}");
    }
}

#[test]
fn the_key_of_a_web_socket_is_answered() {
    // RFC 6455 §1.3.
    assert_eq!(websocket::accept("dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let request = |fields: &str| one(&format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).expect("legal").upgrade();
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let Upgrade::WebSocket { accept, protocol } =
        request(&format!("{upgrade}{key}{version}Sec-WebSocket-Protocol: flv, x\r\n"))
    else {
        panic!("it is one");
    };
    assert_eq!((&*accept, protocol.as_deref()), ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", Some("flv")));
    assert_eq!(request(&format!("{upgrade}{version}")), Upgrade::Malformed);
    assert_eq!(request(&format!("{upgrade}{version}Sec-WebSocket-Key: eHg=\r\n")), Upgrade::Malformed);
    assert_eq!(request(&format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n")), Upgrade::OtherVersion);
    assert_eq!(request(&format!("{key}{version}")), Upgrade::None);
}

#[test]
fn pieces_of_a_live_stream_are_framed() {
    let framed = |framing: Framing, length| [framing.before(length).bytes(), framing.after()].concat();
    for (length, line) in [(1, "1\r\n\r\n"), (15, "f\r\n\r\n"), (16, "10\r\n\r\n"), (0x12_3456, "123456\r\n\r\n")] {
        assert_eq!(framed(Framing::Chunks, length), line.as_bytes());
    }
    assert_eq!(Framing::Chunks.before(usize::MAX).bytes(), b"ffffffffffffffff\r\n");
    assert_eq!(framed(Framing::Messages, 125), [0x82, 125]);
    assert_eq!(framed(Framing::Messages, 126), [0x82, 126, 0, 126]);
    assert_eq!(framed(Framing::Messages, 0x1_0000), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert!(framed(Framing::UntilClose, 5).is_empty());
}

/// A frame as clients send it.
fn client_frame(first: u8, content: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let masked = content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let length = match content.len() {
        short @ 0..=125 => vec![0x80 | short as u8],
        long => [&[0x80 | 126][..], &(long as u16).to_be_bytes()].concat(),
    };
    [first].into_iter().chain(length).chain(mask).chain(masked).collect()
}

fn frames(bytes: &[u8], piece: usize) -> (Vec<ClientFrame>, Option<HttpError>) {
    let (mut reader, mut found) = (FrameReader::default(), Vec::new());
    for mut part in bytes.chunks(piece) {
        while !part.is_empty() {
            match reader.read(&mut part) {
                Ok(frame) => found.extend(frame),
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

#[test]
fn frames_of_a_client_are_answered_or_dropped() {
    let bytes = [
        client_frame(0x81, b"hello"),
        client_frame(0x02, &[7; 300]),
        client_frame(0x89, b"in between"),
        client_frame(0x80, b"the end"),
        client_frame(0x8a, b""),
        client_frame(0x88, b"\x03\xe8bye"),
    ]
    .concat();
    for piece in [1, 3, 1000] {
        let expected = vec![
            ClientFrame::Ping([&[0x8a, 10], &b"in between"[..]].concat()),
            ClientFrame::Close(vec![0x88, 2, 0x03, 0xe8]),
        ];
        assert_eq!(frames(&bytes, piece), (expected, None));
    }
}

#[test]
fn frames_that_a_client_may_not_send_are_errors() {
    let unmasked = [0x82, 1, 9];
    let cases: [&[u8]; 9] = [
        &unmasked,
        &client_frame(0xc2, b""),
        &client_frame(0x83, b""),
        &client_frame(0x09, b""),
        &client_frame(0x80, b""),
        &[client_frame(0x01, b"a"), client_frame(0x81, b"b")].concat(),
        &client_frame(0x89, &[0; 126]),
        &client_frame(0x88, b"\x03"),
        &[0x82, 0x80 | 126, 0, 5, 0, 0, 0, 0],
    ];
    for bytes in cases {
        let (_, error) = frames(bytes, 1);
        assert!(matches!(error, Some(HttpError::Frame(_))), "{bytes:?}: {error:?}");
    }
    let long = [0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 1];
    assert!(matches!(frames(&long, 1).1, Some(HttpError::FrameTooLong { .. })));
}

#[test]
fn an_answer_has_its_length_and_no_field_that_is_not_legal() {
    let answer = Answer::text(404, "no").with("X", "a\r\nY: b").with("Content-Length", "7").with("Z y", "c");
    let head = String::from_utf8(answer.head("", true)).expect("text");
    assert_eq!(head, "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\n");
    let empty = String::from_utf8(Answer::new(204).head("A: b\r\n", false)).expect("text");
    assert_eq!(empty, "HTTP/1.1 204 No Content\r\nA: b\r\nConnection: close\r\n\r\n");
}

#[test]
fn pages_of_other_origins_get_what_the_setting_says() {
    let asked = |host: &str, origin: &str| {
        let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        let private = "Access-Control-Request-Private-Network: true\r\n";
        one(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{origin}{private}\r\n")).expect("legal")
    };
    let any = Settings::default();
    let origins = Origins::Listed(vec!["https://a.example".to_owned()]);
    let listed = Settings { origins, ports: vec![1985], ..Settings::default() };
    let fields = any.fields(&asked("h", "https://b.example"));
    assert!(
        fields.starts_with("Access-Control-Allow-Origin: *\r\n") && !fields.contains("Private-Network"),
        "{fields}"
    );
    assert_eq!(any.fields(&asked("h", "")), fields, "a cache gives it to pages, too");
    assert_eq!(listed.fields(&asked("h", "")), "Vary: Origin\r\n");
    let fields = listed.fields(&asked("h", "https://a.example"));
    assert!(fields.contains("Origin: https://a.example\r\n") && fields.contains("Private-Network: true"), "{fields}");
    assert_eq!(listed.fields(&asked("h", "https://b.example")), "Vary: Origin\r\n");
    for (host, origin, may) in [
        ("h", "", true),
        ("h", "https://A.example", true),
        ("h", "null", false),
        ("h", "http://h", true),
        ("tv.example:8080", "http://TV.example:8080", true),
        ("tv.example", "https://tv.example", true),
        ("tv.example:8080", "http://tv.example", false),
        ("tv.example:8080", "http://tv.example:1985", true),
        ("tv.example:8080", "http://tv.example:1986", false),
        ("tv.example:8080", "http://evil.example:1985", false),
        ("[::1]:8080", "http://[::1]:1985", true),
        ("[::1]:8080", "http://[::2]:1985", false),
        ("[::1]", "http://[::1]:1985", true),
    ] {
        let request = asked(host, origin);
        assert_eq!(listed.admits(&request), may, "{host} {origin}");
        assert_eq!(listed.fields(&request).contains("Allow-Origin"), may && !origin.is_empty(), "{host} {origin}");
        assert!(any.admits(&request));
    }
}

#[test]
fn a_client_that_waits_is_told_once_to_send_the_body() {
    let text = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\nab";
    let mut reader = RequestReader::new(Limits::default());
    let mut rest = text.as_bytes();
    assert!(!reader.take_awaited());
    assert_eq!((reader.read(&mut rest), rest), (Ok(None), &b"ab"[..]));
    assert!(reader.take_awaited() && !reader.take_awaited());
    assert_eq!(reader.read(&mut rest).expect("legal").expect("whole").body(), &b"ab"[..]);
    assert!(!reader.take_awaited());
}

proptest! {
    /// Splitting the input at any byte changes nothing.
    #[test]
    fn requests_are_the_same_however_they_are_cut(
        bytes in proptest::collection::vec(
            prop_oneof![
                4 => proptest::sample::select(vec![
                    "GET /a HTTP/1.1\r\n", "POST /b HTTP/1.0\r\n", "Host: h\r\n", "Content-Length: 5\r\n", "\r\n", "abcde",
                    "Transfer-Encoding: chunked\r\n", "X: y\r\n", "\n", "\r", " ", ":",
                ]).prop_map(|part| part.as_bytes().to_vec()),
                1 => proptest::collection::vec(any::<u8>(), 0..5),
            ],
            0..12,
        ),
        mut cuts in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let bytes = bytes.concat();
        cuts.iter_mut().for_each(|cut| *cut %= bytes.len() + 1);
        cuts.sort_unstable();
        prop_assert_eq!(read(&bytes, &[]), read(&bytes, &cuts));
    }
}

#[test]
fn a_value_takes_no_more_bytes_as_text() {
    let mut reader = RequestReader::new(Limits::default());
    let head = b"GET / HTTP/1.1\r\nHost: h\r\nA: \xfe\xff\xc3\xb6x\r\nB: \xc3\xb6\r\n\r\n";
    let request = reader.read(&mut &head[..]).expect("legal").expect("whole");
    assert_eq!((request.field("A"), request.field("B")), (Some("????x"), Some("ö")));
}
