//! One row per form that a client can send, and what it means.

use super::*;

/// `scheme host:port vhost app stream params`, or the error.
fn outcome(tc_url: Option<&str>, app: Option<&str>, stream: &str) -> String {
    match discover(tc_url, app, stream) {
        Ok(t) => {
            let (scheme, host, port, vhost) = (t.scheme(), t.host(), t.port(), t.vhost());
            format!("{scheme} {host}:{port} {vhost} {} {} {}", t.app(), t.stream(), t.params()).trim_end().to_owned()
        }
        Err(error) => format!("{error:?}"),
    }
}

/// As most clients do it: `app` is what follows the host in `tcUrl`.
fn connected(tc_url: &str, stream: &str) -> String {
    let app = tc_url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, app)| app);
    let with_app = outcome(Some(tc_url), Some(app), stream);
    assert_eq!(with_app, outcome(Some(tc_url), None, stream), "{tc_url} {stream}: app sent or not makes a difference");
    with_app
}

#[test]
fn the_same_application_at_another_server() {
    for (tc_url, app, vhost, expected) in [
        ("rtmp://h/live", "live", DEFAULT_VHOST, "rtmp://o:1936/live"),
        ("rtmp://h/live/room/?token=t", "live/room/?token=t", DEFAULT_VHOST, "rtmp://o:1936/live/room?token=t"),
        ("rtmp://h/live?a=1", "live?b=2", "h", "rtmp://o:1936/live?b=2&a=1&vhost=h"),
        ("rtmp://1.2.3.4/live?vhost=h", "live?vhost=h", "h", "rtmp://o:1936/live?vhost=h"),
    ] {
        let connect = Connect::parse(Some(tc_url), Some(app)).expect("a URL");
        let there = connect.at_server("rtmp://o:1936", vhost);
        assert_eq!(there, expected);
        let (here, there) = (connect.target("s").unwrap(), discover(Some(&there), None, "s").unwrap());
        assert_eq!((there.app(), there.params().get("a")), (here.app(), here.params().get("a")));
    }
}

#[test]
fn every_form_of_tc_url_and_stream_name() {
    let long = format!("k={}", "x".repeat(MAX_TEXT_LEN));
    for (tc_url, stream, expected) in [
        // the plain ones
        ("rtmp://h/live", "s", "rtmp h:1935 h live s"),
        ("rtmp://h/live/", "s", "rtmp h:1935 h live s"),
        ("rtmp://h/live", "/s/", "rtmp h:1935 h live s"),
        ("rtmp://h//live//", "//s", "rtmp h:1935 h live s"),
        ("rtmp://h/live/room", "s", "rtmp h:1935 h live/room s"),
        ("rtmp://h/live//room", "s", "rtmp h:1935 h live/room s"),
        ("rtmp://h/live", "room/s", "rtmp h:1935 h live/room s"),
        // parameters
        ("rtmp://h/live", "s?token=t", "rtmp h:1935 h live s ?token=t"),
        ("rtmp://h/live", "s?", "rtmp h:1935 h live s"),
        ("rtmp://h/live?token=t", "s", "rtmp h:1935 h live s ?token=t"),
        ("rtmp://h/live?a=1&b=2", "s?a=3", "rtmp h:1935 h live s ?a=1&b=2&a=3"),
        ("rtmp://h/live?a=1", "s?a=1", "rtmp h:1935 h live s ?a=1"),
        ("rtmp://h/live", "s?a=1&a=1", "rtmp h:1935 h live s ?a=1"),
        ("rtmp://h/live", "cam#1", "rtmp h:1935 h live cam#1"),
        ("rtmp://h/live", "cam#1?token=t", "rtmp h:1935 h live cam#1 ?token=t"),
        ("rtmp://h/live#2", "s", "rtmp h:1935 h live#2 s"),
        ("rtmp://h/live/cam#1", "", "rtmp h:1935 h live cam#1"),
        ("rtmp://h/live?token=t/cam#1", "", "rtmp h:1935 h live cam#1 ?token=t"),
        ("rtmp://h/live", "#", "rtmp h:1935 h live #"),
        ("rtmp://h/live?k=v#f", "s", "rtmp h:1935 h live s ?k=v&f"),
        ("rtmp://h/live", "s?u=http://x/p?y", "rtmp h:1935 h live s ?u=http://x/p?y"),
        ("rtmp://h/live", "s?t=ab/cd==", "rtmp h:1935 h live s ?t=ab/cd=="),
        ("rtmp://h/live?t=ab/cd", "s", "rtmp h:1935 h live s ?t=ab/cd"),
        ("rtmp://h?k=v", "live/s", "rtmp h:1935 h live s ?k=v"),
        // virtual hosts
        ("rtmp://h/live", "s?vhost=b&token=t", "rtmp h:1935 b live s ?vhost=b&token=t"),
        ("rtmp://h/live", "s?k=v&domain=b", "rtmp h:1935 b live s ?k=v&domain=b"),
        ("rtmp://h/live", "s?domain=c&vhost=b", "rtmp h:1935 b live s ?domain=c&vhost=b"),
        ("rtmp://h/live?vhost=a", "s", "rtmp h:1935 a live s ?vhost=a"),
        ("rtmp://h/live?vhost=A.Example", "s", "rtmp h:1935 a.example live s ?vhost=A.Example"),
        ("rtmp://h/live?vhost=a", "s?token=t", "rtmp h:1935 a live s ?vhost=a&token=t"),
        ("rtmp://h/live?vhost=a", "s?vhost=b", "rtmp h:1935 b live s ?vhost=a&vhost=b"),
        ("rtmp://h/live?vhost=a?vhost=a", "s?token=t?vhost=a?vhost=a", "rtmp h:1935 a live s ?vhost=a&token=t"),
        ("rtmp://h/live...vhost...a", "s", "rtmp h:1935 a live s ?vhost=a"),
        ("rtmp://h/live...vhost...a&token=x", "s", "rtmp h:1935 a live s ?vhost=a&token=x"),
        ("rtmp://h/live...vhost...a", "s?token=t", "rtmp h:1935 a live s ?vhost=a&token=t"),
        ("rtmp://h/live", "s...vhost...a", "rtmp h:1935 a live s ?vhost=a"),
        ("rtmp://h/live?vhost=a;token=t", "s", "rtmp h:1935 a live s ?vhost=a&token=t"),
        ("rtmp://h/live?token=t,vhost=a", "s", "rtmp h:1935 a live s ?token=t&vhost=a"),
        ("rtmp://h/live?vhost=__defaultVhost__", "s", "rtmp h:1935 h live s"),
        ("rtmp://h/live?vhost=__defaultVhost__&k=v", "s", "rtmp h:1935 h live s ?k=v"),
        ("rtmp://h/live?vhost=", "s", "rtmp h:1935 h live s ?vhost="),
        ("rtmp://__defaultVhost__/live", "s", "rtmp __defaultVhost__:1935 __defaultVhost__ live s"),
        ("rtmp://h/live?vhost=a/room", "s", "rtmp h:1935 a live/room s ?vhost=a"),
        ("rtmp://h?vhost=a/live", "s", "rtmp h:1935 a live s ?vhost=a"),
        ("rtmp://h/live...vhost...a/s", "", "rtmp h:1935 a live s ?vhost=a"),
        ("rtmp://h/live", "?vhost=a/s", "rtmp h:1935 a live s ?vhost=a"),
        ("rtmp://h/live?vhost=a b", "s", "Name(BadCharacter { part: Vhost })"),
        ("rtmp://h/live", "s?vhost=..", "Name(DotComponent { part: Vhost })"),
        // no stream name, or no app
        ("rtmp://h/live/s", "", "rtmp h:1935 h live s"),
        ("rtmp://h/live/room/s", "", "rtmp h:1935 h live/room s"),
        ("rtmp://h/live/s", "?token=t", "rtmp h:1935 h live s ?token=t"),
        ("rtmp://h/live/s?token=t", "", "rtmp h:1935 h live s ?token=t"),
        ("rtmp://h/live/s?token=ab/cd", "", "rtmp h:1935 h live s ?token=ab/cd"),
        ("rtmp://h/live?token=t/s", "", "rtmp h:1935 h live s ?token=t"),
        ("rtmp://h/live?token=t/s", "?k=v", "rtmp h:1935 h live s ?token=t&k=v"),
        ("rtmp://h/cam?token=ab/cd==", "", "rtmp h:1935 h __defaultApp__ cam ?token=ab/cd=="),
        ("rtmp://h/cam?u=http://x/p", "", "rtmp h:1935 h __defaultApp__ cam ?u=http://x/p"),
        ("rtmp://h/cam", "", "rtmp h:1935 h __defaultApp__ cam"),
        ("rtmp://h/", "s", "rtmp h:1935 h __defaultApp__ s"),
        ("rtmp://h", "s", "rtmp h:1935 h __defaultApp__ s"),
        ("rtmp://h/", "", "Name(Empty { part: Stream })"),
        ("rtmp://h/", "?token=t", "Name(Empty { part: Stream })"),
        // the default instance
        ("rtmp://h/live/_definst_", "s", "rtmp h:1935 h live s"),
        ("rtmp://h/live/_definst_/", "room/s", "rtmp h:1935 h live/room s"),
        ("rtmp://h/live", "_definst_/s", "rtmp h:1935 h live s"),
        ("rtmp://h/live/_definst_/s", "", "rtmp h:1935 h live s"),
        ("rtmp://h/live/_definst_2", "s", "rtmp h:1935 h live/_definst_2 s"),
        // schemes, hosts, ports
        ("rtmp://h:19351/live", "s", "rtmp h:19351 h live s"),
        ("rtmp://h:0/live", "s", "rtmp h:1935 h live s"),
        ("rtmp://h:/live", "s", "rtmp h:1935 h live s"),
        ("rtmp://h:0001936/live", "s", "rtmp h:1936 h live s"),
        ("RTMP://H.Example/Live", "S", "rtmp h.example:1935 h.example Live S"),
        ("rtmps://h/live", "s", "rtmps h:443 h live s"),
        ("rtmps://h:1935/live", "s", "rtmps h:1935 h live s"),
        ("rtmpt://h/live", "s", "rtmpt h:80 h live s"),
        ("rtmpts://h/live", "s", "rtmpts h:443 h live s"),
        ("rtmpe://h/live", "s", "rtmpe h:1935 h live s"),
        ("rtmpte://h/live", "s", "rtmpte h:80 h live s"),
        ("invalid://h/app", "s", "invalid h:1935 h app s"),
        ("rtmp://10.0.0.1/live", "s", "rtmp 10.0.0.1:1935 10.0.0.1 live s"),
        ("rtmp://[2001:DB8:0::1]:1936/live", "s", "rtmp 2001:db8::1:1936 2001:db8::1 live s"),
        ("rtmp://[fe80::1%eth0]/live", "s", "rtmp fe80::1%eth0:1935 fe80::1%eth0 live s"),
        ("rtmp://2001:db8::a:b:c:d:1936/live", "s", "rtmp 2001:db8:0:a:b:c:d:1936:1935 2001:db8:0:a:b:c:d:1936 live s"),
        ("rtmp://1:2:3:4:5:6:7:8:1936/live", "s", "rtmp 1:2:3:4:5:6:7:8:1936 1:2:3:4:5:6:7:8 live s"),
        ("rtmp://user:p%40ss@h:1936/live", "s", "rtmp h:1936 h live s"),
        ("rtmp://user@x:pass@h/live", "s", "rtmp h:1935 h live s"),
        ("rtmp://my_host/live", "s", "rtmp my_host:1935 my_host live s"),
        ("rtmp://bücher.example/live", "s", "rtmp bücher.example:1935 bücher.example live s"),
        // names are bytes, whole
        ("rtmp://h/live", "v1.2", "rtmp h:1935 h live v1.2"),
        ("rtmp://h/live", "v1.3", "rtmp h:1935 h live v1.3"),
        ("rtmp://h/live", "cam.flv", "rtmp h:1935 h live cam.flv"),
        ("rtmp://h/live.v2", "s...", "rtmp h:1935 h live.v2 s..."),
        ("rtmp://h/live", "Größe東京", "rtmp h:1935 h live Größe東京"),
        ("rtmp://h/live", "a%2Fb", "rtmp h:1935 h live a%2Fb"),
        ("rtmp://h/live", "a%2fb", "rtmp h:1935 h live a%2fb"),
        ("rtmp://h/live", "my cam", "rtmp h:1935 h live my cam"),
        ("rtmp://h/live", "cam'", "rtmp h:1935 h live cam'"),
        ("rtmp://h/live", "a=b&c", "rtmp h:1935 h live a=b&c"),
        ("rtmp://h/live", "mp4:dir/f.mp4", "rtmp h:1935 h live/mp4:dir f.mp4"),
        // blanks and quotes
        (" rtmp://h/live\r\n", "\ts ", "rtmp h:1935 h live s"),
        ("rtmp://h /live /room", " s ?k=v ", "rtmp h:1935 h live/room s ?k=v"),
        // hostile or broken
        ("", "s", "Empty"),
        (" \r\n", "s", "Empty"),
        ("live", "s", "NoScheme"),
        ("://h/live", "s", "NoScheme"),
        ("rt mp://h/live", "s", "NoScheme"),
        ("live?u=rtmp://h", "s", "NoScheme"),
        ("rtmp:///live", "s", "NoHost"),
        ("rtmp://:1935/live", "s", "NoHost"),
        ("rtmp://user@/live", "s", "NoHost"),
        ("http://h/live", "s", "NotRtmp { scheme: \"http\" }"),
        ("rtmp://h:0x50/live", "s", "PortNotDecimal"),
        ("rtmp://h:+80/live", "s", "PortNotDecimal"),
        ("rtmp://h:65536/live", "s", "PortOutOfRange"),
        ("rtmp://h:99999999999999999999/live", "s", "PortOutOfRange"),
        ("rtmp://a b/live", "s", "BadHost"),
        ("rtmp://a...Vhost...b/live", "s", "BadHost"),
        ("rtmp://[::1/live", "s", "BadHost"),
        ("rtmp://[::1]x/live", "s", "BadHost"),
        ("rtmp://[v1]/live", "s", "BadHost"),
        ("rtmp://a:b:c/live", "s", "BadHost"),
        ("rtmp://a:b:1/live", "s", "BadHost"),
        ("rtmp://h/li\x01ve", "s", "ControlCharacter { part: TcUrl }"),
        ("rtmp://h/live", "s\x01", "ControlCharacter { part: Stream }"),
        // C strings with their end, and what lies behind it
        ("rtmp://h/live\0", "s", "rtmp h:1935 h live s"),
        ("rtmp://h/live\0garbage\x01", "s\0I\x01\x02", "rtmp h:1935 h live s"),
        ("rtmp://h/live\0?token=t", "s?k=v\0\0", "rtmp h:1935 h live s ?k=v"),
        ("rtmp://h/", "\0s", "Name(Empty { part: Stream })"),
        ("rtmp://h/live", "a\nb", "ControlCharacter { part: Stream }"),
        ("rtmp://h/live", "s?k=\u{1b}[2J", "ControlCharacter { part: Stream }"),
        ("rtmp://h/live", "../s", "Name(DotComponent { part: App })"),
        ("rtmp://h/live/..", "s", "Name(DotComponent { part: App })"),
        ("rtmp://h/live", "..", "Name(DotComponent { part: Stream })"),
        ("rtmp://h/live", " .. ", "Name(DotComponent { part: Stream })"),
        ("rtmp://h/live", "./s", "Name(DotComponent { part: App })"),
        ("rtmp://h/live?vhost=a/..", "s", "Name(DotComponent { part: App })"),
        ("rtmp://../live", "s", "Name(DotComponent { part: Vhost })"),
        ("rtmp://h/live", &long, "TooLong { part: Stream, length: 8194 }"),
    ] {
        let found = if tc_url.contains("://")
            && tc_url.is_ascii()
            && !tc_url.contains(char::is_control)
            && discover(Some(tc_url), None, stream).is_ok()
        {
            connected(tc_url, stream)
        } else {
            outcome(Some(tc_url), None, stream)
        };
        assert_eq!(found, expected, "{tc_url} {stream}");
    }
}

#[test]
fn app_counts_more_than_tc_url_and_can_do_without() {
    for (tc_url, app, stream, expected) in [
        (Some("rtmp://h/live/s"), Some("live"), "s", "rtmp h:1935 h live s"),
        (Some("rtmp://h/other"), Some("live"), "s", "rtmp h:1935 h live s"),
        (Some("rtmp://h"), Some("live"), "s", "rtmp h:1935 h live s"),
        (Some("rtmp://h/live"), Some(""), "s", "rtmp h:1935 h live s"),
        (Some("rtmp://h/live?a=1"), Some("live"), "s?b=2", "rtmp h:1935 h live s ?a=1&b=2"),
        (Some("rtmp://h/live?a=1"), Some("live?a=1"), "s", "rtmp h:1935 h live s ?a=1"),
        (Some("rtmp://h/live?a=1"), Some("live?a=2"), "s", "rtmp h:1935 h live s ?a=1&a=2"),
        (Some("rtmp://h/live?vhost=a"), Some("live?vhost=b"), "s", "rtmp h:1935 b live s ?vhost=a&vhost=b"),
        (Some("'rtmp://h/live'"), Some("'live'"), "s", "rtmp h:1935 h live s"),
        (None, Some("live"), "s", "rtmp __defaultVhost__:1935 __defaultVhost__ live s"),
        (Some(""), Some("live"), "s", "rtmp __defaultVhost__:1935 __defaultVhost__ live s"),
        (None, Some("live?vhost=a"), "s", "rtmp __defaultVhost__:1935 a live s ?vhost=a"),
        (None, Some(""), "s", "rtmp __defaultVhost__:1935 __defaultVhost__ __defaultApp__ s"),
        (None, None, "s", "Missing"),
        (None, Some("a\0b"), "s", "rtmp __defaultVhost__:1935 __defaultVhost__ a s"),
        (None, Some("a\x01b"), "s", "ControlCharacter { part: App }"),
        // without an app there is nothing else to go by
        (Some("http://h/live"), Some(""), "s", "NotRtmp { scheme: \"http\" }"),
        (Some("http://h/live"), Some("?token=t"), "s", "NotRtmp { scheme: \"http\" }"),
        (Some("live"), None, "s", "NoScheme"),
    ] {
        assert_eq!(outcome(tc_url, app, stream), expected, "{tc_url:?} {app:?} {stream}");
    }
}

/// What real and home-made clients put there beside a good `app`.
#[test]
fn a_broken_tc_url_costs_the_virtual_host_only() {
    for broken in [
        "rtmp:/live",
        "live",
        "127.0.0.1/live",
        "127.0.0.1:1935/live",
        "rtmp:///live",
        "rtmp://:1935/live",
        "rtmp://h:99999/live",
        "rtmp://h:port/live",
        "rtmp:\\\\h\\live",
        "rtmp://a b/live",
        "http://h/live",
        "https://h/live",
        "(null)",
        "",
        " ",
        "rtmp//h/live",
        "rtmp://[::1/live",
        "rtmp://../live",
        "rtmp://./live",
        "rtmp://h/li\x01ve",
        "\0rtmp://h/live",
        "\u{fffd}\u{fffd}",
    ] {
        let connect = Connect::parse(Some(broken), Some("live")).unwrap_or_else(|error| panic!("{broken:?}: {error}"));
        assert_eq!((connect.vhost(), connect.app()), (DEFAULT_VHOST, "live"), "{broken:?}");
        assert_eq!(connect.tc_url_error().is_some(), !matches!(broken.trim(), "" | "\0rtmp://h/live"), "{broken:?}");
        let target = connect.target("cam?k=v").unwrap();
        assert_eq!(target.to_string(), "rtmp://__defaultVhost__/live/cam?k=v", "{broken:?}");
    }
    for (text, shown) in [
        // what it has of a query counts
        ("rtmp:/live?token=t", "rtmp://__defaultVhost__/live/cam?token=t"),
        ("h/live?vhost=v.example", "rtmp://__defaultVhost__/live/cam?vhost=v.example"),
        ("a b...vhost...v", "rtmp://__defaultVhost__/live/cam?vhost=v"),
        ("rtmp:/live?to\x01ken=t", "rtmp://__defaultVhost__/live/cam"),
        // these are none that is broken
        ("rtmp://h:/live", "rtmp://h/live/cam"),
        ("rtmp://[fe80::1%eth0]/live", "rtmp://[fe80::1%eth0]/live/cam"),
        ("rtmp://h_1/live", "rtmp://h_1/live/cam"),
        ("rtmp://u:p@h/live", "rtmp://h/live/cam"),
        ("rtmp://h//live", "rtmp://h/live/cam"),
        ("RTMP://H/live", "rtmp://h/live/cam"),
    ] {
        let target = discover(Some(text), Some("live"), "cam").unwrap();
        assert_eq!(target.to_string(), shown, "{text:?}");
    }
    let long = "x".repeat(MAX_TEXT_LEN + 1);
    assert!(matches!(Connect::parse(Some(&long), Some("live")), Err(UrlError::TooLong { .. })), "it may hold a token");
}

/// As long as a text may be, it may be all name.
#[test]
fn a_stream_key_may_be_as_long_as_a_text() {
    let key = "k".repeat(MAX_TEXT_LEN);
    let target = discover(Some("rtmp://host.example/live/room"), Some("live/room"), &key).unwrap();
    assert_eq!(target.stream(), key);
    let longer = "k".repeat(MAX_TEXT_LEN + 1);
    assert!(matches!(discover(None, Some("live"), &longer), Err(UrlError::TooLong { .. })));
}

/// FFmpeg and librtmp cut the same URL differently; publishers and players must still
/// meet.
#[test]
fn clients_that_cut_one_url_differently_meet() {
    for (path, ffmpeg, librtmp, key) in [
        ("live", ("live", ""), None, "h/__defaultApp__/live"),
        ("live/key", ("live", "key"), Some(("live", "key")), "h/live/key"),
        ("live/a/b", ("live/a", "b"), Some(("live/a", "b")), "h/live/a/b"),
        ("live/a/b/c", ("live/a", "b/c"), Some(("live/a/b", "c")), "h/live/a/b/c"),
        ("live/key?x=1&y=2", ("live", "key?x=1&y=2"), Some(("live", "key?x=1&y=2")), "h/live/key"),
        ("live?x=1/key", ("live?x=1", "key"), Some(("live?x=1", "key")), "h/live/key"),
        ("live/key?u=http://h/p", ("live", "key?u=http://h/p"), Some(("live/key?u=http:/", "h/p")), "h/live/key"),
        ("live//key", ("live/", "key"), Some(("live/", "key")), "h/live/key"),
        ("live?vhost=v/room/key", ("live?vhost=v/room", "key"), Some(("live?vhost=v/room", "key")), "v/live/room/key"),
    ] {
        for (app, stream) in std::iter::once(ffmpeg).chain(librtmp) {
            let target = discover(Some(&format!("rtmp://h:1935/{app}")), Some(app), stream).unwrap();
            assert_eq!(target.key().as_str(), key, "{path} as {app} and {stream}");
            let obs = discover(Some(&format!("rtmp://h/{path}")), Some(path), "").unwrap();
            assert_eq!(obs.key(), target.key(), "{path} whole in the server field");
            assert_eq!(obs.params(), target.params(), "{path}");
        }
    }
}

#[test]
fn requests_on_one_connection_do_not_pile_up() {
    let connect = Connect::parse(Some("rtmp://h/live?vhost=a"), Some("live?vhost=a")).unwrap();
    assert_eq!((connect.vhost(), connect.app(), connect.params().to_query().as_str()), ("a", "live", "?vhost=a"));
    let first = connect.target("s?token=1").unwrap();
    let second = connect.target("t?vhost=b").unwrap();
    assert_eq!(first.to_string(), "rtmp://h/live/s?vhost=a&token=1");
    assert_eq!(second.to_string(), "rtmp://h/live/t?vhost=a&vhost=b");
    assert_eq!(connect.target("s?token=1").unwrap(), first);
    assert_eq!(first.key_in(DEFAULT_VHOST).unwrap().to_string(), "live/s");
    assert_eq!(second.key().to_string(), "live/t?vhost=b");
}

#[test]
fn user_and_password_are_kept_but_never_shown() {
    let connect = Connect::parse(Some("rtmp://user:secret@h/live"), Some("live")).unwrap();
    assert_eq!(connect.tc_url().unwrap().userinfo(), Some("user:secret"));
    let target = connect.target("s").unwrap();
    for shown in
        [format!("{connect:?}"), connect.tc_url().unwrap().to_string(), format!("{target:?}"), target.to_string()]
    {
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[test]
fn a_tc_url_prints_as_the_url_it_is() {
    for (text, shown) in [
        ("RTMP://u:p@H:1935/live/", "rtmp://h/live"),
        ("rtmps://h:1935/live", "rtmps://h:1935/live"),
        ("rtmp://[::1]:443/live?a=1", "rtmp://[::1]:443/live?a=1"),
        ("rtmp://h", "rtmp://h/"),
        ("rtmp://h/live...vhost...a", "rtmp://h/live?vhost=a"),
    ] {
        let url = TcUrl::parse(text).unwrap();
        assert_eq!(url.to_string(), shown);
        assert_eq!(TcUrl::parse(shown).unwrap().to_string(), shown);
    }
    assert_eq!(TcUrl::from_bytes(b"rtmp://h/\xff"), Err(UrlError::NotUtf8));
    assert_eq!(TcUrl::from_bytes(b"rtmp://h/live").unwrap().app(), "live");
}

#[test]
fn a_reconnect_url_may_be_relative() {
    let base = TcUrl::parse("rtmps://u:p@h:1936/live/room?k=v").unwrap();
    for (reference, shown, userinfo) in [
        ("", "rtmps://h:1936/live/room?k=v", Some("u:p")),
        (" ", "rtmps://h:1936/live/room?k=v", Some("u:p")),
        ("rtmp://b/app", "rtmp://b/app", None),
        ("rtmp://x:y@b/app", "rtmp://b/app", Some("x:y")),
        ("//b/app", "rtmps://b/app", None),
        ("//b:1/app?t=1", "rtmps://b:1/app?t=1", None),
        ("/app", "rtmps://h:1936/app", Some("u:p")),
        ("/", "rtmps://h:1936/", Some("u:p")),
        ("/app?u=rtmp://x/y", "rtmps://h:1936/app?u=rtmp://x/y", Some("u:p")),
        ("hall", "rtmps://h:1936/live/hall", Some("u:p")),
        ("?t=1", "rtmps://h:1936/live/room?t=1", Some("u:p")),
    ] {
        let url = resolve(&base, reference).unwrap();
        assert_eq!((url.to_string().as_str(), url.userinfo()), (shown, userinfo), "{reference}");
    }
    assert_eq!(resolve(&TcUrl::parse("rtmp://h/live").unwrap(), "app").unwrap().to_string(), "rtmp://h/app");
    assert_eq!(resolve(&base, "http://h/"), Err(UrlError::NotRtmp { scheme: "http".into() }));
    assert_eq!(resolve(&base, "//:1/app"), Err(UrlError::NoHost));
    assert_eq!(resolve(&base, "/a\x01"), Err(UrlError::ControlCharacter { part: Part::TcUrl }));
}
