use anabranch_core::http::{Limits, Request, RequestReader};

use super::{Fragment, SessionName, SrsCall, Target, with_bearer};

fn request(target: &str, fields: &str) -> Request {
    let text = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 0\r\n\r\n");
    let mut reader = RequestReader::new(Limits::default());
    reader.read(&mut text.as_bytes()).expect("legal").expect("whole")
}

fn target(path: &str) -> Option<Target> {
    Target::of(&request(path, ""))
}

fn whip(app: &str, stream: &str) -> Option<Target> {
    Some(Target::Whip { app: app.to_owned(), stream: stream.to_owned() })
}

fn whep(app: &str, stream: &str) -> Option<Target> {
    Some(Target::Whep { app: app.to_owned(), stream: stream.to_owned() })
}

#[test]
fn a_path_says_which_stream_is_meant() {
    assert_eq!(target("/live/cam/whip?token=x"), whip("live", "cam"));
    assert_eq!(target("/live/cam/whep/"), whep("live", "cam"));
    assert_eq!(target("/a/b/c%20d/whep"), whep("a/b", "c d"));
    assert_eq!(target("/call/room/me/whip"), whip("call/room", "me"));
    assert_eq!(target("/rtc/v1/whip/?app=a&stream=b"), whip("a", "b"));
    assert_eq!(target("/rtc/v1/whep/?stream=b%2Fc"), whep("live", "b/c"));
    assert_eq!(target("/rtc/v1/whep"), whep("live", "livestream"));
    assert_eq!(target("/rtc/v1/play/"), Some(Target::Srs { publishes: false }));
    assert_eq!(target("/rtc/v1/publish"), Some(Target::Srs { publishes: true }));
    assert_eq!(target("/rtc/session/1-2"), Some(Target::Session { id: "1-2".to_owned() }));
    for path in [
        "/live/cam.flv",
        "/cam/whip",
        "/whip",
        "/api/a/whip",
        "/call/me/whip",
        "/rtc/v1/other",
        "/live//whep",
        "/live/cam/play",
    ] {
        assert_eq!(target(path), None, "{path}");
    }
}

#[test]
fn the_name_of_a_session_is_read_as_it_was_written() {
    for node in ["", "a", "node-1", "a~b", "eu west"] {
        let name = SessionName::new(node, 77, [7; 16]);
        let read = SessionName::parse(&name.to_string()).expect("it is a name");
        assert!(read.is(&name) && read.node == node, "{node:?}");
        assert!(!read.is(&SessionName::new(node, 77, [8; 16])) && !read.is(&SessionName::new(node, 78, [7; 16])));
    }
    for text in ["", "1", "1-2", "x-00000000000000000000000000000000", "1-+0000000000000000000000000000000"] {
        assert_eq!(SessionName::parse(text), None, "{text:?}");
    }
    assert!(!format!("{:?}", SessionName::new("", 1, [0xAB; 16])).contains("abab"));
}

#[test]
fn a_bearer_is_a_token_or_all_parameters() {
    let with = |bearer: &str, query: Option<&str>| {
        let request = request("/live/cam/whip?old=1", &format!("Authorization: Bearer {bearer}\r\n"));
        with_bearer(&request, query).query().map(str::to_owned)
    };
    assert_eq!(with("abc", None).as_deref(), Some("token=abc"));
    assert_eq!(with("abc", Some("vhost=v")).as_deref(), Some("vhost=v&token=abc"));
    assert_eq!(with("e=5&sign=x", Some("vhost=v")).as_deref(), Some("vhost=v&e=5&sign=x"));
    assert_eq!(with("a b", Some("vhost=v")).as_deref(), Some("vhost=v"), "no token has a space");
    let other = request("/live/cam/whip", "Authorization: Basic YQ==\r\n");
    assert_eq!(with_bearer(&other, None).query(), None);
}

#[test]
fn the_calls_of_srs_are_read() {
    let call = SrsCall::parse(br#"{"streamurl":"webrtc://h:1985/live/cam?vhost=v&token=t","sdp":"v=0\r\n","api":"x"}"#);
    let call = call.expect("it is a call");
    assert_eq!((&*call.app, &*call.stream, &*call.offer), ("live", "cam", "v=0\r\n"));
    assert_eq!(call.query.as_deref(), Some("vhost=v&token=t"));
    for body in
        [&b"{}"[..], b"", b"[]", br#"{"streamurl":"a","sdp":""}"#, br#"{"streamurl":"webrtc://h/api/x","sdp":""}"#]
    {
        assert_eq!(SrsCall::parse(body), None, "{body:?}");
    }
}

#[test]
fn fragments_are_read() {
    let text = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
        a=candidate:1 1 UDP 2 192.0.2.1 5000 typ host\r\na=end-of-candidates\r\n";
    let fragment = Fragment::parse(text.as_bytes()).expect("it is one");
    assert_eq!((fragment.name.as_deref(), fragment.candidates), (Some("abcd"), 1));
    for text in ["hello", "a=candidate:1 1 UDP", "a=ice-ufrag:abcd\r\na=ice-ufrag:efgh", "a=ice-pwd:short", "\u{1}="] {
        assert_eq!(Fragment::parse(text.as_bytes()), None, "{text:?}");
    }
}
