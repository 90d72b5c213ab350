//! What the program says about its configuration, and that it goes by it.

use anabranch_tests::{Folder, TIMEOUT};
use serde_json::Value as Json;

use super::numbered::Peer;
use super::{program, run};

const SECRET: &str = "a long random secret of your own";

#[test]
fn check_shows_what_holds_where_it_comes_from_and_what_it_takes() {
    let folder = Folder::new();
    let text = format!(
        "[defaults.play]\nmax_gap = \"7s\"\n[defaults.token]\nsecrets = [\"{SECRET}\"]\n[[vhost]]\nname = \"small\"\n\
         cache.bytes = \"1MiB\"\n[[vhost]]\nname = \"large\"\n[[vhost]]\nname = \"other\"\n"
    );
    let file = folder.write("a.toml", &text);
    let check = program().arg("check").arg(&file).args(["--merge-window", "5"]).env("ANABRANCH_CHUNK_SIZE", "4096");
    let (success, shown, error) = run(check.env("ANABRANCH__VHOST__0__LIMITS__PLAYERS", "9"));
    assert!(success && error.is_empty(), "{error}");
    let origin = |line: &str| {
        let found = shown.lines().find(|shown| shown.starts_with(line)).unwrap_or_else(|| panic!("{line} in {shown}"));
        found.split_once("# ").map_or("", |(_, origin)| origin).to_owned()
    };
    assert_eq!(origin("max_gap = \"7s\""), format!("{}:2:1", file.display()));
    assert_eq!(origin("merge_window = \"5ms\""), "option --merge-window");
    assert_eq!(origin("chunk_size = 4096"), "environment variable ANABRANCH_CHUNK_SIZE");
    assert_eq!(origin("players = 9"), "environment variable ANABRANCH__VHOST__0__LIMITS__PLAYERS");
    assert_eq!(origin("unpublish_grace = \"10s\""), "default");
    assert!(!shown.contains(SECRET));
    for words in [
        "# Virtual hosts with this budget: small\n",
        "# Virtual hosts with this budget: large, other\n",
        "players, at most 9",
    ] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    assert!(shown.parse::<toml::Table>().is_ok(), "all of it is TOML");
    // Without a file, and with one by its option and variable.
    assert!(run(program().arg("check")).1.contains("listen = [\"1935\"]"));
    assert!(run(program().arg("check").arg("--config").arg(&file)).1.contains("max_gap = \"7s\""));
    assert!(run(program().arg("check").env("ANABRANCH_CONFIG", &file)).1.contains("max_gap = \"7s\""));
    assert!(run(program().arg("check").env("ANABRANCH_CONFIG", "")).0);
}

#[test]
fn check_counts_connections_in_tls_where_there_are_any() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = folder.write("cert.pem", &made.cert.pem());
    let key = folder.write("key.pem", &made.signing_key.serialize_pem());
    let words = format!("in TLS, before or after connect: at most {} KiB", anabranch_smol::TLS_CONNECTION_MEMORY >> 10);
    for (settings, counted) in [("", false), ("listen = ['127.0.0.1:0']\n", true), ("on_rtmp_ports = true\n", true)] {
        let text = format!("[tls]\n{settings}[[tls.certificates]]\ncertificate = {certificate:?}\nkey = {key:?}\n");
        let (success, shown, error) = run(program().arg("check").arg(folder.write("a.toml", &text)));
        assert!(success, "{error}");
        assert_eq!(shown.contains(&words), counted, "{settings:?}: {shown}");
    }
}

#[test]
fn check_says_where_captures_through_the_api_do_not_work() {
    let folder = Folder::new();
    // A file where the folder has to be: the default, and another.
    folder.write("captures", "");
    let inside = folder.file("captures").join("deep");
    let other = folder.write("other.toml", &format!("[capture]\napi_folder = {inside:?}\n"));
    let none = folder.write("none.toml", "[capture]\napi_folder = ''\n");
    let no_api = folder.write("no_api.toml", "[api]\nlisten = 'off'\n");
    let empty = folder.write("empty.toml", "");
    for (file, is_told) in [(&other, true), (&empty, true), (&none, false), (&no_api, false)] {
        let there = program().behind(&format!("cd '{}'", folder.path().display()));
        let (success, shown, error) = run(there.arg("check").arg(file));
        assert!(success, "{error}");
        assert_eq!(shown.contains("captures through the API do not work: "), is_told, "{file:?}: {shown}");
    }
}

#[test]
fn mistakes_are_told_by_check_and_no_server_starts_with_them() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "[server]\nlisen = [\"127.0.0.1:0\"]\n[defaults.play]\nmax_gap = 7\n");
    for command in [program().arg("check").arg(&file), program().arg("--config").arg(&file)] {
        let (success, shown, error) = run(command);
        assert!(!success && shown.is_empty());
        assert!(error.contains("a.toml:2:1: server.lisen: unknown key; did you mean listen?\n"), "{error}");
        assert!(error.contains("a.toml:4:1: defaults.play.max_gap: "), "{error}");
    }
    let (success, _, error) = run(program().arg("check").env("ANABRANCH__DEFAULTS__LIMITS__PLAYERS", "many"));
    assert!(!success && error.contains("ANABRANCH__DEFAULTS__LIMITS__PLAYERS: defaults.limits.players: "), "{error}");
}

#[test]
fn the_schema_and_the_example_can_be_printed() {
    let (success, schema, _) = run(program().arg("schema"));
    let schema: Json = serde_json::from_str(&schema).unwrap();
    assert!(success && schema["properties"]["vhost"]["type"] == "array");
    let (success, example, _) = run(program().args(["schema", "--example"]));
    let folder = Folder::new();
    let file = folder.write("a.toml", &example);
    let (valid, with_example, error) = run(program().arg("check").arg(&file));
    assert!(success && valid, "{error}");
    let values = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(values(&with_example), values(&run(program().arg("check")).1));
}

/// Options win over the file, and their defaults do not.
#[test]
fn a_server_goes_by_its_file_and_by_the_options_that_are_given() {
    let folder = Folder::new();
    let captures = folder.file("captures");
    let file = folder.write(
        "a.toml",
        &format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[capture]\nfolder = {:?}\n[log]\nlevel = \"debug\"\nformat = \"json\"\n\
             [defaults.limits]\nplayers = 0\n[defaults.session]\nchunk_size = 128\n[defaults.token]\nsecrets = [\"{SECRET}\"]\n",
            captures.display().to_string()
        ),
    );
    let server = program().arg("-c").arg(&file).args(["--chunk-size", "4096"]).start();
    let mut publisher = Peer::connect(&server, "h").publishes();
    publisher.send();
    let player = Peer::connect(&server, "h").plays();
    assert!(player.is_rejected, "there may be none");
    drop((publisher, player));
    let lines = server.wait_lines(" closed: ", 2);
    let json: Json = serde_json::from_str(&lines[0].text).unwrap_or_else(|error| panic!("{error}: {:?}", lines[0]));
    assert!(json["level"] == "INFO" && json["conn"].is_u64() && json["timestamp"].is_string(), "{json}");
    server.wait_lines("is no longer publisher", 1);
    server.process.terminate();
    let last = server.wait_line("stopped").text;
    assert!(last.contains("\"message\":\"stopped\""), "{last:?}");
    server.process.wait_success(TIMEOUT);
    // The captures know by what settings they came about, and no secret.
    let files: Vec<_> = std::fs::read_dir(&captures).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    for capture in files {
        let text = String::from_utf8_lossy(&std::fs::read(&capture).unwrap()).into_owned();
        assert!(text.contains("chunk_size = 4096") && !text.contains(SECRET), "{text}");
        let (same, shown, error) = run(program().arg("replay").arg(&capture));
        assert!(same && shown.ends_with("same actions and bytes as captured\n"), "{shown}{error}");
    }
}

#[test]
fn lines_for_people_name_the_connection_once() {
    let server = program().on_a_free_port().start();
    drop(Peer::connect(&server, "h").publishes());
    let line = server.wait_line(" closed: ").text;
    assert!(line.contains("INFO conn 1 closed: ") && !line.contains("conn="), "{line}");
}
