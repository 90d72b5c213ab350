//! WebRTC of the running program: its settings, what it says about them, and what operators see of its clients.

use std::net::UdpSocket;

use anabranch_tests::Folder;
use anabranch_tests::program::Launch;

fn program() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_anabranch"))
}

/// What `check` says about these settings, and whether the server would start.
fn check(settings: &str) -> (bool, String) {
    let folder = Folder::new();
    let file = folder.write("a.toml", &format!("server.listen = ['127.0.0.1:0']\napi.listen = 'off'\n{settings}"));
    let ended = program().arg("check").arg(&file).run();
    (ended.status.success(), ended.stdout + &ended.stderr)
}

#[test]
fn check_names_what_cannot_work_and_what_is_probably_not_meant() {
    for (settings, words) in [
        ("rtc.listen = 'here'", "is not \"auto\", \"off\", or addresses such as"),
        ("rtc.candidates = ['0.0.0.0']", "is not an address such as"),
        ("rtc.tcp_listen = ['x']", "is no address to listen on"),
        ("rtc.sessions = 0", "0 is not within 1 to 1000000"),
        ("rtc.connect_timeout = 'never'", "\"never\" is not a time from 1s to 5m"),
        ("rtc.listen = '192.0.2.1:8000'", "this machine has no such address"),
        ("rtc.candidate = []", "unknown key; did you mean candidates?"),
    ] {
        let (is_good, said) = check(settings);
        assert!(!is_good && said.contains(words), "{settings}: {said}");
    }
    let at_any_port = "rtc.listen = '127.0.0.1:0'\n";
    for (settings, words) in [
        ("web.listen = 'off'", "rtc.listen: clients negotiate WebRTC by HTTP, and no address serves HTTP"),
        ("rtc.candidates = ['127.0.0.1']", "rtc.candidates[0]: only clients on this machine reach 127.0.0.1"),
        ("rtc.candidates = ['no-such-host.invalid']", "no-such-host.invalid has no address now"),
        ("rtc.tcp_candidates = ['203.0.113.7']", "rtc.tcp_candidates: nothing listens for ICE over TCP"),
        ("rtc.rooms = 5", "rtc.rooms: browsers give camera and microphone to pages by HTTPS"),
    ] {
        let (is_good, said) = check(&format!("{at_any_port}{settings}"));
        let warning = said.lines().find(|line| line.starts_with("# Warning: ") && line.contains(words));
        assert!(is_good && warning.is_some(), "{settings}: {said}");
    }
    let (is_good, said) = check("rtc.listen = 'off'\nrtc.rooms = 5\nrtc.tcp_listen = ['127.0.0.1:0']");
    assert!(is_good && said.contains("rooms need WebRTC") && said.contains("no WebRTC without UDP"), "{said}");
    let (is_good, said) = check("rtc.listen = '127.0.0.1:0'\nrtc.candidates = ['203.0.113.7', '[2001:db8::7]:9000']");
    assert!(is_good && !said.contains("# Warning: "), "{said}");
    assert!(
        said.contains("# Each session of WebRTC: at most 256 KiB, so 2500.0 MiB for 10000 (rtc.sessions)"),
        "{said}"
    );
}

#[test]
fn a_port_of_udp_that_is_taken_keeps_a_server_from_starting_that_was_told_to_use_it() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let settings = format!("rtc.listen = '{address}'");
    let (is_good, said) = check(&settings);
    assert!(is_good && said.contains(&format!("WebRTC cannot use UDP {address}")), "{said}");
    let options = ["--listen", "127.0.0.1:0", "--web", "off", "--rtc", &address.to_string()];
    let ended = program().args(options).run();
    assert!(!ended.status.success() && ended.stderr.contains("ss -lunp"), "{}", ended.stderr);
}
