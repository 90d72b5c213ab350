//! The file is read again while the server runs: what it says holds from then on, or nothing of it, and nobody who may
//! stay notices.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anabranch_tests::Folder;
use anabranch_tests::program::Program;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::numbered::Peer;
use super::program;

const LISTEN: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
const READ: &str = "the configuration was read";
const REFUSED: &str = "the configuration was not accepted, the old one stays in force: ";

fn start(file: &Path) -> Program {
    program().arg("--config").arg(file).start()
}

/// A hundred times under load, with settings that differ each time.
#[test]
fn reloads_lose_no_connection_no_frame_and_nothing_else() {
    let folder = Folder::new();
    let text = |turn: u32| {
        let (window, chunk, most) = (turn % 5, [128, 4096, 60_000][turn as usize % 3], 10 + turn % 7);
        format!(
            "{LISTEN}[defaults.pacing]\nmerge_window = \"{window}ms\"\n[defaults.session]\nchunk_size = {chunk}\n\
             [defaults.limits]\nplayers = {most}\n"
        )
    };
    let file = folder.write("a.toml", &text(0));
    let server = start(&file);
    let mut publisher = Peer::connect(&server, "h").publishes();
    publisher.send();
    let mut players: Vec<Peer> = (0..5).map(|_| Peer::connect(&server, "h").plays()).collect();
    let mut turn_all = |players: &mut Vec<Peer>| {
        publisher.send();
        players.iter_mut().for_each(Peer::step);
    };
    server.reload(|| turn_all(&mut players));
    let before = (server.open_files(), server.threads());
    // More of them by hand: ANABRANCH_RELOADS=1000.
    let turns = std::env::var("ANABRANCH_RELOADS").map_or(100, |turns| turns.parse().expect("a number"));
    for turn in 1..=turns {
        folder.write("a.toml", &text(turn));
        let line = server.reload(|| turn_all(&mut players));
        assert!(line.contains(READ) && line.contains("defaults.pacing.merge_window"), "{line}");
        if turn % (turns / 5).max(1) == 0 {
            players.push(Peer::connect(&server, "h").plays());
        }
    }
    assert_eq!((server.open_files(), server.threads()), (before.0 + 5, before.1), "five came, nothing else");
    let last = publisher.sent();
    for player in &mut players {
        player.wait(|player| player.frames.last() == Some(&last) || player.is_closed());
        assert!(!player.is_closed());
        assert!(player.frames.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{:?}", player.frames);
    }
    assert_eq!(server.lines(" closed: "), [""; 0]);
    assert!(players[0].frames.len() > 100);
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let folder = Folder::new();
    let file = folder.write("a.toml", LISTEN);
    let server = start(&file);
    let mut publisher = Peer::connect(&server, "h").publishes();
    // What is right in it does not hold either.
    let deny = "[defaults.security]\nrules = [\"deny play all\", \"deny publish all\"]\n";
    for (text, words) in [
        (format!("{LISTEN}{deny}[defaults.play]\nmax_gap = \"soon\"\n"), "a.toml:6:1: defaults.play.max_gap: "),
        (format!("{LISTEN}{deny}oops"), "a.toml:5:"),
        (format!("{LISTEN}{deny}[log]\nlevel = \"a=b=c\""), "a.toml:6:1: log.level: "),
        (format!("{LISTEN}{deny}[defaults.play]\nmax_gop = \"1s\"\nmerge_windo = 3"), "; "),
        (format!("[server]\nlisten = [\"127.0.0.1:1\"]\n{deny}"), "to change: server.listen"),
        (format!("{LISTEN}threads = 7\n{deny}"), "to change: server.threads"),
    ] {
        folder.write("a.toml", &text);
        let line = server.reload(|| publisher.send());
        assert!(line.contains(REFUSED) && line.contains(words), "{words} is not in {line}");
    }
    std::fs::remove_file(&file).unwrap();
    let line = server.reload(|| publisher.send());
    assert!(line.contains(REFUSED) && line.contains("a.toml: No such file"), "{line}");
    let mut player = Peer::connect(&server, "h").plays();
    publisher.send();
    player.wait(|player| !player.frames.is_empty());
    assert!(!player.is_rejected && !publisher.is_closed());
    // And then it does.
    folder.write("a.toml", &format!("{LISTEN}{deny}"));
    assert!(server.reload(|| ()).contains("in force; changed: defaults.security.rules"));
    for peer in [&mut player, &mut publisher] {
        peer.wait(|peer| peer.is_closed());
    }
    assert_eq!(server.wait_lines("(security_denied) in phase", 2).len(), 2);
    let newcomer = Peer::connect(&server, "h").plays();
    assert!(newcomer.is_rejected || newcomer.is_closed());
}

/// What servers with log files get when these are rotated.
#[test]
fn signals_of_other_servers_do_not_end_it() {
    let server = program().on_a_free_port().start();
    for (count, signal) in [(1, "USR1"), (2, "USR2")] {
        server.process.signal(signal);
        server.wait_lines("SIGUSR1 and SIGUSR2 have no effect", count);
    }
    server.publisher("cam");
    server.stop();
}

#[test]
fn virtual_hosts_come_and_go_and_the_log_level_follows() {
    let folder = Folder::new();
    let hosts = |names: &[&str]| -> String {
        let hosts = names.iter().map(|name| format!("[[vhost]]\nname = \"{name}\"\n"));
        LISTEN.to_owned() + &hosts.collect::<String>()
    };
    let file = folder.write("a.toml", &hosts(&["a", "b"]));
    let server = start(&file);
    let (mut stays, mut goes) = (Peer::connect(&server, "a").publishes(), Peer::connect(&server, "b").publishes());
    folder.write("a.toml", &(hosts(&["a", "c"]) + "[log]\nlevel = \"debug\"\n"));
    assert!(server.reload(|| ()).contains(READ));
    goes.wait(|peer| peer.is_closed());
    server.wait_lines("the server has no virtual host of this name (vhost_unknown)", 1);
    server.wait_lines(" is no longer publisher", 1);
    stays.send();
    let new = Peer::connect(&server, "c").publishes();
    assert!(!new.is_closed() && !new.is_rejected, "the new client is accepted");
    assert!(!stays.is_closed(), "{:?}", server.lines(" closed: "));
    assert!(Peer::connect(&server, "b").is_closed());
}

/// Whether the server shows this certificate.
fn shows(address: SocketAddr, certificate: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config.with_no_client_auth()), name).unwrap();
    StreamOwned::new(client, TcpStream::connect(address).unwrap()).flush().is_ok()
}

/// The old ones cannot be read again, and need not be.
#[test]
fn a_refused_reload_leaves_the_certificates_although_their_files_are_gone() {
    let folder = Folder::new();
    let certificate = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        folder.write(&format!("{name}.key"), &made.signing_key.serialize_pem());
        folder.write(&format!("{name}.pem"), &made.cert.pem());
        made.cert.der().clone()
    };
    let (old, new) = (certificate("old"), certificate("new"));
    let path = |name: &str| folder.file(name).display().to_string();
    let text = |name: &str, rest: &str| {
        format!(
            "{LISTEN}[tls]\non_rtmp_ports = true\n[[tls.certificates]]\ncertificate = '{}'\nkey = '{}'\n{rest}",
            path(&format!("{name}.pem")),
            path(&format!("{name}.key"))
        )
    };
    let server = start(&folder.write("a.toml", &text("old", "")));
    assert!(shows(server.address(), &old) && !shows(server.address(), &new));
    std::fs::remove_file(path("old.pem")).unwrap();
    let hooks = "[defaults.hooks]\non_play = ['https://127.0.0.1:1/']\nca_file = '/nowhere.pem'\n";
    folder.write("a.toml", &text("new", hooks));
    let line = server.reload(|| ());
    assert!(line.contains(REFUSED) && line.contains("/nowhere.pem"), "{line}");
    assert!(shows(server.address(), &old) && !shows(server.address(), &new));
    folder.write("a.toml", &text("new", ""));
    assert!(server.reload(|| ()).contains(READ));
    assert!(shows(server.address(), &new) && !shows(server.address(), &old));
}
