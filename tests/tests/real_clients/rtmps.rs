use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anabranch_tests::media::{assert_same_packets, media_tags};
use anabranch_tests::program::{Process, Program, Runtime};
use anabranch_tests::{Authority, TIMEOUT, wait_for};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::SHORT;

/// The certificate that a client with this name gets, verified.
fn certificate_for(authority: &Authority, server: SocketAddr, name: &'static str) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.ca()).expect("it was written");
    roots.add(ca).expect("it is an authority");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name).expect("it is a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("it can begin");
    let mut socket = TcpStream::connect(server).expect("it listens");
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).expect("the certificate is valid for the name");
    }
    connection.peer_certificates().expect("it has shown one")[0].to_vec()
}

fn rtmps(server: &Program, stream: &str) -> String {
    format!("rtmps://localhost:{}/{stream}", server.address().port())
}

/// The options with which FFmpeg verifies certificates.
fn verifying(ca: &str) -> [&str; 4] {
    ["-tls_verify", "1", "-ca_file", ca]
}

fn publish(url: &str, ca: &str) -> Process {
    let file = SHORT.file();
    let file = file.to_str().expect("paths of tests are UTF-8");
    let input = ["-nostdin", "-loglevel", "warning", "-re", "-i", file, "-map", "0", "-c", "copy", "-f", "flv"];
    Process::start("ffmpeg", input.iter().chain(&verifying(ca)).chain(&[url]))
}

fn play(url: &str, ca: &str, file: &str) -> Process {
    let before = ["-nostdin", "-loglevel", "warning", "-copyts"];
    let after = ["-i", url, "-c", "copy", "-flvflags", "no_duration_filesize", "-f", "flv", file];
    Process::start("ffmpeg", before.iter().chain(&verifying(ca)).chain(&after))
}

#[test]
fn ffmpeg_publishes_and_plays_over_rtmps_while_the_certificate_is_changed() {
    let authority = Authority::new();
    let first = authority.issue("server", &["localhost"]);
    let server = authority.server(&["server"]);
    let address = server.address();
    assert_eq!(certificate_for(&authority, address, "localhost"), first);

    let url = rtmps(&server, "live/cam");
    let received = authority.file("received.flv");
    let player = play(&url, &authority.ca(), received.to_str().expect("paths of tests are UTF-8"));
    let plain = server.ffprobe("live/cam");
    server.wait_players("live/cam", 2);
    let publisher = publish(&url, &authority.ca());
    server.wait_publishers("live/cam", 1);

    let second = authority.issue("server", &["localhost"]);
    assert_ne!(first, second);
    wait_for("the new certificate", TIMEOUT, || {
        std::thread::sleep(Duration::from_millis(50));
        (certificate_for(&authority, address, "localhost") == second).then_some(())
    });
    assert!(publisher.is_running(), "it was changed under a live session");
    publisher.wait_success(TIMEOUT);
    player.wait_success(TIMEOUT);
    plain.wait_success(TIMEOUT);
    assert_same_packets(&SHORT.file(), &plain);
    assert_eq!(media_tags(&received).len(), media_tags(&SHORT.file()).len(), "the player in TLS has got all");
    assert!(server.process.lines_with("; missed ").is_empty());
}

#[test]
fn ffmpeg_refuses_a_certificate_of_an_authority_that_it_does_not_trust() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("server", &["localhost"]);
    let server = authority.server(&["server"]);
    let publisher = publish(&rtmps(&server, "live/cam"), &other.ca());
    let (status, _) = publisher.wait_exit(TIMEOUT);
    assert!(!status.success());
    server.process.wait_line(" closed: ");
    assert!(server.process.lines_with(" is publisher of ").is_empty());
}

#[test]
fn each_name_gets_its_certificate_and_unknown_ones_the_first() {
    let authority = Authority::new();
    let local = authority.issue("local", &["localhost"]);
    let media = authority.issue("media", &["media.example", "*.media.example"]);
    let server = authority.server(&["local", "media"]);
    for (name, expected) in
        [("localhost", &local), ("media.example", &media), ("edge.media.example", &media), ("localhost", &local)]
    {
        assert_eq!(&certificate_for(&authority, server.address(), name), expected, "{name}");
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_and_the_server_does_not_start() {
    let authority = Authority::new();
    authority.issue("one", &["localhost"]);
    authority.issue("two", &["localhost"]);
    let (one, two) = (authority.file("one.pem"), authority.file("two.key"));
    let config = authority.file("bad.toml");
    let start = |certificate: &PathBuf, key: &PathBuf| {
        let text = format!(
            "[tls]\non_rtmp_ports = true\n[[tls.certificates]]\ncertificate = {certificate:?}\nkey = {key:?}\n"
        );
        fs::write(&config, text).expect("the folder can be written");
        let file = config.display().to_string();
        let process = Process::start(Runtime::Smol.binary(), ["--listen", "127.0.0.1:0", "--config", &file]);
        let (status, _) = process.wait_exit(TIMEOUT);
        assert!(!status.success());
        process.stderr().join("\n")
    };
    let error = start(&one, &two);
    assert!(error.contains("one.pem") && error.contains("two.key"), "{error}");
    let error = start(&one, &authority.file("missing.key"));
    assert!(error.contains("missing.key"), "{error}");
    let error = start(&two, &two);
    assert!(error.contains("two.key") && error.contains("no certificate"), "{error}");
}

#[test]
fn a_connection_that_only_begins_like_tls_is_closed_and_harms_no_other() {
    let authority = Authority::new();
    authority.issue("server", &["localhost"]);
    let mut server = authority.server(&["server"]);
    let endings: [&[u8]; 4] = [&[22], &[22, 3, 1, 0xff, 0xff, 1], &[22, 3, 1, 0, 5, 1, 0, 0, 1, 3], &[22; 20_000]];
    let mut sockets = Vec::new();
    for bytes in endings {
        let mut socket = TcpStream::connect(server.address()).expect("it listens");
        // The server may close as soon as it has seen enough.
        let _ = socket.write_all(bytes);
        sockets.push(socket);
    }
    // Silent connections reach the limit of connections before connect.
    for mut socket in sockets {
        socket.set_read_timeout(Some(TIMEOUT)).expect("it can be set");
        let mut rest = Vec::new();
        let ended = socket.read_to_end(&mut rest);
        assert!(!matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{ended:?}");
    }
    server.process.wait_lines(" closed: ", 4);
    super::assert_serves(&mut server);
}
