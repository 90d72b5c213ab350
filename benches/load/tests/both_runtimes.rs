//! The load tool against both servers as libraries.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anabranch_core::client::Destination;
use anabranch_core::conn::VhostConfig;
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_core::pacing::Pacing;
use anabranch_host::{Carrier, Entrance, Serve};
use anabranch_load::media::MediaOptions;
use anabranch_load::{Layout, LoadOptions, Report, WebTarget, load};
use anabranch_tests::embedded::Embedded;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;

anabranch_tests::on_both_libraries!(
    twenty_players_of_two_publishers_see_no_gap_and_no_error,
    players_by_http_and_web_socket_see_no_gap_and_no_error,
    players_that_come_and_go_all_see_their_first_frame,
    players_that_never_read_harm_no_other,
    publishers_whose_reads_wait_lose_nothing,
    errors_are_counted_by_their_kind,
);

/// Puts a load on its own server.
fn run<S: Serve + Send + 'static>(change: impl FnOnce(&mut LoadOptions)) -> Report {
    run_with::<S>(VhostConfig::default(), change)
}

fn run_with<S: Serve + Send + 'static>(config: VhostConfig, change: impl FnOnce(&mut LoadOptions)) -> Report {
    let server = Embedded::start::<S>(|builder| builder.config(config));
    let mut options = small(&server);
    change(&mut options);
    let report = load(&options, |_| {}).expect("it runs");
    server.stop();
    report
}

/// Two publishers and twenty players for two seconds.
fn small(server: &Embedded) -> LoadOptions {
    let mut options = LoadOptions::to(Destination::parse(&server.url("live/cam")).expect("a URL"));
    options.publishers = 2;
    options.players = 20;
    options.duration = Duration::from_secs(2);
    // A second is all that a player waits for a key frame.
    options.media = MediaOptions { gop: Duration::from_secs(1), ..MediaOptions::default() };
    options
}

fn players_by_http_and_web_socket_see_no_gap_and_no_error<S: Serve + Send + 'static>() {
    for scheme in ["http", "ws"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let web = listener.local_addr().expect("it has an address");
        let server = Embedded::start::<S>(|builder| builder.listener_as(listener, Entrance::web(Carrier::Plain)));
        let mut options = small(&server);
        options.watch_at = WebTarget::parse(&format!("{scheme}://{web}/live/cam.flv")).expect("a URL");
        options.check_every = 2;
        let report = load(&options, |_| {}).expect("it runs");
        assert_eq!((report.error_count(), report.gaps, report.players), (0, 0, 20), "{report}");
        assert_eq!(report.first_frame.count(), 20);
        assert!(report.frames > 100 && report.latency.count() > 100, "{report}");
        server.stop();
    }
}

fn twenty_players_of_two_publishers_see_no_gap_and_no_error<S: Serve + Send + 'static>() {
    let report = run::<S>(|options| {
        options.threads = 2;
        options.handshake = ClientHandshakeKind::Digest;
        options.server_pid = Some(std::process::id());
    });
    assert_eq!((report.error_count(), report.gaps), (0, 0), "{report}");
    assert_eq!((report.players, report.publishers), (20, 2));
    assert_eq!(report.first_frame.count(), 20);
    // 2900, unless the machine is so slow that some come after the end.
    assert!(report.frames > 100 && report.latency.count() > 100, "{report}");
    assert!(report.bytes > 100_000 && report.cpu_per_gigabyte().is_some(), "{report}");
    assert_eq!(report.to_json()["players"], 20);
}

/// The threads of the std library carry no TLS of clients.
#[test]
fn publishers_and_players_by_tls_see_no_gap_and_no_error() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let carrier = Carrier::Tls(Arc::new(config.expect("they belong together")));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let secure = listener.local_addr().expect("it has an address");
    let server = Embedded::start::<anabranch_smol::Server>(|builder| builder.listener_as(listener, carrier));
    let options = LoadOptions {
        destination: Destination::parse(&format!("rtmps://{secure}/live/cam")).expect("a URL"),
        check_every: 2,
        ..small(&server)
    };
    let report = load(&options, |_| {}).expect("it runs");
    server.stop();
    assert_eq!((report.error_count(), report.gaps, report.publishers, report.players), (0, 0, 2, 20), "{report}");
    assert!(report.frames > 100 && report.latency.count() > 100, "{report}");
}

fn players_that_come_and_go_all_see_their_first_frame<S: Serve + Send + 'static>() {
    let report = run::<S>(|options| {
        options.players = 2;
        options.churn = 8;
        options.layout = Layout::First;
    });
    assert_eq!(report.error_count(), 0, "{report}");
    let churn = report.churn.as_ref().expect("it was asked for");
    assert!(churn.count() > 0, "{report}");
}

fn players_that_never_read_harm_no_other<S: Serve + Send + 'static>() {
    let report = run::<S>(|options| {
        options.stalled = 5;
        options.check_every = 4;
    });
    assert_eq!((report.error_count(), report.gaps, report.players), (0, 0, 25), "{report}");
}

fn publishers_whose_reads_wait_lose_nothing<S: Serve + Send + 'static>() {
    let pacing = Pacing { merge_window: Duration::from_millis(150), ..Pacing::default() };
    let report = run_with::<S>(VhostConfig { pacing, ..VhostConfig::default() }, |options| {
        // All play the first, so that the others are read as streams without players, and the first within its merge
        // window.
        options.publishers = 60;
        options.layout = Layout::First;
        options.media.bitrate = 200_000;
    });
    assert_eq!((report.error_count(), report.gaps), (0, 0), "{report}");
    assert_eq!((report.players, report.publishers), (20, 60));
    assert!(report.frames > 100, "{report}");
}

fn errors_are_counted_by_their_kind<S: Serve + Send + 'static>() {
    let report = run::<S>(|options| {
        // No server listens there.
        options.publishers = 1;
        options.players = 1;
        options.destination = Destination::parse("rtmp://127.0.0.1:1/live/cam").expect("a URL");
        options.timeout = Duration::from_millis(100);
    });
    assert!(report.error_count() > 0, "{report}");
    assert!(report.errors.contains_key("not connected: connection refused"), "{report}");
}
