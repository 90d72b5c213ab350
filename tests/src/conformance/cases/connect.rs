//! `connect`, its answer, and the calls that belong to the connection as a whole.

use anabranch_core::amf::{Object, Value};
use anabranch_core::command::Command;
use anabranch_core::message::{Message, MessageType};

use crate::conformance::Target;
use crate::conformance::media::{VIDEO_HEADER, key_frame};
use crate::peer::{ScriptedClient, codes, has_line};
use crate::sim::command_in;

cases![
    windows_bandwidth_chunk_size_and_result_come_in_this_order,
    the_opening_is_the_bytes_that_servers_send,
    the_result_names_a_media_server_and_its_capabilities,
    the_result_announces_enhanced_rtmp,
    the_object_encoding_is_the_clients,
    the_transaction_is_the_clients,
    connect_of_type_17_is_answered_with_type_20,
    connect_of_type_17_may_lack_its_format_byte,
    the_app_alone_is_enough,
    the_url_alone_is_enough,
    tc_url_may_be_spelt_in_lower_case,
    neither_app_nor_url_is_refused,
    a_url_of_another_protocol_is_refused_where_no_app_says_more,
    an_app_with_dot_components_is_refused,
    ports_hosts_and_queries_of_the_url_name_the_same_stream,
    an_app_may_have_several_components,
    a_stream_name_may_be_in_the_url,
    the_query_is_no_part_of_a_stream_name,
    arguments_behind_the_object_are_taken,
    a_connect_of_several_kilobytes_is_taken,
    a_second_connect_is_ignored,
    commands_before_connect_are_ignored,
    media_before_connect_is_ignored,
    an_unknown_call_fails_and_the_connection_goes_on,
    an_unknown_call_with_transaction_0_is_not_answered,
    notices_of_clients_are_ignored,
    a_bandwidth_check_is_over_at_once,
    bandwidth_done_is_said_where_it_is_wanted with BANDWIDTH_DONE,
    stream_ids_count_up_and_deleted_ones_are_free_again,
    there_are_no_more_streams_than_the_limit,
    calls_that_clients_wait_for_are_answered,
    results_are_the_bytes_that_servers_send,
    transaction_0_wants_no_result,
    another_chunk_size_is_announced_where_it_is_configured with SMALL_CHUNKS,
    another_window_is_announced_where_it_is_configured with SMALL_WINDOW,
];

setups! {
    BANDWIDTH_DONE = |config| config.defaults.session.bandwidth_done = true;
    SMALL_CHUNKS = |config| config.defaults.session.chunk_size = 4096;
    SMALL_WINDOW = |config| config.defaults.session.window = 500_000;
}

fn url() -> Object {
    Object::new().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live")
}

/// The four messages that answer `connect`.
fn opening(target: &Target, object: Object) -> Vec<Message> {
    let mut client = ScriptedClient::open(target);
    client.connect(object);
    (0..4).map(|_| client.message()).collect()
}

fn result_of(target: &Target, object: Object) -> Command {
    command_in(&opening(target, object)[3]).expect("the result")
}

fn refused_with(target: &Target, object: Object, code: &str) {
    let mut client = ScriptedClient::open(target);
    client.connect(object);
    let received = client.receive(4);
    assert_eq!(received[3], format!("3/0 _error 1 {code}"));
    client.wire().shut_down_writing();
    assert_eq!(client.assert_closed(), [""; 0]);
}

fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Object, key: &str) -> f64 {
    object.get(key).and_then(Value::as_number).unwrap_or(-1.0)
}

fn windows_bandwidth_chunk_size_and_result_come_in_this_order(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.connect(url());
    assert_eq!(
        client.receive(4),
        [
            "WindowAckSize(2500000)",
            "SetPeerBandwidth { window: 2500000, limit: Dynamic }",
            "SetChunkSize(60000)",
            "3/0 _result 1 NetConnection.Connect.Success",
        ]
    );
    client.assert_quiet();
}

fn the_opening_is_the_bytes_that_servers_send(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.connect(url());
    let expected: &[u8] = &[
        [2, 0, 0, 0, 0, 0, 4, 5, 0, 0, 0, 0, 0, 0x26, 0x25, 0xa0].as_slice(),
        &[2, 0, 0, 0, 0, 0, 5, 6, 0, 0, 0, 0, 0, 0x26, 0x25, 0xa0, 2],
        &[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0xea, 0x60],
        &[3, 0, 0, 0],
    ]
    .concat();
    assert_eq!(client.wire().read_exact(expected.len()), expected);
}

fn the_result_names_a_media_server_and_its_capabilities(target: &Target) {
    let result = result_of(target, url());
    let properties = result.object.as_object().expect("properties");
    assert!(text(properties, "fmsVer").starts_with("FMS/3,"), "{properties:?}");
    assert_eq!((number(properties, "capabilities"), number(properties, "mode")), (31.0, 1.0));
    // An ECMA array here keeps rtmpdump from playing.
    let [Value::Object(information)] = result.arguments.as_slice() else { panic!("{result:?}") };
    assert_eq!(
        (text(information, "level"), text(information, "code")),
        ("status", "NetConnection.Connect.Success"),
        "{information:?}"
    );
    assert_eq!(number(information, "objectEncoding"), 0.0);
}

fn the_result_announces_enhanced_rtmp(target: &Target) {
    let codecs = Value::StrictArray(vec!["av01".into(), "hvc1".into()]);
    let result = result_of(target, url().with("fourCcList", codecs).with("capsEx", 15.0));
    let properties = result.object.as_object().expect("properties");
    assert_eq!(properties.get("fourCcList"), Some(&Value::StrictArray(vec!["*".into()])));
    for map in ["videoFourCcInfoMap", "audioFourCcInfoMap"] {
        let map = properties.get(map).and_then(Value::as_object).expect("a map");
        assert_eq!(number(map, "*"), 4.0, "can forward anything");
    }
    assert_eq!(number(properties, "capsEx") as u32 & 7, 7, "reconnect, multitrack, ModEx");
}

fn the_object_encoding_is_the_clients(target: &Target) {
    let result = result_of(target, url().with("objectEncoding", 3.0));
    let information = result.arguments[0].as_object().expect("information");
    assert_eq!(number(information, "objectEncoding"), 3.0);
}

fn the_transaction_is_the_clients(target: &Target) {
    let mut client = ScriptedClient::open(target);
    let command = Command::new("connect", 7.0, Value::Object(url()));
    client.send(3, 0, MessageType::COMMAND_AMF0, 0, &command.encode());
    assert_eq!(client.receive(4)[3], "3/0 _result 7 NetConnection.Connect.Success");
}

fn connect_as_17(target: &Target, selector: &[u8]) {
    let mut client = ScriptedClient::open(target);
    let body = [selector, &Command::new("connect", 1.0, Value::Object(url())).encode()].concat();
    client.send(3, 0, MessageType::COMMAND_AMF3, 0, &body);
    let messages: Vec<Message> = (0..4).map(|_| client.message()).collect();
    assert_eq!(messages[3].type_id, MessageType::COMMAND_AMF0, "FFmpeg gets nothing else");
    let body = [selector, &Command::new("createStream", 2.0, Value::Null).encode()].concat();
    client.send(3, 0, MessageType::COMMAND_AMF3, 0, &body);
    assert_eq!(client.receive(1), ["3/0 _result 2 1"]);
}

fn connect_of_type_17_is_answered_with_type_20(target: &Target) {
    connect_as_17(target, &[0]);
}

fn connect_of_type_17_may_lack_its_format_byte(target: &Target) {
    connect_as_17(target, &[]);
}

fn accepted(target: &Target, object: Object) {
    let result = result_of(target, object);
    assert_eq!(result.name.as_str(), Some("_result"), "{result:?}");
}

fn the_app_alone_is_enough(target: &Target) {
    accepted(target, Object::new().with("app", "live"));
    accepted(target, Object::new().with("app", "live").with("tcUrl", ""));
}

fn the_url_alone_is_enough(target: &Target) {
    accepted(target, Object::new().with("tcUrl", "rtmp://127.0.0.1/live"));
}

fn tc_url_may_be_spelt_in_lower_case(target: &Target) {
    accepted(target, Object::new().with("tcurl", "rtmp://127.0.0.1/live"));
}

fn neither_app_nor_url_is_refused(target: &Target) {
    refused_with(target, Object::new().with("flashVer", "x"), "NetConnection.Connect.InvalidApp");
}

fn a_url_of_another_protocol_is_refused_where_no_app_says_more(target: &Target) {
    refused_with(target, Object::new().with("tcUrl", "http://127.0.0.1/live"), "NetConnection.Connect.InvalidApp");
}

fn an_app_with_dot_components_is_refused(target: &Target) {
    let object = Object::new().with("app", "live/../etc").with("tcUrl", "rtmp://127.0.0.1/live/../etc");
    refused_with(target, object, "NetConnection.Connect.InvalidApp");
}

/// Published as `name` under one URL, it can be played under the other.
fn is_same_stream(target: &Target, publish: (Object, &str), play: (Object, &str)) {
    let mut player = ScriptedClient::connected_with(target, play.0);
    player.play(0, play.1);
    player.receive_until("|RtmpSampleAccess");
    let mut publisher = ScriptedClient::connected_with(target, publish.0);
    publisher.publish(0, publish.1);
    publisher.receive_until("NetStream.Publish.Start");
    publisher.video(0, VIDEO_HEADER);
    publisher.video(0, &key_frame(1));
    let received = player.receive(2);
    assert_eq!(received[1], "video key 1 on 1 at 0", "{:?}", play.1);
}

/// Without virtual hosts all host names are one.
fn ports_hosts_and_queries_of_the_url_name_the_same_stream(target: &Target) {
    for (number, tc_url) in [
        "rtmp://127.0.0.1:1935/live",
        "rtmp://[::1]:19350/live",
        "rtmp://Some.Host.example/live/",
        "rtmp://host/live?token=abc&x=1",
        "rtmp://host/live?vhost=other.example",
        "rtmps://user:password@host/live",
        "rtmp://host:65535//live",
    ]
    .into_iter()
    .enumerate()
    {
        let name = target.named(&number.to_string());
        let play = Object::new().with("tcUrl", tc_url);
        is_same_stream(target, (url(), &name), (play, &name));
    }
}

fn an_app_may_have_several_components(target: &Target) {
    let nested = || Object::new().with("app", "live/room/7").with("tcUrl", "rtmp://127.0.0.1/live/room/7");
    is_same_stream(target, (nested(), &target.name), (nested(), &target.name));
    // The same name in the app above is another stream.
    let _publisher = ScriptedClient::publisher(target, &target.name);
}

/// OBS sends the whole URL as `tcUrl` and `app` where its stream key is left empty.
fn a_stream_name_may_be_in_the_url(target: &Target) {
    let app = format!("live/{}", target.name);
    let whole = Object::new().with("app", app.as_str()).with("tcUrl", format!("rtmp://127.0.0.1/{app}"));
    is_same_stream(target, (whole, ""), (url(), &target.name));
}

fn the_query_is_no_part_of_a_stream_name(target: &Target) {
    let name = format!("{}?token=1&x=y", target.name);
    is_same_stream(target, (url(), &name), (url(), &target.name));
}

fn arguments_behind_the_object_are_taken(target: &Target) {
    let mut client = ScriptedClient::open(target);
    let command = Command::new("connect", 1.0, Value::Object(url()))
        .with("user")
        .with("password")
        .with(Value::StrictArray(vec![1.0.into()]));
    client.send(3, 0, MessageType::COMMAND_AMF0, 0, &command.encode());
    assert_eq!(client.receive(4)[3], "3/0 _result 1 NetConnection.Connect.Success");
}

fn a_connect_of_several_kilobytes_is_taken(target: &Target) {
    accepted(target, url().with("pageUrl", format!("https://page.example/{}", "p".repeat(3500))));
}

fn a_second_connect_is_ignored(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.connect(url());
    client.assert_quiet();
    client.create_stream(2.0);
    assert_eq!(client.receive(1), ["3/0 _result 2 1"]);
}

fn commands_before_connect_are_ignored(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.create_stream(1.0);
    client.publish(1, &target.name);
    client.command("noSuchCall", 3.0, 0, &[]);
    client.assert_quiet();
    client.connect(url());
    client.create_stream(2.0);
    assert_eq!(client.receive(5)[4], "3/0 _result 2 1", "the first stream");
}

fn media_before_connect_is_ignored(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.headers();
    client.gop(0, 1);
    client.assert_quiet();
    client.connect(url());
    client.receive_until("NetConnection.Connect.Success");
}

fn an_unknown_call_fails_and_the_connection_goes_on(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.command("getMovLen", 9.0, 0, &["cam".into()]);
    client.create_stream(10.0);
    assert_eq!(client.receive(2), ["3/0 _error 9 NetConnection.Call.Failed", "3/0 _result 10 1"]);
}

fn an_unknown_call_with_transaction_0_is_not_answered(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.command("getMovLen", 0.0, 0, &[]);
    client.assert_quiet();
}

fn notices_of_clients_are_ignored(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for name in ["_result", "_error", "onStatus", "onBWDone", "set_playlist"] {
        client.command(name, 3.0, 0, &[Value::Null]);
    }
    client.assert_quiet();
}

fn a_bandwidth_check_is_over_at_once(target: &Target) {
    for name in ["_checkbw", "checkBandwidth"] {
        let mut client = ScriptedClient::connected(target);
        client.command(name, 9.0, 0, &[]);
        assert_eq!(client.receive(2), ["3/0 _result 9", "3/0 onBWDone 0"], "{name}");
    }
}

fn bandwidth_done_is_said_where_it_is_wanted(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.connect(url());
    let received = client.receive(5);
    assert_eq!(received[3..], ["3/0 _result 1 NetConnection.Connect.Success", "3/0 onBWDone 0"]);
}

fn stream_ids_count_up_and_deleted_ones_are_free_again(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for transaction in [2.0, 3.0, 4.0] {
        client.create_stream(transaction);
    }
    assert_eq!(client.receive(3), ["3/0 _result 2 1", "3/0 _result 3 2", "3/0 _result 4 3"]);
    client.command("deleteStream", 0.0, 0, &[2.0.into()]);
    client.create_stream(5.0);
    client.create_stream(6.0);
    assert_eq!(client.receive(2), ["3/0 _result 5 2", "3/0 _result 6 4"]);
}

fn there_are_no_more_streams_than_the_limit(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for number in 1..=17 {
        client.create_stream(f64::from(number));
    }
    let received = client.receive(17);
    assert_eq!(received[15..], ["3/0 _result 16 16", "3/0 _error 17 NetConnection.Call.Failed"]);
}

fn calls_that_clients_wait_for_are_answered(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    let name = || [Value::from(target.name.as_str())];
    for (transaction, call) in
        ["releaseStream", "FCPublish", "FCUnpublish", "FCSubscribe", "FCUnsubscribe", "getStreamLength"]
            .into_iter()
            .enumerate()
    {
        client.command(call, transaction as f64 + 2.0, 0, &name());
    }
    assert_eq!(
        client.receive(7),
        [
            "3/0 _result 2",
            "3/0 _result 3",
            "3/0 _result 4",
            "3/0 _result 5",
            "3/0 onFCSubscribe 0 NetStream.Play.Start",
            "3/0 _result 6",
            "3/0 _result 7 0",
        ]
    );
}

fn results_are_the_bytes_that_servers_send(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.command("releaseStream", 2.0, 0, &["cam".into()]);
    client.create_stream(4.0);
    let head = |length: u8| [3, 0, 0, 0, 0, 0, length, 20, 0, 0, 0, 0, 2, 0, 7];
    let expected = [
        &head(20)[..],
        b"_result\0\x40\0\0\0\0\0\0\0\x05",
        &head(29)[..],
        b"_result\0\x40\x10\0\0\0\0\0\0\x05\0\x3f\xf0\0\0\0\0\0\0",
    ]
    .concat();
    assert_eq!(client.wire().read_exact(expected.len()), expected);
}

fn transaction_0_wants_no_result(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for call in ["releaseStream", "FCPublish", "FCUnpublish", "FCUnsubscribe", "getStreamLength", "_checkbw"] {
        client.command(call, 0.0, 0, &[target.name.as_str().into()]);
    }
    client.assert_quiet();
}

fn another_chunk_size_is_announced_where_it_is_configured(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.connect(url());
    assert_eq!(client.receive(3)[2], "SetChunkSize(4096)");
}

fn another_window_is_announced_where_it_is_configured(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.connect(url());
    let received = client.receive(4);
    assert_eq!(received[..2], ["WindowAckSize(500000)", "SetPeerBandwidth { window: 500000, limit: Dynamic }"]);
    assert!(has_line(&received, "Connect.Success") && codes(&received).len() == 1);
}
