use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anabranch_core::client::ClientEvent;
use anabranch_core::command::PublishType;
use anabranch_core::conn::{Ask, Asks, Notice, Subject, Verdict, VhostConfig};
use anabranch_core::message::Message;
use anabranch_host::{Answer, Hooks, Serve, Update};
use anabranch_tests::embedded::Embedded;
use anabranch_tests::media::Clip;
use anabranch_tests::peer::Driver;
use anabranch_tests::program::Process;
use anabranch_tests::{TIMEOUT, wait_for};

anabranch_tests::on_both_libraries!(
    nothing_is_published_or_played_before_the_answer,
    an_answer_may_come_at_once,
    silence_refuses_when_the_time_is_over,
    a_client_that_leaves_first_needs_no_answer,
    hooks_that_panic_cost_one_connection_and_no_more,
    what_a_connection_published_is_over_when_hooks_panic_about_it,
    a_publication_is_over_for_the_program_whose_own_code_panicked_at_its_beginning,
);

const CLIP: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 4, gop: 300, megabits: None };

/// Passes every question and notice to the test.
#[derive(Debug)]
struct Desk {
    asked: Sender<(Ask, Answer)>,
    told: Sender<Notice>,
}

impl Hooks for Desk {
    fn ask(&self, ask: Ask, answer: Answer) {
        let _ = self.asked.send((ask, answer));
    }

    fn notify(&self, notice: Notice) {
        let _ = self.told.send(notice);
    }
}

/// Answers at once.
#[derive(Debug)]
struct OnlyLive;

impl Hooks for OnlyLive {
    fn ask(&self, ask: Ask, answer: Answer) {
        let allowed = matches!(&ask.subject, Subject::Publish(facts) if facts.key.app() == "live");
        answer.give(if allowed { Verdict::Allow } else { Verdict::Deny("only live".to_owned()) });
    }
}

fn with_desk<S: Serve + Send + 'static>(asks: Asks) -> (Embedded, Receiver<(Ask, Answer)>, Receiver<Notice>) {
    let ((asked, questions), (told, notices)) = (channel(), channel());
    let server = Embedded::start::<S>(|builder| {
        builder.config(VhostConfig { asks, ..VhostConfig::default() }).hooks(Desk { asked, told })
    });
    (server, questions, notices)
}

fn publish_only() -> Asks {
    Asks { publish: true, ..Asks::default() }
}

fn nothing_is_published_or_played_before_the_answer<S: Serve + Send + 'static>() {
    let asks = Asks { connect: true, publish: true, play: true, ..Asks::default() };
    let (server, questions, notices) = with_desk::<S>(asks);
    let clip = CLIP.file();
    let publisher = server.ffmpeg_publishes("live/cam?key=7", &["-i", clip.to_str().expect("UTF-8")]);
    let mut subscription = server.handle.subscribe("live/cam").expect("the program is not asked about");
    let next = || questions.recv_timeout(TIMEOUT).expect("a question");
    let (ask, answer) = next();
    assert_eq!((&ask.subject, ask.client.app.as_str()), (&Subject::Connect, "live"));
    answer.give(Verdict::Allow);
    let (ask, answer) = next();
    let Subject::Publish(facts) = &ask.subject else { panic!("{ask:?}") };
    assert_eq!((facts.key.stream(), facts.params.as_str()), ("cam", "?key=7"));
    assert!(subscription.try_recv().is_none(), "nothing is published before the answer");
    // From another thread, like an answer that took some time.
    thread::spawn(move || answer.give(Verdict::Allow));
    assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Frame(_))));
    publisher.wait_success(TIMEOUT);
    let told: Vec<_> = (0..2).map(|_| notices.recv_timeout(TIMEOUT).expect("a notice").subject).collect();
    assert!(matches!(&told[..], [Subject::Publish(_), Subject::Connect]), "{told:?}");
    let url = server.url("live/cam");
    let player = Process::start("rtmpdump", ["--live", "--rtmp", &url, "--flv", "/dev/null"]);
    next().1.give(Verdict::Allow);
    let (ask, answer) = next();
    assert!(matches!(ask.subject, Subject::Play(_)), "{ask:?}");
    answer.give(Verdict::Deny("not today".to_owned()));
    player.wait_exit(TIMEOUT);
    assert!(!player.lines_with("not today").is_empty() || !player.stderr().is_empty());
    let notice = notices.recv_timeout(TIMEOUT).expect("the connection's end");
    assert_eq!(notice.subject, Subject::Connect, "there is no notice about what was refused");
    server.stop();
}

fn an_answer_may_come_at_once<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| {
        builder.config(VhostConfig { asks: publish_only(), ..VhostConfig::default() }).hooks(OnlyLive)
    });
    let clip = CLIP.file();
    let input = ["-i", clip.to_str().expect("UTF-8")];
    server.ffmpeg_publishes("live/cam", &input).wait_success(TIMEOUT);
    let refused = server.ffmpeg_publishes("other/cam", &input);
    let (status, _) = refused.wait_exit(TIMEOUT);
    assert!(!status.success(), "{status}");
    server.stop();
}

fn silence_refuses_when_the_time_is_over<S: Serve + Send + 'static>() {
    let asks = Asks { timeout: std::time::Duration::from_millis(200), ..publish_only() };
    let (server, questions, notices) = with_desk::<S>(asks);
    let clip = CLIP.file();
    let publisher = server.ffmpeg_publishes("live/cam", &["-i", clip.to_str().expect("UTF-8")]);
    let (_, answer) = questions.recv_timeout(TIMEOUT).expect("a question");
    drop(answer);
    let (status, _) = publisher.wait_exit(TIMEOUT);
    assert!(!status.success(), "{status}");
    let notice = notices.recv_timeout(TIMEOUT).expect("a hook that did not refuse gets a notice");
    assert!(matches!(notice.subject, Subject::Publish(_)));
    server.stop();
}

fn a_client_that_leaves_first_needs_no_answer<S: Serve + Send + 'static>() {
    let (server, questions, notices) = with_desk::<S>(publish_only());
    let clip = CLIP.file();
    let input = ["-i", clip.to_str().expect("UTF-8")];
    let publisher = server.ffmpeg_publishes("live/cam", &input);
    let (_, late) = questions.recv_timeout(TIMEOUT).expect("a question");
    publisher.kill();
    late.give(Verdict::Allow);
    assert!(matches!(notices.recv_timeout(TIMEOUT).expect("a notice").subject, Subject::Publish(_)));
    // The name is free again.
    let publisher = server.ffmpeg_publishes("live/cam", &input);
    questions.recv_timeout(TIMEOUT).expect("a question").1.give(Verdict::Allow);
    publisher.wait_success(TIMEOUT);
    server.stop();
}

/// Panics on a question about a stream called `trap`, and allows everything else.
#[derive(Debug)]
struct Trap;

impl Hooks for Trap {
    fn ask(&self, ask: Ask, answer: Answer) {
        let trapped =
            matches!(&ask.subject, Subject::Play(facts) | Subject::Publish(facts) if facts.key.stream() == "trap");
        assert!(!trapped, "the hook has a bug, as this test wants it");
        answer.give(Verdict::Allow);
    }
}

fn hooks_that_panic_cost_one_connection_and_no_more<S: Serve + Send + 'static>() {
    let asks = Asks { publish: true, play: true, ..Asks::default() };
    let server =
        Embedded::start::<S>(|builder| builder.config(VhostConfig { asks, ..VhostConfig::default() }).hooks(Trap));
    let clip = CLIP.file();
    let input = ["-i", clip.to_str().expect("UTF-8")];
    let mut subscription = server.handle.subscribe("live/cam").expect("the program may play");
    // More often than there are threads, in case each panic ends one.
    for _ in 0..6 {
        let (status, _) = server.ffmpeg_publishes("live/trap", &input).wait_exit(TIMEOUT);
        assert!(!status.success(), "{status}");
        let url = server.url("live/trap");
        let player = Process::start("rtmpdump", ["--live", "--quiet", "--rtmp", &url, "--flv", "/dev/null"]);
        player.wait_exit(TIMEOUT);
    }
    server.ffmpeg_publishes("live/cam", &input).wait_success(TIMEOUT);
    assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Frame(_))));
    drop(subscription);
    wait_for("end of all", TIMEOUT, || {
        let stats = server.handle.stats();
        (stats.connections == 0 && stats.streams.is_empty()).then_some(())
    });
    let vhost = &server.handle.stats().vhosts[0];
    assert_eq!((vhost.connections, vhost.publishers, vhost.players), (0, 0, 0), "all counts are back to zero");
    server.stop();
}

fn what_a_connection_published_is_over_when_hooks_panic_about_it<S: Serve + Send + 'static>() {
    let config = VhostConfig { asks: publish_only(), ..VhostConfig::default() };
    let server = Embedded::start::<S>(|builder| builder.config(config).hooks(Trap));
    let mut subscription = server.handle.subscribe("live/cam").expect("the program may play");
    let mut publisher = Driver::to(&server.url("live/cam"));
    let stream = publisher.client.publish("cam", PublishType::Live).expect("it may ask");
    publisher.wait_event("a stream", |event| matches!(event, ClientEvent::Publishing { .. }).then_some(()));
    let key_frame = Message::video(0, [0x17, 1, 0, 0, 0, 9].as_slice());
    publisher.client.send_message(stream, key_frame).expect("it is published");
    publisher.flush();
    assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Frame(_))));
    // A player of the stream gets its end, also while it waits for more frames.
    let next = thread::spawn(move || subscription.recv_timeout(TIMEOUT / 2));
    publisher.client.publish("trap", PublishType::Live).expect("it may ask");
    publisher.wait_close();
    let next = next.join().expect("it does not panic");
    assert!(matches!(next, Some(Update::Ended)), "{next:?}");
    server.stop();
}

fn a_publication_is_over_for_the_program_whose_own_code_panicked_at_its_beginning<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let ((begins, begun), (ends, ended)) = (channel(), channel());
    server.handle.on_publish(move |start| {
        let _ = begins.send(start.stream);
        assert_ne!(start.key.stream(), "trap", "what the program does has a bug");
    });
    server.handle.on_unpublish(move |stream| _ = ends.send(stream));
    let mut publisher = Driver::to(&server.url("live/trap"));
    publisher.client.publish("trap", PublishType::Live).expect("it may ask");
    publisher.wait_close();
    let stream = begun.recv_timeout(TIMEOUT).expect("it has begun");
    assert_eq!(ended.recv_timeout(TIMEOUT), Ok(stream));
    server.stop();
}
