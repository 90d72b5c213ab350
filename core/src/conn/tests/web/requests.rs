//! What requests say of the client, its page and the server, and what is believed of it.

use bytes::Bytes;

use super::*;

/// A server that trusts two networks of proxies, and a publisher.
fn behind_proxies() -> (Harness, Client) {
    let trusted_proxies = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().expect("a network")).to_vec();
    let harness = Harness::with(Config { trusted_proxies, ..Config::default() });
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    (harness, publisher)
}

fn peer_of(browser: &Browser) -> String {
    browser.conn.peer().expect("it has an address").to_string()
}

#[test]
fn a_client_that_a_proxy_header_names_cannot_name_another() {
    let (harness, _publisher) = behind_proxies();
    let forwarded = "X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\n";
    for (client, expected, scheme) in [
        ("203.0.113.9", "203.0.113.9:7", "http"),
        // A proxy of requests behind a proxy of connections.
        ("10.0.0.2", "10.9.9.9:0", "https"),
    ] {
        let mut browser = Browser::by(&harness, Some("10.0.0.1:5"), Accepts::Web);
        browser.send(&harness, format!("PROXY TCP4 {client} 10.0.0.1 7 80\r\n").as_bytes());
        let request = format!("GET /live/cam.flv HTTP/1.1\r\nHost: tv.example\r\n{forwarded}\r\n");
        browser.send(&harness, request.as_bytes());
        assert_eq!((peer_of(&browser).as_str(), browser.status()), (expected, 200));
        let client = browser.conn.inner().client.as_ref().expect("it is connected");
        assert_eq!(client.tc_url.as_deref(), Some(&*format!("{scheme}://tv.example/live")));
    }
}

#[test]
fn each_request_of_a_connection_has_its_own_client() {
    let (harness, _publisher) = behind_proxies();
    let mut browser = Browser::by(&harness, Some("10.0.0.1:5"), Accepts::Web);
    for (id, forwarded, expected) in [
        (1, "X-Forwarded-For: 203.0.113.77\r\n", "203.0.113.77:0"),
        (2, "", "10.0.0.1:5"),
        (3, "X-Forwarded-For: 203.0.113.78\r\n", "203.0.113.78:0"),
        (4, "X-Forwarded-For: 192.0.2.1, unknown\r\n", "10.0.0.1:5"),
        // Two proxies in a row, and what the client invents before them.
        (5, "X-Forwarded-For: 192.0.2.1, 203.0.113.79, 10.0.0.9\r\n", "203.0.113.79:0"),
        (6, "X-Forwarded-For: 192.0.2.1, 203.0.113.80\r\nX-Forwarded-For: 2001:db8::1\r\n", "203.0.113.80:0"),
        (7, "X-Forwarded-For: unknown, 10.0.0.9\r\n", "10.0.0.9:0"),
        (8, "X-Forwarded-For: 10.0.0.3, [2001:db8::2]:90\r\n", "10.0.0.3:0"),
    ] {
        browser.send(&harness, format!("GET /x HTTP/1.1\r\nHost: h\r\n{forwarded}\r\n").as_bytes());
        assert_eq!(peer_of(&browser), expected, "{forwarded:?}");
        browser.conn.respond(harness.now, id, &Answer::new(204));
        browser.poll(&harness);
    }
}

/// The request with HEAD instead of GET.
fn head(request: &str) -> String {
    request.replacen("GET", "HEAD", 1)
}

#[test]
fn the_answer_to_head_is_the_head_of_the_answer_to_get() {
    type Change = fn(&mut VhostConfig);
    let cases: [(Change, &str, u16); 5] = [
        (|_| {}, "/live/cam.flv", 200),
        (|_| {}, "/live/nope.flv", 404),
        (|_| {}, "/live/a%2f..%2fb.flv", 404),
        (|config| config.refer = refer(), "/live/cam.flv", 403),
        (|config| config.limits = Limits { players: Some(0), ..Limits::default() }, "/live/cam.flv", 503),
    ];
    for (change, path, status) in cases {
        let mut config = VhostConfig::default();
        change(&mut config);
        let mut harness = Harness::with(config.into());
        let mut publisher = harness.publisher("cam");
        publisher.send(&harness, &[headers(), gop(0, 1)].concat());
        for request in [get(path), get(path).replace("1.1", "1.0")] {
            let [mut got, mut asked] =
                [request.clone(), head(&request)].map(|request| Browser::asking(&harness, &request));
            asked.poll(&harness);
            let start = harness.now;
            got.run(&mut harness, Duration::from_secs(11));
            harness.now = start;
            asked.run(&mut harness, Duration::from_secs(11));
            assert_eq!((asked.status(), asked.answer().0), (status, got.answer().0), "{path}");
            assert_eq!(asked.answer().1, b"", "{path}");
            assert!(status != 200 || asked.actions.last().is_some_and(|action| action == "finish"), "{path}");
            asked.run(&mut harness, Duration::from_secs(5));
            assert!(asked.closed.is_some(), "{path}");
        }
    }
    let (harness, _publisher) = served();
    harness.server.drain();
    assert_eq!(Browser::asking(&harness, &head(&get("/live/cam.flv"))).status(), 503);
}

#[test]
fn an_answer_to_head_that_the_server_makes_when_it_closes_has_no_body() {
    let harness = Harness::new();
    let mut browser = Browser::asking(&harness, &head(&get("/x")));
    browser.conn.close(CloseReason::Shutdown);
    browser.poll(&harness);
    assert_eq!((browser.status(), browser.answer().1), (503, &b""[..]));
}

#[test]
fn an_empty_line_neither_keeps_a_connection_nor_shortens_its_time() {
    let mut harness = Harness::new();
    let idle = |harness: &Harness| {
        let mut browser = Browser::asking(harness, &get("/x"));
        browser.conn.respond(harness.now, 1, &Answer::new(204));
        browser.poll(harness);
        browser
    };
    for line in ["\r\n", "\r"] {
        let start = harness.now;
        let mut browser = idle(&harness);
        browser.send(&harness, line.as_bytes());
        browser.run(&mut harness, Duration::from_secs(59));
        assert_eq!(browser.reason(), "open", "{line:?}");
        browser.run(&mut harness, Duration::from_secs(2));
        assert_eq!(browser.reason(), "served", "{line:?}");
        harness.now = start;
    }
    let mut browser = idle(&harness);
    browser.received.clear();
    browser.send(&harness, b"\r\n");
    browser.run(&mut harness, Duration::from_secs(5));
    browser.send(&harness, b"\r\n");
    assert_eq!(browser.status(), 400);
}

#[test]
fn requests_of_webrtc_are_for_the_program_whatever_their_method() {
    let harness = Harness::new();
    let mut browser = Browser::new(&harness);
    let mut number = 0;
    for path in ["/live/cam/whip", "/live/cam/whep", "/a/b/cam.flv/whep", "/rtc/v1/play/", "/rtc/session/1"] {
        for method in ["POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "GET"] {
            let offer = "v=0\r\n".repeat(1000);
            let head =
                format!("{method} {path}?vhost=x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", offer.len());
            browser.send(&harness, format!("{head}{offer}").as_bytes());
            let asked = browser.requests.pop().expect("it is for the program");
            assert_eq!((asked.request.method(), asked.request.path()), (method, path));
            assert_eq!(asked.request.body(), offer.as_bytes());
            number += 1;
            assert_eq!(asked.id, number);
            browser.conn.respond(harness.now, asked.id, &Answer::preflight("OPTIONS, POST"));
            browser.poll(&harness);
            assert_eq!(browser.reason(), "open", "the connection stays usable");
        }
    }
    let (head, _) = browser.answer();
    assert!(head.contains("Access-Control-Allow-Headers: *, Authorization, Content-Type, If-Match\r\n"), "{head}");
}

#[test]
fn a_client_that_announces_a_body_is_told_to_send_it() {
    let harness = Harness::new();
    let head = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    for pieces in [vec![head, "abc"], vec![head, "a", "bc"], vec![&*format!("{head}abc")]] {
        let mut browser = Browser::new(&harness);
        pieces.iter().for_each(|piece| browser.send(&harness, piece.as_bytes()));
        assert_eq!(browser.received, http::CONTINUE);
        assert_eq!(browser.requests[0].request.body(), &b"abc"[..]);
    }
}

#[test]
fn the_page_of_a_player_is_its_origin_if_it_names_no_other() {
    let config = VhostConfig { refer: refer(), ..VhostConfig::default() };
    let harness = Harness::with(config.into());
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    for (fields, status) in [
        ("Origin: https://a.example\r\n", 101),
        ("Origin: https://b.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Referer: https://b.example/x\r\nOrigin: https://a.example\r\n", 403),
    ] {
        let text = format!("GET /live/cam.flv HTTP/1.1\r\nHost: h\r\n{fields}{UPGRADE}\r\n");
        assert_eq!(Browser::asking(&harness, &text).status(), status, "{fields}");
    }
}

#[test]
fn parameters_do_not_change_which_stream_is_meant() {
    let harness = Harness::new();
    for (path, name, vhost) in [
        ("/live/cam.flv?t=ab:/", "live/cam", "tv.example"),
        ("/live/a.flv?vhost=a.example/x/y", "live/a", "a.example"),
        ("/live/a.flv?token=x/cam", "live/a", "tv.example"),
        ("/live/a.flv?x=1&domain=b.example/x#/y", "live/a", "b.example"),
        ("/live/cam%231.flv?a", "live/cam#1", "tv.example"),
        ("//live/room/_definst_/a%5cb.flv", "live/room/a\\b", "tv.example"),
    ] {
        let browser = Browser::asking(&harness, &get(path));
        let found = browser.conn.inner().streams().next().map(|(_, key)| key.path().to_owned());
        assert_eq!(found.as_deref(), Some(name), "{path}");
        let urls = &browser.conn.inner().client.as_ref().expect("it is connected").urls;
        assert_eq!(urls.vhost(), vhost, "{path}");
    }
    for path in ["/live/%20.flv?token=x/cam", "/live/..%2f.flv"] {
        let mut browser = Browser::asking(&harness, &get(path));
        for asked in browser.requests.split_off(0) {
            browser.conn.respond(harness.now, asked.id, &Answer::new(404));
            browser.poll(&harness);
        }
        assert_eq!((browser.status(), browser.actions.len()), (404, 0), "{path}");
    }
}

#[test]
fn another_version_of_web_socket_is_told_the_right_one() {
    let (harness, _publisher) = served();
    let browser = Browser::asking(&harness, &upgrade("/live/cam.flv").replace("Version: 13", "Version: 8"));
    let (head, _) = browser.answer();
    for line in ["HTTP/1.1 426 Upgrade Required", "Upgrade: websocket", "Sec-WebSocket-Version: 13"] {
        assert!(head.contains(&format!("{line}\r\n")), "{head}");
    }
    assert_eq!(browser.reason(), "open");
}

/// `onMetaData` with these properties.
fn metadata(properties: &[u8]) -> Vec<u8> {
    let body = [b"\x02\x00\x0aonMetaData\x03", properties, b"\x00\x00\x09"].concat();
    peer::message(MessageType::DATA_AMF0, 0, 1, &[b"\x02\x00\x0d@setDataFrame", &body[..]].concat())
}

/// Where these bytes come for the last time.
fn found(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).rposition(|window| window == part)
}

#[test]
fn metadata_does_not_hide_a_medium_whose_header_is_there() {
    let codec = b"\x00\x0cvideocodecid\x00\x40\x1c\x00\x00\x00\x00\x00\x00";
    for properties in [&codec[..], b"\x00\x08hasAudio\x01\x00"] {
        let harness = Harness::new();
        let mut publisher = harness.publisher("cam");
        let codecs = [peer::video(0, peer::VIDEO_HEADER), peer::audio(0, peer::AUDIO_HEADER)].concat();
        publisher.send(&harness, &[metadata(properties), codecs, gop(0, 1)].concat());
        let browser = Browser::asking(&harness, &get("/live/cam.flv"));
        assert_eq!(browser.tags()[0], "audio true video true");
        assert_eq!(found(&browser.body().0, b"hasAudio\x01\x00"), None, "it is corrected");
    }
}

#[test]
fn aac_without_its_header_is_no_medium() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    let video = [peer::video(0, peer::VIDEO_HEADER), peer::video(0, &peer::key_frame(1))].concat();
    publisher.send(&harness, &[video, peer::audio(0, &peer::audio_frame(1))].concat());
    let mut browser = Browser::asking(&harness, &get("/live/cam.flv"));
    assert!(browser.received.is_empty(), "its header may come");
    browser.run(&mut harness, Duration::from_secs(2));
    assert_eq!(browser.tags()[0], "audio false video true");
}

#[test]
fn metadata_that_comes_later_promises_nothing() {
    let mut harness = Harness::new();
    let video = |time: u32| [peer::video(time, peer::VIDEO_HEADER), peer::video(time, &peer::key_frame(1))].concat();
    let promise = metadata(b"\x00\x08hasAudio\x01\x01\x00\x08hasVideo\x01\x01");
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[promise.clone(), video(0)].concat());
    let mut browsers = [get("/live/cam.flv"), get("/live/cam.flv")].map(|request| Browser::asking(&harness, &request));
    for browser in &mut browsers {
        browser.run(&mut harness, Duration::from_secs(2));
    }
    for browser in &browsers {
        let (body, _) = browser.body();
        assert!(found(&body, b"hasAudio\x01\x00").is_some() && found(&body, b"hasVideo\x01\x01").is_some());
    }
    publisher.send(&harness, &[promise, video(5000)].concat());
    let [shared, polled] = &mut browsers;
    let mut batches = Batches::default();
    let share = batches.share(&mut shared.conn).expect("there is something new");
    let all = share.bytes().clone();
    assert!(shared.conn.wrote(harness.now, share, all.len()).expect("its own"));
    shared.received.extend_from_slice(&all);
    polled.poll(&harness);
    for browser in &browsers {
        let (body, _) = browser.body();
        assert!(found(&body, b"HasAudio\x01\x01\x00\x08HasVideo\x01\x01").is_some());
        assert_eq!(found(&body, b"hasAudio\x01\x01"), None);
        assert_eq!(browser.tags().last().map(|tag| tag.starts_with("9 at ")), Some(true));
    }
}

#[test]
fn connections_by_http_that_play_nothing_are_counted_while_they_do() {
    let (mut harness, _publisher) = served();
    let count = |harness: &Harness| harness.server.web_connections();
    let either = Browser::by(&harness, None, Accepts::Either);
    assert_eq!((count(&harness), either.conn.asks_since()), (0, None), "it may speak RTMP");
    let start = harness.now;
    let mut first = Browser::new(&harness);
    assert_eq!((count(&harness), first.conn.asks_since()), (1, Some(start)));
    harness.pass(Duration::from_secs(1));
    first.send(&harness, get("/x").as_bytes());
    assert_eq!((count(&harness), first.conn.asks_since()), (1, None), "it is to be answered");
    first.conn.respond(harness.now, 1, &Answer::new(204));
    first.poll(&harness);
    assert_eq!(first.conn.asks_since(), Some(harness.now));
    let mut second = Browser::by(&harness, None, Accepts::Either);
    second.send(&harness, get("/x").as_bytes());
    assert_eq!(count(&harness), 2);
    first.send(&harness, get("/live/cam.flv").as_bytes());
    assert_eq!((first.status(), count(&harness), first.conn.asks_since()), (204, 1, None), "it plays");
    second.conn.close(CloseReason::Shutdown);
    assert_eq!(count(&harness), 0);
    second.poll(&harness);
    drop((first, second, either));
    assert_eq!(count(&harness), 0);
}

#[test]
fn an_answer_that_is_not_read_is_kept_for_a_minute() {
    for reads in [false, true] {
        let mut harness = Harness::new();
        let mut browser = Browser::new(&harness);
        browser.conn.handle_input(harness.now, get("/x").as_bytes());
        browser.poll_full(&harness);
        let asked = browser.requests.pop().expect("it asks");
        let body = Bytes::from(vec![7; 1 << 20]);
        browser.conn.respond(harness.now, asked.id, &Answer::new(200).with_body(body.clone()));
        browser.poll_full(&harness);
        let mut seconds = 0;
        while browser.closed.is_none() {
            seconds += 1;
            assert!(seconds < 75, "it is kept for ever");
            harness.now += Duration::from_secs(1);
            if reads {
                // A byte now and then, and more requests, are no reason to keep it.
                browser.conn.outbound().advance(1);
                browser.conn.handle_input(harness.now, get("/y").as_bytes());
            }
            browser.conn.handle_timeout(harness.now);
            browser.poll_full(&harness);
        }
        // One that reads nothing at all ends by the write timeout.
        let least = if reads { 55 } else { 25 };
        assert!(seconds > least, "{seconds}: there is time for a slow client");
        drop(browser);
        assert!(body.is_unique(), "nothing keeps the bytes");
    }
}

#[test]
fn answers_have_the_date_once_the_server_knows_it() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let post = get("/live/cam.flv").replace("GET", "POST");
    let early = Browser::asking(&harness, &post);
    assert_eq!((early.status(), early.answer().0.contains("Date:")), (405, false), "it does not know it");
    harness.server.set_clock(harness.now, 784_111_770);
    harness.now += Duration::from_secs(6);
    for request in [get("/live/cam.flv"), post] {
        let (head, _) = Browser::asking(&harness, &request).answer();
        assert_eq!(head.matches("\r\nDate: Sun, 06 Nov 1994 08:49:36 GMT\r\n").count(), 1, "{head}");
    }
}
