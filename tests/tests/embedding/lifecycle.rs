use std::io::{ErrorKind, Read};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::num::NonZero;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anabranch_core::client::{ClientCloseReason, ClientEvent, PlayOptions};
use anabranch_core::conn::{Ask, Asks, Config, Notice, Role, Subject, Verdict, VhostConfig};
use anabranch_core::pacing::Pacing;
use anabranch_core::policy::{Application, Applications, Vhost, Vhosts};
use anabranch_core::session::Phase;
use anabranch_host::{Answer, Hooks, Serve, TcpOptions, Update};
use anabranch_tests::embedded::Embedded;
use anabranch_tests::media::Clip;
use anabranch_tests::peer::Driver;
use anabranch_tests::program::Process;
use anabranch_tests::{TIMEOUT, wait_for};

anabranch_tests::on_both_libraries!(
    a_server_that_could_not_do_what_is_asked_of_it_is_not_built,
    hooks_that_are_asked_nothing_are_refused,
    addresses_of_both_families_and_sockets_that_listen_already,
    connections_are_listed_counted_and_closed_by_number,
    the_configuration_can_change_while_the_server_runs,
    a_server_that_drains_lets_players_finish_and_accepts_no_new_clients,
    it_runs_on_one_thread_with_every_tcp_option,
    a_server_may_be_stopped_before_it_runs,
    a_server_that_never_runs_lets_no_caller_wait,
    a_stop_ends_connections_whose_peers_do_nothing,
    time_without_end_may_be_given_to_a_drain,
    a_listener_that_does_not_block_is_as_good,
);

const CLIP: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 20, gop: 30, megabits: None };

#[derive(Debug)]
struct NoBackEnd;

impl Hooks for NoBackEnd {
    fn ask(&self, _: Ask, _: Answer) {}
}

fn a_server_that_could_not_do_what_is_asked_of_it_is_not_built<S: Serve + Send + 'static>() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let refusal = |builder: anabranch_host::Builder<S>| match builder.build() {
        Ok(_) => panic!("it is built"),
        Err(error) => (error.kind(), error.to_string()),
    };
    let (kind, words) = refusal(S::builder().listen(address.parse().expect("an address")));
    assert_eq!(kind, ErrorKind::AddrInUse);
    assert!(words.contains(&address), "{words}");
    let asks = Asks { play: true, ..Asks::default() };
    let (kind, words) = refusal(S::builder().config(VhostConfig { asks, ..VhostConfig::default() }));
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(words.contains("Builder::hooks"), "{words}");
}

fn hooks_that_are_asked_nothing_are_refused<S: Serve + Send + 'static>() {
    let Err(error) = S::builder().hooks(NoBackEnd).build() else { panic!("it is built") };
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for cure in ["VhostConfig::asks", "Asks { publish: true", "Builder::hooks_if_asked"] {
        assert!(error.to_string().contains(cure), "{error}");
    }
    // One virtual host that asks is enough, and so is a program that says that it may ask later.
    let settings = VhostConfig { asks: Asks { play: true, ..Asks::default() }, ..VhostConfig::default() };
    let with_vhost = |defaults: &VhostConfig, settings: &VhostConfig| Config {
        defaults: defaults.clone(),
        vhosts: Vhosts::new([Vhost::new("tv.example", settings.clone())]).expect("a name"),
        ..Config::default()
    };
    let silent = VhostConfig::default();
    let asking = || with_vhost(&silent, &settings);
    let server = S::builder().config(asking()).hooks(NoBackEnd).build().expect("a virtual host asks them");
    let one = Application { streams: vec!["ingest/*".parse().expect("a pattern")], settings: settings.clone() };
    let application = VhostConfig { applications: Applications::new([one]), ..VhostConfig::default() };
    S::builder().config(application.clone()).hooks(NoBackEnd).build().expect("an application asks them");
    let Err(error) = S::builder().config(application).build() else {
        panic!("an application asks, and no hooks answer")
    };
    assert!(error.to_string().contains("Builder::hooks"), "{error}");
    let nowhere = S::builder().config(with_vhost(&settings, &silent)).hooks(NoBackEnd).build();
    assert!(nowhere.is_err(), "beside virtual hosts, the defaults are those of no client");
    let later = S::builder().hooks_if_asked(NoBackEnd).build().expect("they may be asked later");
    // The same for a configuration that comes later; a server that refuses one keeps the one it has.
    let tcp = TcpOptions::default();
    let error = server.handle().reconfigure(Config::default(), tcp).expect_err("nothing would ask the hooks");
    assert!(error.to_string().contains("VhostConfig::asks"), "{error}");
    server.handle().reconfigure(settings.clone(), tcp).expect("all virtual hosts ask them");
    for config in [asking(), Config::default()] {
        later.handle().reconfigure(config, tcp).expect("both are allowed");
    }
}

fn addresses_of_both_families_and_sockets_that_listen_already<S: Serve + Send + 'static>() {
    let own = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("IPv6 on this machine");
    let builder = S::builder().listener(own).listen("127.0.0.1:0".parse().expect("an address"));
    let server = builder.listen("0".parse().expect("a port")).build().expect("it can be built");
    let addresses = server.addresses();
    assert_eq!(addresses.len(), 3);
    let any = addresses.iter().find(|address| address.ip().is_unspecified()).expect("one for all").port();
    let handle = server.handle();
    let thread = std::thread::spawn(|| server.run());
    let targets = addresses.into_iter().filter(|address| !address.ip().is_unspecified());
    let both = [format!("127.0.0.1:{any}"), format!("[::1]:{any}")].map(|address| address.parse().expect("an address"));
    for address in targets.chain(both) {
        let mut socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        std::io::Write::write_all(&mut socket, &[3; 1537]).expect("it reads");
        socket.read_exact(&mut [0; 3073]).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
    assert_eq!(handle.stats().accepted, 4);
    handle.stop();
    thread.join().expect("it does not panic");
}

fn connections_are_listed_counted_and_closed_by_number<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let clip = CLIP.file();
    let publisher = server.ffmpeg_publishes("live/cam", &["-re", "-i", clip.to_str().expect("UTF-8")]);
    let player = Process::start("rtmpdump", ["--live", "--rtmp", &server.url("live/cam"), "--flv", "/dev/null"]);
    let connections = wait_for("both connections", TIMEOUT, || {
        let list = server.handle.connections();
        let (sends, gets) = (|stats: &_| frames(stats).0 > 10, |stats: &_| frames(stats).1 > 10);
        let busy = list.iter().any(|info| sends(&info.stats)) && list.iter().any(|info| gets(&info.stats));
        (list.len() == 2 && busy).then_some(list)
    });
    let of = |role| {
        let mine = connections.iter().filter(|info| info.streams.iter().any(|(its, _)| *its == role));
        let [info] = mine.collect::<Vec<_>>()[..] else { panic!("{connections:?}") };
        info
    };
    let (publishes, plays) = (of(Role::Publisher), of(Role::Player));
    assert_eq!((publishes.phase, plays.phase), (Phase::Publishing, Phase::Playing));
    assert_eq!(publishes.streams[0].1.to_string(), "live/cam");
    assert!(plays.peer.is_some_and(|peer| peer.ip().is_loopback()));
    let stats = server.handle.stats();
    assert_eq!((stats.connections, stats.accepted), (2, 2));
    assert_eq!(stats.vhosts.iter().map(|vhost| (vhost.publishers, vhost.players)).collect::<Vec<_>>(), [(1, 1)]);
    let [stream] = &stats.streams[..] else { panic!("{stats:?}") };
    assert!(stream.published && stream.players == 1 && stream.log_bytes > 0);
    assert_eq!(stream.merge_window, Pacing::default().merge_window, "one player is no load");
    // Where each connection has its own thread, there are too many to list.
    wait_for("a thread that has written to players", TIMEOUT, || {
        let threads = server.handle.stats().threads;
        let writes = threads.iter().any(|thread| thread.sweeping > 0.0 && thread.busy >= thread.sweeping);
        (writes || threads.is_empty()).then_some(())
    });

    assert!(!server.handle.close(u64::MAX, "no such client"));
    assert!(server.handle.close(plays.id, "closed by hand"));
    player.wait_exit(TIMEOUT);
    wait_for("end of the player", TIMEOUT, || (server.handle.stats().connections == 1).then_some(()));
    assert!(publisher.is_running(), "the publisher goes on");
    assert!(server.handle.close(publishes.id, "closed by hand"));
    publisher.wait_exit(TIMEOUT);
    wait_for("end of the stream", TIMEOUT, || server.handle.stats().streams.is_empty().then_some(()));
    server.stop();
}

fn the_configuration_can_change_while_the_server_runs<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let mut player = Driver::to(&server.url("live/cam"));
    player.wait_event("connect", |event| matches!(event, ClientEvent::Connected(_)).then_some(()));
    player.client.play("cam", PlayOptions::default()).expect("it may ask");
    player.wait_event("play", |event| matches!(event, ClientEvent::Playing { .. }).then_some(()));
    let asks = Asks { play: true, ..Asks::default() };
    let config = VhostConfig { asks, ..VhostConfig::default() };
    let error = server.handle.reconfigure(config, TcpOptions::default()).expect_err("there is no hook to ask");
    assert!(error.to_string().contains("hooks"), "{error}");
    server.handle.reconfigure(VhostConfig::default(), TcpOptions::default()).expect("nothing speaks against it");
    player.step();
    assert!(player.closed().is_none(), "it may stay");
    let security = "deny play all".parse().expect("a rule");
    let config = VhostConfig { security, ..VhostConfig::default() };
    server.handle.reconfigure(config, TcpOptions::default()).expect("nothing speaks against it");
    // The player sends nothing: the server must check it without being asked.
    player.wait_close();
    wait_for("end of the player", TIMEOUT, || (server.handle.stats().connections == 0).then_some(()));
    server.stop();
}

/// Frames that the server received and sent.
fn frames(stats: &anabranch_core::stats::ConnSnapshot) -> (u64, u64) {
    (stats.frames_in, stats.frames_out)
}

fn a_server_that_drains_lets_players_finish_and_accepts_no_new_clients<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let clip = CLIP.file();
    let input = ["-re", "-i", clip.to_str().expect("UTF-8")];
    let _publisher = server.ffmpeg_publishes("live/cam", &input);
    let mut subscription = server.handle.subscribe("live/cam").expect("the program may play");
    assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Frame(_))));
    let player = Process::start("rtmpdump", ["--live", "--rtmp", &server.url("live/cam"), "--flv", "/dev/null"]);
    wait_for("player", TIMEOUT, || (server.handle.stats().vhosts[0].players == 1).then_some(()));
    server.handle.drain(TIMEOUT, None).expect("it does not stop");
    // The GOP is a second, the deadline far away.
    player.wait_exit(TIMEOUT / 2);
    let late = server.ffmpeg_publishes("live/late", &input);
    assert!(!late.wait_exit(TIMEOUT).0.success(), "no new client");
    assert!(server.handle.subscribe("live/cam").is_err() && server.handle.publish("live/mine").is_err());
    // At the deadline the server closes what is left; this deadline is immediate.
    server.handle.drain(Duration::ZERO, None).expect("it does not stop");
    wait_for("end of all connections", TIMEOUT, || (server.handle.stats().connections == 0).then_some(()));
    server.stop();
}

fn it_runs_on_one_thread_with_every_tcp_option<S: Serve + Send + 'static>() {
    let tcp = TcpOptions {
        nodelay: false,
        keepalive: None,
        user_timeout: Some(Duration::from_secs(20)),
        notsent_lowat: Some(16 << 10),
    };
    let server = Embedded::start::<S>(|builder| builder.tcp(tcp).threads(NonZero::<usize>::MIN));
    let clip = CLIP.file();
    let publisher = server.ffmpeg_publishes("live/cam", &["-i", clip.to_str().expect("UTF-8")]);
    let mut subscription = server.handle.subscribe("live/cam").expect("the program may play");
    while !matches!(subscription.recv_timeout(TIMEOUT).expect("the stream goes on"), Update::Ended) {}
    publisher.wait_success(TIMEOUT);
    server.stop();
}

fn a_server_may_be_stopped_before_it_runs<S: Serve + Send + 'static>() {
    let server = S::builder().listen("127.0.0.1:0".parse().expect("an address")).build().expect("it can be built");
    let handle = server.handle();
    handle.stop();
    handle.stop();
    server.run();
    handle.stop();
    assert_eq!(handle.stats().connections, 0);
}

/// Allows everything, and passes on each end.
#[derive(Debug)]
struct Ends(Sender<Notice>);

impl Hooks for Ends {
    fn ask(&self, _: Ask, answer: Answer) {
        answer.give(Verdict::Allow);
    }

    fn notify(&self, notice: Notice) {
        let _ = self.0.send(notice);
    }
}

fn a_stop_ends_connections_whose_peers_do_nothing<S: Serve + Send + 'static>() {
    let (ends, told) = channel();
    let asks = Asks { connect: true, play: true, ..Asks::default() };
    let mut config = VhostConfig { asks, ..VhostConfig::default() };
    // The core would wait for this player for longer than a stopping server does.
    config.session.timeouts.linger = TIMEOUT;
    let server = Embedded::start::<S>(|builder| builder.config(config).hooks(Ends(ends)));
    let mut player = Driver::to(&server.url("live/cam"));
    player.client.play("cam", PlayOptions::default()).expect("it may ask");
    player.wait_event("a stream that plays", |event| matches!(event, ClientEvent::Playing { .. }).then_some(()));
    let handle = server.handle.clone();
    // The player does not read and does not close.
    server.stop();
    let told: Vec<_> = told.try_iter().map(|notice| notice.subject).collect();
    assert!(matches!(&told[..], [Subject::Play(_), Subject::Connect]), "{told:?}");
    // A handle that is used for statistics afterwards keeps nothing open.
    let stats = handle.stats();
    assert_eq!((stats.connections, stats.streams.len()), (0, 0));
    assert_eq!(player.wait_close().reason, ClientCloseReason::PeerClosed);
}

fn time_without_end_may_be_given_to_a_drain<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let mut player = Driver::to(&server.url("live/cam"));
    player.client.play("cam", PlayOptions::default()).expect("it may ask");
    player.wait_event("a stream that plays", |event| matches!(event, ClientEvent::Playing { .. }).then_some(()));
    server.handle.drain(Duration::MAX, None).expect("it does not stop");
    player.wait_event("leave is taken", |event| matches!(event, ClientEvent::ReconnectRequest { .. }).then_some(()));
    assert_eq!(server.handle.stats().connections, 1);
    server.stop();
}

fn a_listener_that_does_not_block_is_as_good<S: Serve + Send + 'static>() {
    let own = TcpListener::bind("127.0.0.1:0").expect("a port");
    own.set_nonblocking(true).expect("a socket option");
    let server = S::builder().listener(own).build().expect("it can be built");
    let (address, handle) = (server.addresses()[0], server.handle());
    let thread = std::thread::spawn(|| server.run());
    // An accept loop that treats "no connection to accept" as an error would pause and delay each connection.
    let start = Instant::now();
    for _ in 0..100 {
        let mut socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        std::io::Write::write_all(&mut socket, &[3; 1537]).expect("it reads");
        socket.read_exact(&mut [0; 3073]).expect("its part of the handshake");
    }
    let time = start.elapsed();
    handle.stop();
    thread.join().expect("it does not panic");
    assert!(time < Duration::from_secs(5), "{time:?}");
}

fn a_server_that_never_runs_lets_no_caller_wait<S: Serve + Send + 'static>() {
    let server = S::builder().build().expect("it can be built");
    let handle = server.handle();
    let mut subscription = handle.subscribe("live/cam").expect("the program may play");
    let mut publication = handle.publish("live/other").expect("the name is free");
    let (ended, end) = channel();
    std::thread::spawn(move || ended.send(subscription.recv().is_none()));
    drop(server);
    assert!(end.recv_timeout(TIMEOUT / 4).expect("it ends"));
    let message = anabranch_core::message::Message::audio(0, [0xaf, 1, 2].as_slice());
    assert_eq!(publication.push(message), Err(anabranch_host::Over::Stopped));
}
