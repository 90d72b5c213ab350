//! How much of clients' addresses the log shows.

use anabranch_core::amf::Object;
use anabranch_tests::Folder;
use anabranch_tests::peer::opening::{ANSWER_LENGTH, hello};
use anabranch_tests::peer::{ScriptedClient, Wire};
use anabranch_tests::program::{Launch, Program};

/// The client's address, as its proxy gives it.
const CLIENT: &str = "192.0.2.77";
const CLIENT6: &str = "2001:db8:1:2::77";

fn start(folder: &Folder, addresses: &str, format: &str) -> Program {
    let file = folder.write("anabranch.toml", &settings(addresses, format));
    let launch = Launch::new(env!("CARGO_BIN_EXE_anabranch")).on_a_free_port();
    launch.arg("--config").arg(file).args(["--log", "trace"]).start()
}

fn settings(addresses: &str, format: &str) -> String {
    format!(
        "[server]\ntrusted_proxies = ['127.0.0.1']\n[log]\naddresses = '{addresses}'\nformat = '{format}'\n[api]\nlisten = 'off'\n\
         [defaults.timeouts]\nlinger = '1s'\n"
    )
}

/// A client behind the proxy.
fn client(program: &Program, address: &str, header: &str) -> ScriptedClient {
    let mut wire = Wire::dial(program.address());
    wire.write(&[header.as_bytes(), &hello()].concat());
    let answer = wire.read_exact(ANSWER_LENGTH);
    let mut client = ScriptedClient::resume(wire, &answer);
    // A text of the client that has its address.
    let agent = format!("Encoder at {address}, port 4000");
    client.connect(Object::new().with("app", "live").with("tcUrl", "rtmp://h/live").with("flashVer", agent));
    client.receive_until("NetConnection.Connect.Success");
    client.create_stream(2.0);
    client
}

/// Clients that come, are refused and get lost.
fn visit(program: &Program, round: usize) {
    let headers = [
        (CLIENT, format!("PROXY TCP4 {CLIENT} 127.0.0.1 4000 1935\r\n")),
        (CLIENT6, format!("PROXY TCP6 {CLIENT6} ::1 4000 1935\r\n")),
    ];
    for (number, (address, header)) in headers.iter().enumerate() {
        let name = format!("cam-{round}-{number}");
        let mut publisher = client(program, address, header);
        publisher.publish(1, &name);
        publisher.receive_until("NetStream.Publish.Start");
        let mut second = client(program, address, header);
        second.publish(1, &name);
        second.receive_until("NetStream.Publish.BadName");
        second.wire().shut_down_writing();
        second.assert_closed();
        let mut player = client(program, address, header);
        player.play(1, &name);
        player.receive_until("NetStream.Play.Start");
        player.into_wire().reset();
        publisher.into_wire().reset();
        // A proxy's header that cannot be read.
        Wire::dial(program.address()).write(format!("PROXY TCP4 {CLIENT} {CLIENT}\r\n").as_bytes());
    }
    program.wait_lines(" closed: ", (round + 1) * headers.len() * 4);
}

#[test]
fn the_log_shows_addresses_as_it_is_told_to() {
    for format in ["text", "json"] {
        let folder = Folder::new();
        let program = start(&folder, "full", format);
        visit(&program, 0);
        assert!(!program.lines(CLIENT).is_empty() && !program.lines(CLIENT6).is_empty());
        let mut seen = program.process.stderr().len();
        for (round, (addresses, shown)) in [("network", true), ("off", false), ("full", true)].iter().enumerate() {
            folder.write("anabranch.toml", &settings(addresses, format));
            assert!(program.reload(|| ()).contains("log.addresses"));
            // Connections from before the reload were closed before it.
            visit(&program, round + 1);
            let lines = program.process.stderr().split_off(seen);
            seen += lines.len();
            let with = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
            let full = *addresses == "full";
            assert_eq!((with(CLIENT) > 0, with(CLIENT6) > 0), (full, full), "{addresses}: {lines:#?}");
            let network = *shown && !full;
            assert_eq!((with("192.0.2.0/24") > 0, with("2001:db8:1::/48") > 0), (network, network), "{addresses}");
            assert!(with("is publisher of") == 2 && with("name_taken") >= 2 && with("(peer_lost)") == 4, "{lines:#?}");
            assert_eq!(with("127.0.0.1:"), if full { with("127.0.0.1:").max(1) } else { 0 }, "the proxy's: {lines:#?}");
        }
        program.stop();
    }
}
