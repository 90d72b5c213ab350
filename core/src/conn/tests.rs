//! Publishers and players end to end, in memory: what each is sent, and what the adapter is told to do.

use std::time::Duration;

use bytes::Buf;

use super::*;
use crate::amf::{Object, Value};
use crate::chunk::message_header;
use crate::message::{Control, MessageType, UserControl};
use crate::session::tests::peer::{self, Ear};

const AUDIO: u8 = MessageType::AUDIO;

/// A server, its clock, and the moment it began.
#[derive(Debug)]
struct Site {
    server: Server,
    now: Instant,
}

impl Site {
    fn new() -> Self {
        Site::with(Config::default())
    }

    fn with(config: Config) -> Self {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let now = Instant::now();
        Site { server: Server::new(config, [3; 32]), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// A client that has connected and heard the answer.
    fn client(&self) -> Client {
        let mut client = Client {
            conn: self.server.connect(self.now),
            ear: Ear::new(),
            actions: Vec::new(),
            closed: None,
            deadline: None,
        };
        client.say(self, &[peer::handshake(), peer::connect()].concat());
        client.hear(self);
        client
    }

    fn publisher(&self, name: &str) -> Client {
        let mut client = self.client();
        client.say(self, &[peer::create_stream(2.0), peer::publish(1, name)].concat());
        client.hear(self);
        client
    }

    /// A player that has heard all up to the sample access notice.
    fn player(&self, name: &str) -> Client {
        let mut client = self.client();
        client.say(self, &[peer::create_stream(2.0), peer::play(1, name)].concat());
        client
    }
}

/// One connection with its client, who takes what it is sent when it listens.
#[derive(Debug)]
struct Client {
    conn: Conn,
    ear: Ear,
    /// What the adapter was told to do: `attach`, `detach`, `wake`.
    actions: Vec<String>,
    closed: Option<Report>,
    deadline: Option<Instant>,
}

impl Client {
    fn say(&mut self, site: &Site, bytes: &[u8]) {
        self.conn.handle_input(site.now, bytes);
        self.poll(site);
    }

    fn poll(&mut self, site: &Site) {
        loop {
            match self.conn.poll(site.now) {
                Output::Action(Action::Attach(attachment)) => self.actions.push(format!("attach {attachment}")),
                Output::Action(Action::Detach { role, .. }) => self.actions.push(format!("detach {role}")),
                Output::Action(Action::Subscribe(_)) => self.actions.push("subscribe".into()),
                Output::Action(Action::Unsubscribe(_)) => self.actions.push("unsubscribe".into()),
                Output::Action(Action::Wake(_)) => self.actions.push("wake".into()),
                Output::Action(Action::Ask(_)) => self.actions.push("ask".into()),
                Output::Action(Action::Tell(_)) => self.actions.push("tell".into()),
                Output::Wait(wait) => {
                    self.deadline = wait.deadline;
                    return;
                }
                Output::Closed(report) => {
                    self.closed = Some(report);
                    return;
                }
            }
        }
    }

    /// What is sent until nothing more comes.
    fn messages(&mut self, site: &Site) -> Vec<crate::message::Message> {
        let mut messages = Vec::new();
        loop {
            self.poll(site);
            let waiting = self.conn.outbound().remaining();
            if waiting == 0 {
                return messages;
            }
            let bytes = self.conn.outbound().copy_to_bytes(waiting);
            messages.extend(self.ear.messages(&bytes));
        }
    }

    fn hear(&mut self, site: &Site) -> Vec<String> {
        self.messages(site).iter().map(peer::line).collect()
    }

    fn actions(&mut self) -> Vec<String> {
        std::mem::take(&mut self.actions)
    }

    /// Lets time pass as an adapter does that looks at this connection at its deadlines only, and writes nothing.
    fn run(&mut self, site: &mut Site, time: Duration) {
        let end = site.now + time;
        while let (None, Some(deadline)) = (&self.closed, self.deadline.filter(|deadline| *deadline <= end)) {
            site.now = site.now.max(deadline);
            self.conn.handle_timeout(site.now);
            self.poll(site);
        }
        site.now = end;
    }

    fn disconnect(&mut self, site: &Site) {
        self.conn.handle_disconnect(site.now, CloseReason::PeerClosed);
        self.poll(site);
    }
}

/// Metadata and headers.
fn headers() -> Vec<u8> {
    [peer::metadata(0, 1), peer::video(0, peer::VIDEO_HEADER), peer::audio(0, peer::AUDIO_HEADER)].concat()
}

fn gop(time: u32, number: u8) -> Vec<u8> {
    [
        peer::video(time, &peer::key_frame(number)),
        peer::audio(time + 10, &peer::audio_frame(number)),
        peer::video(time + 40, &peer::inter_frame(number)),
    ]
    .concat()
}

const PLAY_REPLIES: usize = 5;

#[test]
fn a_late_joiner_starts_with_headers_and_the_newest_key_frame() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    assert_eq!(publisher.actions(), ["attach publisher of /live/cam"]);
    publisher.say(&site, &[headers(), gop(0, 1), gop(80, 2)].concat());
    assert_eq!(publisher.actions(), ["wake"]);
    let mut player = site.player("cam?token=1");
    assert_eq!(player.actions(), ["attach player of /live/cam", "subscribe"], "the query is no part of the name");
    assert_eq!(
        player.hear(&site)[PLAY_REPLIES..],
        [
            "data onMetaData on 1 at 0",
            "video header 255 on 1 at 80",
            "audio header 16 on 1 at 80",
            "video key 2 on 1 at 80",
            "audio frame 2 on 1 at 90",
            "video frame 2 on 1 at 120",
        ]
    );
    publisher.say(&site, &peer::video(160, &peer::inter_frame(3)));
    assert_eq!(player.hear(&site), ["video frame 3 on 1 at 160"]);
}

#[test]
fn a_player_that_came_first_waits_for_its_publisher() {
    let site = Site::new();
    let mut player = site.player("cam");
    assert_eq!(player.hear(&site).len(), PLAY_REPLIES);
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    let heard = player.hear(&site);
    assert_eq!(
        heard[..4],
        [
            "data onMetaData on 1 at 0",
            "video header 255 on 1 at 0",
            "audio header 16 on 1 at 0",
            "video key 1 on 1 at 0"
        ]
    );
    assert_eq!(heard.len(), 6, "it was never told that the stream was over: no notice is due");
}

#[test]
fn a_publisher_may_come_back_within_the_grace_period() {
    let mut site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    let mut player = site.player("cam");
    player.hear(&site);
    publisher.actions();
    publisher.disconnect(&site);
    assert_eq!(publisher.actions(), ["detach publisher", "wake"], "players have something to learn");
    assert_eq!(publisher.closed.as_ref().map(|report| report.close.reason.clone()), Some(CloseReason::PeerClosed));
    assert_eq!(player.hear(&site), [""; 0]);

    // Back in time: nobody is told anything, and time goes on.
    site.pass(Duration::from_secs(9));
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 2)].concat());
    let heard = player.hear(&site);
    assert_eq!(heard[3], "video key 2 on 1 at 9040", "9 s after the last frame at 40");

    // Not in time: the end is told once, and the return as well.
    publisher.disconnect(&site);
    player.hear(&site);
    player.run(&mut site, Duration::from_millis(9999));
    assert!(!player.hear(&site).iter().any(|line| line.contains("Notify")));
    player.run(&mut site, Duration::from_millis(1));
    assert_eq!(player.hear(&site), ["StreamEof(1)", "5/1 onStatus 0 NetStream.Play.UnpublishNotify"]);
    site.pass(Duration::from_secs(10));
    player.conn.handle_timeout(site.now);
    let pings = player.hear(&site);
    assert!(!pings.iter().any(|line| line.contains("Notify")), "{pings:?}");
    let mut publisher = site.publisher("cam");
    assert_eq!(player.hear(&site), ["StreamBegin(1)", "5/1 onStatus 0 NetStream.Play.PublishNotify"]);
    publisher.say(&site, &[headers(), gop(0, 3)].concat());
    assert_eq!(player.hear(&site).len(), 6);
    assert_eq!(player.conn.playing[0].missed(), Gap::default(), "it was never slow");
}

#[test]
fn a_name_that_is_taken_is_refused_until_it_is_free() {
    let mut site = Site::new();
    let mut first = site.publisher("cam");
    let mut second = site.client();
    second.say(&site, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    assert_eq!(second.hear(&site), ["3/0 _result 2 1", "5/1 onStatus 0 NetStream.Publish.BadName"]);
    assert_eq!((second.actions(), second.closed.is_none()), (vec![], true), "never attached; lingers");
    site.pass(Duration::from_secs(3));
    second.conn.handle_timeout(site.now);
    second.poll(&site);
    let report = second.closed.expect("closed");
    assert_eq!(report.close.reason, CloseReason::Rejected("NetStream.Publish.BadName"));
    // The first does not notice.
    first.say(&site, &headers());
    assert!(first.closed.is_none());
    first.say(&site, &peer::command("closeStream", 0.0, 1, &[]));
    assert_eq!(site.publisher("cam").actions(), ["attach publisher of /live/cam"]);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let site = Site::new();
    let mut client = site.client();
    client.say(&site, &peer::play(0, "a\u{1}b"));
    assert_eq!(client.hear(&site), ["5/1 onStatus 0 NetStream.Play.StreamNotFound"]);
    let mut client = site.client();
    client.say(&site, &peer::publish(0, ".."));
    assert_eq!(client.hear(&site), ["5/1 onStatus 0 NetStream.Publish.BadName"]);
    assert!(site.server.hub().streams().is_empty());
}

#[test]
fn a_paused_player_gets_nothing_and_resumes_at_the_newest_key_frame() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    let mut player = site.player("cam");
    player.hear(&site);
    player.say(&site, &peer::command("pause", 0.0, 1, &[true.into(), 0.0.into()]));
    player.hear(&site);
    publisher.say(&site, &[gop(80, 2), gop(160, 3)].concat());
    assert_eq!(player.hear(&site), [""; 0]);
    player.say(&site, &peer::command("pause", 0.0, 1, &[false.into(), 0.0.into()]));
    let heard = player.hear(&site);
    assert_eq!(heard[..2], ["5/1 onStatus 0 NetStream.Unpause.Notify", "StreamBegin(1)"]);
    assert_eq!(heard[5..], ["video key 3 on 1 at 160", "audio frame 3 on 1 at 170", "video frame 3 on 1 at 200"]);
    player.disconnect(&site);
    assert_eq!(player.closed.map(|report| report.missed.frames), Some(3), "the second group of pictures");
}

#[test]
fn video_turned_on_again_comes_from_the_next_key_frame() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    let mut player = site.player("cam");
    player.hear(&site);
    player.say(&site, &peer::command("receiveVideo", 0.0, 1, &[false.into()]));
    publisher.say(&site, &[gop(80, 2), peer::video(130, peer::VIDEO_HEADER)].concat());
    assert_eq!(player.hear(&site), ["audio frame 2 on 1 at 90", "video header 255 on 1 at 130"], "headers always come");
    player.say(&site, &peer::command("receiveVideo", 0.0, 1, &[true.into()]));
    publisher.say(&site, &[peer::video(140, &peer::inter_frame(3)), gop(160, 4)].concat());
    let heard = player.hear(&site);
    assert_eq!(heard[2..], ["video key 4 on 1 at 160", "audio frame 4 on 1 at 170", "video frame 4 on 1 at 200"]);
    player.say(&site, &peer::command("receiveAudio", 0.0, 1, &[false.into()]));
    publisher.say(&site, &gop(240, 5));
    assert_eq!(player.hear(&site), ["video key 5 on 1 at 240", "video frame 5 on 1 at 280"]);
}

#[test]
fn a_player_on_message_stream_2_gets_the_same_bodies() {
    let mut config = Config::default();
    config.defaults.session.chunk_size = 128;
    let site = Site::with(config);
    let mut publisher = site.publisher("cam");
    let body = [peer::key_frame(1), (0..250).collect()].concat();
    publisher.say(&site, &[headers(), peer::video(0x0100_0000, &body)].concat());
    let mut player = site.client();
    player.say(&site, &[peer::create_stream(2.0), peer::create_stream(3.0), peer::play(2, "cam")].concat());
    let messages = player.messages(&site);
    let frames: Vec<_> = messages.iter().filter(|message| message.type_id == MessageType::VIDEO).collect();
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame.stream_id == 2 && frame.timestamp == 0x0100_0000));
    assert_eq!((&frames[0].payload[..], &frames[1].payload[..]), (peer::VIDEO_HEADER, &body[..]));
}

#[test]
fn one_connection_plays_a_stream_twice_and_is_attached_until_both_end() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    let mut player = site.client();
    player.say(&site, &[peer::create_stream(2.0), peer::create_stream(3.0)].concat());
    player.say(&site, &[peer::play(1, "cam"), peer::play(2, "cam")].concat());
    let heard = player.hear(&site);
    for stream_id in [1, 2] {
        assert!(heard.contains(&format!("video key 1 on {stream_id} at 0")), "{heard:?}");
    }
    player.actions();
    player.say(&site, &peer::command("deleteStream", 0.0, 0, &[1.0.into()]));
    assert_eq!(player.actions(), [""; 0]);
    player.say(&site, &peer::command("deleteStream", 0.0, 0, &[2.0.into()]));
    assert_eq!(player.actions(), ["unsubscribe", "detach player"]);
}

#[test]
fn the_queue_of_a_player_that_does_not_take_stays_near_the_high_water_mark() {
    let mut config = Config::from(VhostConfig { high_water: 5000, ..VhostConfig::default() });
    config.defaults.source.bytes = 40_000;
    let site = Site::with(config);
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &headers());
    let mut player = site.player("cam");
    player.hear(&site);
    let frame = |head: &[u8]| [head, &[7; 1000]].concat();
    for number in 0..200u32 {
        let head = if number % 10 == 0 { peer::key_frame(1) } else { peer::inter_frame(2) };
        publisher.say(&site, &peer::video(number * 40, &frame(&head)));
        player.poll(&site);
        let waiting = player.conn.outbound().len();
        assert!(waiting < 5000 + 1018, "{waiting} bytes are queued");
    }
    assert!(player.conn.outbound().len() >= 5000);
    // It takes again: the rest of the queue, then on from the newest key frame.
    let heard = player.hear(&site);
    assert_eq!(heard.last().map(String::as_str), Some("video frame 7 on 1 at 7960"));
    assert!(heard.contains(&"video key 7 on 1 at 7600".to_owned()), "{heard:?}");
    player.disconnect(&site);
    let missed = player.closed.expect("closed").missed;
    let got = heard.iter().filter(|line| line.contains("key") || line.contains("frame")).count() as u64;
    assert_eq!(missed.frames + got, 200, "what it did not get is counted");
    assert!(missed.bytes > missed.frames * 1000 && missed.milliseconds > 6000, "{missed:?}");
}

#[test]
fn a_player_that_takes_nothing_is_watched_from_the_moment_it_is_given_something() {
    let mut config = Config::default();
    config.defaults.session.timeouts.ping = Duration::from_secs(1000);
    let mut site = Site::with(config);
    let mut publisher = site.publisher("cam");
    let mut player = site.player("cam");
    player.hear(&site);
    site.pass(Duration::from_secs(100));
    player.conn.handle_timeout(site.now);
    player.poll(&site);
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    player.poll(&site);
    assert!(!player.conn.outbound().is_empty());
    player.run(&mut site, Duration::from_secs(29));
    assert_eq!(player.conn.session().phase(), crate::session::Phase::Playing);
    player.run(&mut site, Duration::from_secs(12));
    let reason = player.closed.map(|report| report.close.reason);
    assert_eq!(reason, Some(CloseReason::Timeout(crate::session::TimeoutKind::Write)), "not only after the next ping");
}

#[test]
fn wakes_follow_the_merge_window() {
    let mut site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.actions();
    publisher.say(&site, &peer::audio(0, peer::AUDIO_HEADER));
    assert_eq!(publisher.actions(), [""; 0], "audio waits for company");
    assert_eq!(publisher.deadline, Some(site.now + Duration::from_millis(30)));
    site.pass(Duration::from_millis(10));
    publisher.say(&site, &peer::video(0, peer::VIDEO_HEADER));
    assert_eq!(publisher.actions(), ["wake"], "video leaves at once and takes it along");
    publisher.say(&site, &peer::audio(10, &peer::audio_frame(1)));
    site.pass(Duration::from_millis(30));
    publisher.poll(&site);
    assert_eq!(publisher.actions(), ["wake"], "nothing came: it leaves alone");
}

#[test]
fn frames_are_counted_on_their_way_in_and_out() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    let mut player = site.client();
    player.say(&site, &[peer::create_stream(2.0), peer::play(1, "cam")].concat());
    let mut deaf = site.player("cam");
    deaf.say(&site, &peer::command("receiveAudio", 0.0, 1, &[false.into()]));
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    player.poll(&site);
    deaf.poll(&site);
    let [sent, got, less] = [&publisher, &player, &deaf].map(|client| client.conn.stats().snapshot(site.now));
    assert!(sent.frames_in > 3 && sent.frames_out == 0, "{sent:?}");
    assert_eq!((got.frames_in, got.frames_out), (0, sent.frames_in));
    deaf.disconnect(&site);
    let unwanted = deaf.closed.expect("over").left_out.unwanted;
    assert!(unwanted > 0);
    assert_eq!(less.frames_out + unwanted, sent.frames_in, "what was left out was not sent");
}

#[test]
fn attached_and_detached_come_in_pairs() {
    let site = Site::new();
    let mut client = site.publisher("one");
    client.say(&site, &peer::publish(1, "two"));
    client.say(&site, &peer::command("FCUnpublish", 7.0, 0, &[Value::from("two")]));
    client.say(&site, &peer::play(1, "three"));
    client.say(&site, &peer::command("closeStream", 0.0, 1, &[]));
    assert_eq!(
        client.actions(),
        [
            "attach publisher of /live/one",
            "detach publisher",
            "wake",
            "attach publisher of /live/two",
            "detach publisher",
            "wake",
            "attach player of /live/three",
            "subscribe",
            "unsubscribe",
            "detach player",
        ]
    );
    client.say(&site, &peer::publish(1, "four"));
    client.disconnect(&site);
    assert_eq!(client.actions(), ["attach publisher of /live/four", "detach publisher", "wake"]);
    assert!(site.server.hub().streams().is_empty());
}

#[test]
fn a_connection_that_is_dropped_frees_its_name() {
    let site = Site::new();
    let publisher = site.publisher("cam");
    drop(publisher);
    assert!(site.server.hub().streams().is_empty());
}

#[test]
fn a_server_that_goes_down_tells_its_players() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    let mut player = site.player("cam");
    player.hear(&site);
    publisher.say(&site, &gop(80, 2));
    player.conn.shutdown();
    assert_eq!(
        player.hear(&site),
        ["StreamEof(1)", "5/1 onStatus 0 NetStream.Play.UnpublishNotify"],
        "and no media after"
    );
    player.disconnect(&site);
    assert_eq!(player.closed.map(|report| report.close.reason), Some(CloseReason::Shutdown));
}

#[test]
fn a_player_gets_as_much_as_it_asked_for() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 1), gop(80, 2)].concat());
    let mut player = site.client();
    let arguments = ["cam".into(), (-1.0).into(), 100.0.into()];
    player.say(&site, &[peer::create_stream(2.0), peer::command("play", 4.0, 1, &arguments)].concat());
    player.hear(&site);
    publisher.say(&site, &gop(160, 3));
    let heard = player.hear(&site);
    assert_eq!(heard[..2], ["video key 3 on 1 at 160", "audio frame 3 on 1 at 170"]);
    assert_eq!(heard[2..], ["data onPlayStatus on 1 at 0", "StreamEof(1)", "5/1 onStatus 0 NetStream.Play.Stop"]);
    assert_eq!(player.actions(), ["attach player of /live/cam", "subscribe", "unsubscribe", "detach player"]);
}

#[test]
fn the_report_tells_the_life_of_a_connection() {
    let mut site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &peer::control(&Control::User(UserControl::StreamDry(1))));
    site.pass(Duration::from_millis(1500));
    // A header that inherits from nothing, then bytes that nobody reads any more.
    let before = publisher.conn.session().received();
    publisher.say(&site, &[0xc9, 1, 2, 3]);
    publisher.hear(&site);
    let report = publisher.closed.clone().expect("closed");
    assert_eq!((report.received, report.close.offset), (before + 4, before + 1));
    assert_eq!((report.duration, report.ignored.ignored_events), (Duration::from_millis(1500), 1));
    let line = report.to_string();
    assert!(line.contains("(chunk_error) in phase publishing at byte"), "{line}");
}

/// Media of a second stream with its own message stream goes where it belongs.
#[test]
fn one_connection_publishes_two_streams() {
    let site = Site::new();
    let mut publisher = site.client();
    publisher.say(&site, &[peer::create_stream(2.0), peer::create_stream(3.0)].concat());
    publisher.say(&site, &[peer::publish(1, "one"), peer::publish(2, "two")].concat());
    for (stream_id, number) in [(1, 1), (2, 2)] {
        let frame = peer::audio_frame(number);
        let mut bytes = message_header(4, 0, frame.len() as u32, AUDIO, stream_id).to_vec();
        bytes.extend(frame);
        publisher.say(&site, &bytes);
    }
    for (name, number) in [("one", 1), ("two", 2)] {
        let heard = site.player(name).hear(&site);
        assert_eq!(heard.last(), Some(&format!("audio frame {number} on 1 at 0")));
    }
}

fn said(heard: &[String], word: &str) -> bool {
    heard.iter().any(|line| line.contains(word))
}

#[test]
fn who_comes_after_the_publisher_went_waits_like_who_came_before() {
    let mut site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &gop(0, 1));
    site.pass(Duration::from_millis(50));
    publisher.poll(&site);
    let mut stayed = site.player("cam");
    stayed.hear(&site);
    publisher.disconnect(&site);
    site.pass(Duration::from_secs(60));
    stayed.conn.handle_timeout(site.now);
    assert!(said(&stayed.hear(&site), "NetStream.Play.UnpublishNotify"), "who was served is told");
    let mut late = site.player("cam");
    let heard = late.hear(&site);
    assert!(said(&heard, "NetStream.Play.Start"), "{heard:?}");
    assert!(!said(&heard, "NetStream.Play.UnpublishNotify"), "{heard:?}");
}

#[test]
fn a_refused_peer_that_floods_is_not_listened_to() {
    let site = Site::new();
    let _publisher = site.publisher("cam");
    let mut second = site.client();
    second.say(&site, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    second.hear(&site);
    assert!(second.closed.is_none(), "it is given time to hear why");
    for _ in 0..5 {
        second.say(&site, &[0; 64 << 10]);
    }
    let report = second.closed.expect("closed at once");
    assert_eq!(report.close.reason.name(), "rejected");
    assert!(report.received > 5 * (64 << 10), "what was thrown away counts as received");
}

#[test]
fn whatever_a_player_does_not_get_is_in_its_report() {
    let config = VhostConfig { high_water: 2000, ..VhostConfig::default() };
    let mut site = Site::with(config.into());
    let mut publisher = site.publisher("cam");
    let mut player = site.player("cam");
    player.hear(&site);
    player.say(&site, &peer::command("receiveAudio", 0.0, 1, &[false.into()]));
    publisher.say(&site, &[headers(), gop(0, 1), peer::video(45, &[0x17, 1]), peer::video(46, &[0x17, 1])].concat());
    site.pass(Duration::from_millis(50));
    publisher.poll(&site);
    player.hear(&site);
    for number in 2..100u8 {
        publisher.say(&site, &gop(u32::from(number) * 100, number));
        site.pass(Duration::from_millis(100));
        publisher.poll(&site);
        player.poll(&site);
    }
    let lag = player.conn.stats().snapshot(site.now).lag;
    player.disconnect(&site);
    publisher.disconnect(&site);
    let report = player.closed.expect("over");
    assert_eq!(report.role, Some(Role::Player));
    assert!(report.unsent.frames > 10 && report.given_up > 0, "{report}");
    assert_eq!(lag, report.unsent.frames, "how far it was behind was there to be read");
    assert!(report.left_out.unwanted > 0, "{report}");
    let report = publisher.closed.expect("over");
    assert_eq!((report.role, report.malformed), (Some(Role::Publisher), 2));
    assert!(report.to_string().contains("2 malformed messages"), "{report}");
}

#[test]
fn draining_lets_players_finish_and_closes_the_rest() {
    let mut site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &gop(0, 1));
    site.pass(Duration::from_millis(50));
    publisher.poll(&site);
    let mut player = site.player("cam");
    player.hear(&site);
    site.server.drain();
    let deadline = site.now + Duration::from_secs(5);
    publisher.conn.drain(deadline, None);
    player.conn.drain(deadline, None);
    let mut newcomer = site.client();
    newcomer.say(&site, &[peer::create_stream(2.0), peer::publish(1, "other")].concat());
    assert!(said(&newcomer.hear(&site), "NetStream.Publish.Denied"));
    publisher.say(&site, &gop(1000, 2));
    site.pass(Duration::from_millis(50));
    publisher.poll(&site);
    let heard = player.hear(&site);
    assert!(said(&heard, "NetStream.Play.UnpublishNotify"), "at the next key frame: {heard:?}");
    assert!(publisher.closed.is_none(), "the publisher goes on until the deadline");
    site.pass(Duration::from_secs(5));
    publisher.conn.handle_timeout(site.now);
    publisher.hear(&site);
    publisher.poll(&site);
    assert_eq!(publisher.closed.expect("over").close.reason.name(), "shutdown");
}

#[test]
fn an_edge_asks_upstream_first_and_tells_only_of_what_it_asked_for_itself() {
    let asks = Asks { traverse: true, publish: true, ..Asks::default() };
    let site = Site::with(VhostConfig { asks, ..VhostConfig::default() }.into());
    let mut publisher = site.client();
    publisher.conn.handle_input(site.now, &[peer::create_stream(2.0), peer::publish(1, "cam?k=v")].concat());
    let asked = |conn: &mut Conn| loop {
        match conn.poll(site.now) {
            Output::Action(Action::Ask(ask)) => break ask,
            Output::Action(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let upstream = asked(&mut publisher.conn);
    assert!(matches!(&upstream.subject, Subject::Traverse(facts) if facts.params == "?k=v"), "{upstream:?}");
    publisher.conn.answer(site.now, upstream.id, Verdict::Allow);
    let own = asked(&mut publisher.conn);
    assert!(matches!(own.subject, Subject::Publish(_)), "{own:?}");
    assert!(!said(&publisher.hear(&site), "Publish.Start"), "nothing is granted yet");
    publisher.conn.answer(site.now, own.id, Verdict::Allow);
    assert!(said(&publisher.hear(&site), "Publish.Start"));
    publisher.actions();
    publisher.disconnect(&site);
    assert_eq!(publisher.actions(), ["detach publisher", "wake", "tell"]);

    let mut refused = site.client();
    refused.conn.handle_input(site.now, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    let upstream = asked(&mut refused.conn);
    refused.conn.answer(site.now, upstream.id, Verdict::Deny("not yours".to_owned()));
    assert!(said(&refused.hear(&site), "NetStream.Publish.Denied"));
    refused.disconnect(&site);
    assert_eq!(refused.actions(), [""; 0], "a question upstream is no promise to tell");
}

/// A host for the bandwidth check: measured in both directions, told the result, closed; not twice in a row, and not
/// without the key.
#[test]
fn a_bandwidth_check_runs_through_and_closes() {
    let check = crate::bandwidth::BandwidthConfig { key: "secret".to_owned(), ..Default::default() };
    let mut site = Site::with(VhostConfig { bandwidth_check: Some(check), ..VhostConfig::default() }.into());
    let connect = |site: &Site, tc_url: &str| {
        let mut client = Client {
            conn: site.server.connect(site.now),
            ear: Ear::new(),
            actions: Vec::new(),
            closed: None,
            deadline: None,
        };
        let object = Object::default().with("app", "check").with("tcUrl", tc_url);
        client.say(site, &[peer::handshake(), peer::connect_with(object)].concat());
        client
    };
    let mut stranger = connect(&site, "rtmp://host/check");
    assert!(said(&stranger.hear(&site), "NetConnection.Connect.Rejected"));

    let url = "rtmp://host/check?key=secret";
    let mut client = connect(&site, url);
    let answers = [
        ("onSrsBandCheckStartPlayBytes", "onSrsBandCheckStartingPlayBytes"),
        ("onSrsBandCheckStopPlayBytes", "onSrsBandCheckStoppedPlayBytes"),
        ("onSrsBandCheckStartPublishBytes", "onSrsBandCheckStartingPublishBytes"),
        ("onSrsBandCheckStopPublishBytes", "onSrsBandCheckStoppedPublishBytes"),
        ("onSrsBandCheckFinished", "finalClientPacket"),
    ];
    let mut heard = Vec::new();
    for _ in 0..2000 {
        for line in client.hear(&site) {
            let answer = answers.iter().find(|(name, _)| line.split(' ').any(|word| word == *name));
            if let Some((name, answer)) = answer {
                heard.push(*name);
                client.say(&site, &peer::command(answer, 0.0, 0, &[]));
            }
        }
        if client.closed.is_some() {
            break;
        }
        site.pass(Duration::from_millis(20));
        client.conn.handle_timeout(site.now);
        client.poll(&site);
    }
    assert_eq!(heard, answers.map(|(name, _)| name));
    assert_eq!(client.closed.expect("over").close.reason.name(), "bandwidth_checked");

    let mut again = connect(&site, url);
    assert!(said(&again.hear(&site), "NetConnection.Connect.Rejected"), "not so soon");
    again.disconnect(&site);
    site.pass(Duration::from_secs(30));
    let mut later = connect(&site, url);
    assert!(said(&later.hear(&site), "NetConnection.Connect.Success"));
}

#[test]
fn who_shows_no_token_takes_nothing_over() {
    let site = Site::with(VhostConfig { conflict: crate::hub::Conflict::TakeOver, ..VhostConfig::default() }.into());
    let _first = site.publisher("cam");
    let mut second = site.client();
    second.say(&site, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    assert!(said(&second.hear(&site), "NetStream.Publish.BadName"));
}

#[test]
fn who_takes_over_needs_no_place_of_its_own() {
    let limits = crate::policy::Limits { publishers: Some(1), ..Default::default() };
    let conflict = crate::hub::Conflict::TakeOver;
    let site = Site::with(VhostConfig { conflict, limits, ..VhostConfig::default() }.into());
    let _frozen = site.publisher("cam?token=t");
    let mut second = site.client();
    second.say(&site, &[peer::create_stream(2.0), peer::publish(1, "cam?token=t")].concat());
    assert!(said(&second.hear(&site), "NetStream.Publish.Start"));
}

#[test]
fn a_verdict_for_a_connection_that_is_over_grants_nothing() {
    let asks = Asks { publish: true, ..Asks::default() };
    let site = Site::with(VhostConfig { asks, ..VhostConfig::default() }.into());
    let mut publisher = site.client();
    publisher.conn.handle_input(site.now, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    let id = loop {
        match publisher.conn.poll(site.now) {
            Output::Action(Action::Ask(ask)) => break ask.id,
            Output::Action(_) => {}
            other => panic!("{other:?}"),
        }
    };
    publisher.conn.handle_disconnect(site.now, CloseReason::PeerClosed);
    publisher.conn.answer(site.now, id, Verdict::Allow);
    publisher.poll(&site);
    assert_eq!(publisher.actions(), ["tell"], "it is told of, not attached");
    assert!(site.server.hub().streams().is_empty());
}

#[test]
fn a_player_that_missed_too_much_is_closed_in_the_same_poll() {
    let config = VhostConfig { max_gap: Some(Duration::from_secs(1)), high_water: 1, ..VhostConfig::default() };
    let mut config = Config::from(config);
    config.defaults.source.milliseconds = 100;
    let mut site = Site::with(config);
    let mut publisher = site.publisher("cam");
    let mut player = site.player("cam");
    player.hear(&site);
    for number in 0..100u8 {
        publisher.say(&site, &gop(u32::from(number) * 100, number));
        site.pass(Duration::from_millis(100));
        publisher.poll(&site);
        player.poll(&site);
    }
    player.hear(&site);
    let report = player.closed.expect("closed without another call");
    assert_eq!(report.close.reason.name(), "player_too_slow");
}

#[test]
fn times_may_be_for_ever() {
    let mut config = VhostConfig::default();
    let timeouts = &mut config.session.timeouts;
    // The first message has its time, so that the timer for the next one is looked at.
    for time in [&mut timeouts.connect, &mut timeouts.identify, &mut timeouts.next_message, &mut timeouts.write] {
        *time = Duration::MAX;
    }
    (timeouts.ping, timeouts.linger) = (Duration::MAX, Duration::MAX);
    (config.unpublish_grace, config.merge_window) = (Duration::MAX, crate::source::MergeWindow(Duration::MAX));
    config.idle_publisher = Some(Duration::MAX);
    let mut site = Site::with(config.into());
    let mut player = site.player("cam");
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &peer::message(AUDIO, 0, 1, &peer::audio_frame(1)));
    publisher.run(&mut site, Duration::from_secs(86_400));
    player.run(&mut site, Duration::from_secs(86_400));
    assert!(publisher.closed.is_none() && player.closed.is_none());
    publisher.conn.shutdown();
    publisher.poll(&site);
}

#[test]
fn a_publisher_that_nobody_plays_is_closed_and_one_that_is_played_stays() {
    let config = VhostConfig { idle_publisher: Some(Duration::from_secs(8)), ..VhostConfig::default() };
    let mut site = Site::with(config.into());
    let mut lonely = site.publisher("lonely");
    let mut played = site.publisher("played");
    let player = site.player("played");
    let started = site.now;
    for second in 1..=9u32 {
        for publisher in [&mut lonely, &mut played] {
            publisher.say(&site, &peer::audio(second * 1000, &peer::audio_frame(1)));
            publisher.hear(&site);
        }
        lonely.run(&mut site, Duration::from_millis(500));
        played.run(&mut site, Duration::from_millis(500));
        lonely.hear(&site);
        played.hear(&site);
        let elapsed = site.now - started;
        assert_eq!(lonely.closed.is_some(), elapsed > Duration::from_secs(8), "after {elapsed:?}");
    }
    assert_eq!(lonely.closed.map(|report| report.close.reason), Some(CloseReason::Idle));
    assert!(played.closed.is_none());
    drop(player);
}

#[test]
fn an_adapter_may_close_a_connection_and_bytes_taken_are_counted() {
    let site = Site::new();
    let mut client = site.client();
    let sent = client.conn.stats().snapshot(site.now).bytes_out;
    assert!(sent > 3073, "handshake and the answer to connect: {sent}");
    client.conn.close(CloseReason::Closed("as asked"));
    client.hear(&site);
    let report = client.closed.expect("over");
    assert_eq!((report.close.reason, report.sent), (CloseReason::Closed("as asked"), sent));
}
