//! Configurations and environments that are broken: `check` names each with its place and its cure, the server does not
//! start with it, and `doctor` says the same. What `check` passes starts.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anabranch_tests::Folder;
use anabranch_tests::program::{Ended, Launch};
use serde_json::Value as Json;

use super::program;

/// What is expected of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    /// It does not start.
    Fault,
    /// It starts, and `check` warns.
    Warning,
    /// It starts without a warning.
    Good,
}
use Expected::{Fault, Good, Warning};

/// A configuration in an environment.
#[derive(Debug)]
struct Case {
    expected: Expected,
    /// The file's text, in which `@` is the folder of the test.
    text: &'static str,
    variables: &'static [(&'static str, &'static str)],
    options: &'static [&'static str],
    /// What is said: the place, what is wrong, and what to do.
    words: &'static [&'static str],
}

const fn case(expected: Expected, text: &'static str, words: &'static [&'static str]) -> Case {
    Case { expected, text, variables: &[], options: &[], words }
}

const fn fault(text: &'static str, words: &'static [&'static str]) -> Case {
    case(Fault, text, words)
}

const fn variable(
    expected: Expected,
    variables: &'static [(&'static str, &'static str)],
    words: &'static [&'static str],
) -> Case {
    Case { expected, text: "", variables, options: &[], words }
}

/// The line before a case's text.
const FIRST: &str = "server.listen = ['127.0.0.1:0']\n";
const FIRST_WITH_API_OFF: &str = "server.listen = ['127.0.0.1:0']\napi.listen = 'off'\n";

const CASES: &[Case] = &[
    // Qualities.
    case(Good, "[defaults.hls]\nrenditions = ['_720p', '_480p']\n", &[]),
    fault("[defaults.hls]\nrenditions = ['']\n", &["defaults.hls.renditions", "is the stream itself", "[\"_720p\""]),
    fault("[defaults.hls]\nrenditions = ['/x']\n", &["defaults.hls.renditions", "cannot be the end of a name"]),
    fault("[defaults.hls]\nrenditions = ['a', 'a']\n", &["defaults.hls.renditions", "is there twice"]),
    case(
        Warning,
        "[defaults.hls]\nrenditions = ['_hd']\n\
         [[defaults.application]]\nstreams = ['live/*_hd']\nsecurity.rules = ['deny play all']\n",
        &["defaults.hls.renditions", "live/*_hd has rules that do not hold", "give the stream"],
    ),
    // The rules of an application whose pattern has more than the qualities.
    case(
        Warning,
        "[defaults.hls]\nrenditions = ['_hd']\n\
         [[defaults.application]]\nstreams = ['live/cam']\n\
         [[defaults.application]]\nstreams = ['live/*']\nsecurity.rules = ['deny play all']\n",
        &["hls.renditions", "live/* has rules that do not hold", "give the stream"],
    ),
    case(
        Warning,
        "[defaults.hls]\nrenditions = ['_hd']\n\
         [[defaults.application]]\nstreams = ['live/cam_*']\nhls.mode = 'off'\n",
        &["defaults.hls.renditions", "live/cam_* has rules that do not hold", "give the stream"],
    ),
    case(
        Good,
        "[defaults.hls]\nrenditions = ['_hd']\n\
         [[defaults.application]]\nstreams = ['live/*']\nsecurity.rules = ['deny play all']\n",
        &[],
    ),
    // Fallbacks.
    case(
        Warning,
        "[defaults]\nplay.fallback = 'file:///nowhere/loop.flv'\n",
        &["defaults.play.fallback", "/nowhere/loop.flv: No such file", "name a FLV file that begins with a key frame"],
    ),
    case(
        Warning,
        "[defaults]\nplay.fallback = 'file:///etc/passwd'\n",
        &["defaults.play.fallback", "/etc/passwd: ", "name a FLV file"],
    ),
    fault("[defaults]\nplay.fallback = 'file://loop.flv'\n", &["defaults.play.fallback", "needs an absolute path"]),
    fault("[defaults]\nplay.fallback = 'holding'\n", &["defaults.play.fallback", "nor the name of a stream"]),
    fault(
        "[[defaults.application]]\nstreams = ['live/a']\nplay.fallback = 'live/b'\n\
         [[defaults.application]]\nstreams = ['live/b']\nplay.fallback = 'live/a'\n",
        &[
            "defaults.application[0].play.fallback",
            "live/b has a fallback itself",
            "fallbacks do not follow each other",
        ],
    ),
    case(Good, "[defaults]\nplay.fallback = 'live/holding'\n", &[]),
    // Certificates.
    fault(
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/none.pem', key = '@/good.key' }]",
        &["a.toml:5:19: tls.certificates[0].certificate: ", "none.pem: No such file", "correct the path"],
    ),
    fault(
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/good.pem', key = '@/none.key' }]",
        &["a.toml:5:", "tls.certificates[0].key: ", "none.key: No such file", "correct the path"],
    ),
    fault(
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/garbage', key = '@/good.key' }]",
        &["tls.certificates[0].certificate: ", "garbage: it contains no certificate", "BEGIN CERTIFICATE"],
    ),
    fault(
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/good.pem', key = '@/garbage' }]",
        &["tls.certificates[0].key: ", "the file must have a private key in PEM"],
    ),
    fault(
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/good.pem', key = '@/other.key' }]",
        &["tls.certificates[0].key: ", "good.pem with ", "name the key that belongs to the certificate"],
    ),
    fault(
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@', key = '@/good.key' }]",
        &["tls.certificates[0].certificate: ", "name a file"],
    ),
    fault(
        "[tls]\nlisten = ['127.0.0.1:0']",
        &["a.toml:4:1: tls.listen: RTMPS needs at least one certificate", "[[tls.certificates]]"],
    ),
    fault("[tls]\non_rtmp_ports = true", &["a.toml:4:1: tls.on_rtmp_ports: RTMPS needs", "or switch RTMPS off"]),
    case(
        Warning,
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/old.pem', key = '@/old.key' }]",
        &["old.pem is not valid any more since 2021-01-01", "renew it"],
    ),
    case(
        Warning,
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/future.pem', key = '@/future.key' }]",
        &["future.pem is not valid before 2090-01-01", "check the clock"],
    ),
    case(
        Warning,
        "[tls]\ncertificates = [{ certificate = '@/good.pem', key = '@/good.key' }]",
        &["there are certificates, but no address uses them", "set tls.listen"],
    ),
    case(
        Warning,
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/good.pem', key = '@/open.key' }]",
        &["open.key is a private key and all users of this machine can read it", "chmod o-r"],
    ),
    // Folders.
    fault(
        "[defaults.record]\nstreams = ['*']\nfolder = '@/garbage'",
        &["a.toml:5:1: defaults.record.folder: ", "garbage is not a folder", "name a folder"],
    ),
    fault(
        "[defaults.record]\nstreams = ['*']\nfolder = '@/garbage/below'",
        &["a.toml:5:1: defaults.record.folder: ", "garbage is not a folder"],
    ),
    fault(
        "[defaults.record]\nstreams = ['*']\nfolder = '/proc/recordings'",
        &["a.toml:5:1: defaults.record.folder: ", "/proc/recordings cannot be made", "name a folder"],
    ),
    fault(
        "[[vhost]]\nname = 'v'\nrecord = { streams = ['*'], folder = '@/link/x' }",
        &[
            "a.toml:5:29: vhost[0].record.folder: ",
            "link is a symbolic link to something that does not exist",
            "not mounted",
        ],
    ),
    fault(
        "[[vhost]]\nname = 'v'\nrecord.streams = ['*']\n[defaults.record]\nfolder = '@/garbage'",
        &["a.toml:7:1: vhost[0].record.folder: ", "garbage is not a folder"],
    ),
    fault(
        "[[defaults.application]]\nstreams = ['a/*']\nrecord = { streams = ['*'], folder = '@/garbage' }",
        &["a.toml:5:29: defaults.application[0].record.folder: ", "garbage is not a folder"],
    ),
    fault(
        "[[vhost]]\nname = 'v'\nrecord.folder = '@/garbage'\n[[vhost.application]]\nstreams = ['a/*']\n\
         record.streams = ['*']",
        &["a.toml:5:8: vhost[0].application[0].record.folder: ", "garbage is not a folder"],
    ),
    fault("[capture]\nfolder = '@/garbage'", &["a.toml:4:1: capture.folder: ", "garbage is not a folder"]),
    fault("[capture]\nfolder = '/proc/captures'", &["a.toml:4:1: capture.folder: ", "cannot be made"]),
    case(
        Warning,
        "[capture]\nfolder = '@/captures'\nfiles = 1",
        &["a.toml:4:1: capture.folder: no connection is captured: ", "has 1 captures already", "raise capture.files"],
    ),
    case(
        Warning,
        "[defaults.record]\nstreams = ['*']\nfolder = '@/new'\nmin_free = '1000000GiB'",
        &["a.toml:5:1: defaults.record.folder: nothing is recorded: ", "lower record.min_free"],
    ),
    // Addresses and credentials.
    fault("[api]\nlisten = '0.0.0.0:0'", &["a.toml:3:1: api.listen: ", "other machines may reach", "set api.token"]),
    fault("[api]\nlisten = '0'", &["api.listen: ", "set api.token"]),
    fault("[api]\nlisten = '127.0.0.1:0'\nuser = 'u'", &["a.toml:4:1: api.user: ", "without api.password", "set both"]),
    fault("[api]\nlisten = '127.0.0.1:0'\npassword = 'p'", &["a.toml:4:1: api.password: ", "without api.user"]),
    fault(
        "[api]\nlisten = '127.0.0.1:0'\nuser = 'a:b'\npassword = 'p'",
        &["a.toml:4:1: api.user: ", "a colon", "choose"],
    ),
    fault(
        "[api]\nlisten = '192.0.2.1:1985'\ntoken = 'x'",
        &["a.toml:3:1: api.listen: the API cannot listen on 192.0.2.1:1985: ", "no such address"],
    ),
    Case {
        options: &["--listen", "192.0.2.1:1935"],
        ..fault(
            "",
            &["option --listen: server.listen[0]: the server cannot listen on 192.0.2.1:1935: ", "no such address"],
        )
    },
    Case {
        options: &["--listen", "127.0.0.1:61935,61935"],
        ..fault("", &["server.listen[1]: ", "server.listen[0] listens there already", "remove one of the two"])
    },
    Case {
        options: &["--listen", "127.0.0.1:61935"],
        ..fault(
            "[tls]\nlisten = ['61935']\ncertificates = [{ certificate = '@/good.pem', key = '@/good.key' }]",
            &["a.toml:4:", "tls.listen[0]: ", "server.listen[0] listens there already"],
        )
    },
    Case {
        options: &["--listen", "127.0.0.1:61935"],
        ..fault(
            "[api]\nlisten = '127.0.0.1:61935'",
            &["a.toml:3:1: api.listen: the API cannot listen on", "server.listen[0]"],
        )
    },
    // Hooks.
    fault(
        "[defaults.hooks]\non_play = ['https://127.0.0.1:1/']\nca_file = '@/none.pem'",
        &["a.toml:5:1: defaults.hooks.ca_file: ", "none.pem: No such file", "a readable file of CA certificates"],
    ),
    fault(
        "[defaults.hooks]\non_play = ['https://127.0.0.1:1/']\nca_file = '@/garbage'",
        &["defaults.hooks.ca_file: ", "contains no certificate"],
    ),
    fault(
        "[[vhost]]\nname = 'v'\n[vhost.hooks]\non_play = ['https://127.0.0.1:1/']\nca_file = '@/damaged.pem'",
        &["a.toml:7:1: vhost[0].hooks.ca_file: ", "a certificate in it cannot be used"],
    ),
    // The log.
    fault(
        "[log]\nlevel = 'verbose'",
        &["a.toml:4:1: log.level: ", "the levels are error, warn, info", "did you mean debug?"],
    ),
    fault("[log]\nlevel = 'info,anabranch_smoll=debug'", &["a.toml:4:1: log.level: ", "no crate of this program"]),
    Case { options: &["--log", "verbose"], ..fault("", &["option --log: log.level: ", "did you mean debug?"]) },
    variable(
        Fault,
        &[("ANABRANCH_LOG", "loud")],
        &["environment variable ANABRANCH_LOG: log.level: ", "the levels are"],
    ),
    variable(Fault, &[("ANABRANCH__LOG__LEVEL", "7")], &["environment variable ANABRANCH__LOG__LEVEL: log.level: "]),
    // The environment.
    variable(
        Fault,
        &[("ANABRANCH_LISTN", "1936")],
        &["environment variable ANABRANCH_LISTN", "did you mean ANABRANCH_LISTEN?"],
    ),
    variable(
        Fault,
        &[("ANABRANCH_API_LISTEN", "off")],
        &["environment variable ANABRANCH_API_LISTEN", "did you mean ANABRANCH__API__LISTEN?"],
    ),
    variable(
        Fault,
        &[("ANABRANCH__SERVER__LISEN", "1")],
        &["ANABRANCH__SERVER__LISEN: server.lisen: ", "did you mean listen?"],
    ),
    variable(
        Warning,
        &[("ANABRANCH_IMAGE", "registry/anabranch:1")],
        &["environment variable ANABRANCH_IMAGE", "it has no effect"],
    ),
    variable(
        Good,
        &[("ANABRANCH_SERVICE_HOST", "10.0.0.1"), ("ANABRANCH_PORT", "tcp://10.0.0.1:1935"), ("ANABRANCH_LISTN", "")],
        &[],
    ),
    // The file itself.
    fault("[server", &["a.toml:3:"]),
    fault(
        "[defaults.play]\nmax_gop = '1s'",
        &["a.toml:4:1: defaults.play.max_gop: unknown key; did you mean max_gap?"],
    ),
    fault("[defaults.play]\nmax_gap = 7", &["a.toml:4:1: defaults.play.max_gap: ", "a time, such as"]),
    fault("[defaults.token]\nrequired_for = 'play'", &["defaults.token.secrets: ", "there is no secret"]),
    fault("[[vhost]]\nname = 'a'\n[[vhost]]\nname = 'A'", &["vhost: the name \"A\""]),
    // All at once.
    fault(
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/none.pem', key = '@/good.key' }]\n\
         [defaults.record]\nstreams = ['*']\nfolder = '@/garbage'\n[capture]\nfolder = '/proc/captures'\n\
         [defaults.play]\nmax_gap = 7\n[log]\nlevel = 'verbose'",
        &["none.pem", "garbage is not a folder", "/proc/captures", "defaults.play.max_gap: ", "log.level: "],
    ),
    // What is right.
    case(Good, "", &[]),
    case(Good, "[defaults.record]\nstreams = ['*']\nfolder = '@/new/folder'\nmin_free = '1MiB'", &[]),
    case(Good, "[capture]\nfolder = '@/other/captures'", &[]),
    case(Good, "[defaults.record]\nfolder = '@/garbage'", &[]),
    case(Good, "[api]\nlisten = '127.0.0.1:0'\ntoken = 'x'", &[]),
    case(
        Good,
        "[tls]\nlisten = ['127.0.0.1:0']\ncertificates = [{ certificate = '@/good.pem', key = '@/good.key' }]",
        &[],
    ),
    case(Good, "[defaults.hooks]\non_play = ['https://127.0.0.1:1/']\nca_file = '@/good.pem'", &[]),
    case(Good, "[log]\nlevel = 'warn,anabranch_host::before_connect=debug,ureq=debug'", &[]),
];

/// The files that the cases name.
fn files() -> Folder {
    let folder = Folder::new();
    let write = |name: &str, from: (i32, u8), until: (i32, u8)| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(from.0, from.1, 1);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, 1);
        let key = rcgen::KeyPair::generate().expect("there is randomness");
        folder.write(&format!("{name}.pem"), &params.self_signed(&key).expect("it signs").pem());
        private(&folder, &format!("{name}.key"), &key.serialize_pem());
        key.serialize_pem()
    };
    let key = write("good", (2020, 1), (2090, 1));
    write("old", (2020, 1), (2021, 1));
    write("future", (2090, 1), (2095, 1));
    let other = rcgen::KeyPair::generate().expect("there is randomness");
    private(&folder, "other.key", &other.serialize_pem());
    folder.write("open.key", &key);
    folder.write("garbage", "nothing in PEM");
    folder.write("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    symlink(folder.file("nothing"), folder.file("link")).expect("a link");
    fs::create_dir(folder.file("captures")).expect("a folder");
    folder.write("captures/conn-1-1.anacap", "");
    folder
}

fn private(folder: &Folder, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.write(name, text);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    file
}

impl Case {
    /// The program with this configuration in this environment.
    fn launch(&self, folder: &Folder, command: &[&str]) -> Launch {
        let has_api = self.text.contains("[api]");
        let first = if has_api { FIRST } else { FIRST_WITH_API_OFF };
        let text = format!("{first}{}", self.text.replace('@', &folder.path().display().to_string()));
        let file = private(folder, "a.toml", &text);
        let launch = program().args(command).arg("--config").arg(file).args(self.options);
        self.variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value))
    }

    fn assert_says(&self, who: &str, text: &str) {
        for words in self.words {
            assert!(text.contains(words), "{who} does not say {words:?} about {self:?} but\n{text}");
        }
    }
}

#[test]
fn a_configuration_that_check_passes_starts_and_another_does_not() {
    let folder = files();
    for case in CASES {
        let check = case.launch(&folder, &["check"]).run();
        assert_eq!(check.status.success(), case.expected != Fault, "{case:?}: {}{}", check.stdout, check.stderr);
        match case.expected {
            Fault => {
                case.assert_says("check", &check.stderr);
                assert_eq!(check.stdout, "", "{case:?}");
                let start = case.launch(&folder, &[]).run();
                assert!(!start.status.success(), "{case:?} starts");
                case.assert_says("the start", &start.stderr);
            }
            Warning | Good => {
                case.assert_says("check", &check.stdout);
                let is_warned = check.stdout.contains("# Warning: ");
                assert_eq!(is_warned, case.expected == Warning, "{case:?}: {}", check.stdout);
                let server = case.launch(&folder, &[]).start();
                // The log is written by a thread.
                case.words.iter().for_each(|words| drop(server.wait_line(words)));
            }
        }
        // Nothing was made that was not there.
        assert!(!folder.file("new").exists() || case.expected != Fault, "{case:?}");
        let _ = fs::remove_dir_all(folder.file("new"));
        let _ = fs::remove_dir_all(folder.file("other"));
    }
    assert!(CASES.iter().filter(|case| case.expected == Fault).count() >= 25);
}

#[test]
fn doctor_names_what_check_names() {
    let folder = files();
    for case in CASES.iter().filter(|case| case.expected == Fault) {
        let Ended { status, stdout, stderr } = case.launch(&folder, &["doctor", "--json"]).run();
        assert_eq!(status.code(), Some(1), "{case:?}: {stdout}{stderr}");
        let report: Json = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        let faults =
            report["findings"].as_array().expect("a list").iter().filter(|finding| finding["state"] == "fault");
        let line = |finding: &Json| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            assert_ne!(text("cure"), "", "{finding}");
            format!("{}: {}: {}\n", text("words"), text("cure"), text("key"))
        };
        let said: String = faults.map(line).collect();
        for words in case.words {
            // The key and its place are fields there.
            let said_in_words = words.split(": ").filter(|part| !part.is_empty()).all(|part| said.contains(part));
            assert!(said_in_words, "doctor does not say {words:?} about {case:?} but\n{said}");
        }
    }
}

/// A server that runs must not make the check of its own configuration fail.
#[test]
fn a_port_in_use_is_a_warning_of_check_and_keeps_another_server_from_starting() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = Folder::new();
    for (text, words) in [
        (
            format!("server.listen = ['{address}']\napi.listen = 'off'"),
            format!("server.listen[0]: the server cannot listen on {address}"),
        ),
        (
            format!("server.listen = ['127.0.0.1:0']\napi.listen = '{address}'"),
            format!("api.listen: the API cannot listen on {address}"),
        ),
    ] {
        let file = folder.write("a.toml", &text);
        let check = program().arg("check").arg(&file).run();
        assert!(check.status.success(), "{}", check.stderr);
        assert!(
            check.stdout.contains(&format!("# Warning: {}:", file.display())) && check.stdout.contains(&words),
            "{}",
            check.stdout
        );
        let start = program().arg("--config").arg(&file).run();
        assert!(!start.status.success() && start.stderr.contains(&words), "{}", start.stderr);
        assert!(start.stderr.contains("end the program that listens there"), "{}", start.stderr);
    }
}

/// What only a user without rights is forbidden.
#[test]
fn what_the_user_may_not_do_is_named() {
    let folder = Folder::new();
    let closed = folder.file("closed");
    fs::create_dir(&closed).expect("a folder");
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o500)).expect("it is ours");
    let key = folder.write("secret.pem", "");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("it is ours");
    let record = format!("defaults.record = {{ streams = ['*'], folder = {closed:?} }}");
    let tls =
        format!("tls = {{ listen = ['127.0.0.1:0'], certificates = [{{ certificate = {key:?}, key = {key:?} }}] }}");
    let first_port = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    let mut cases = vec![
        (record, "127.0.0.1:0", "closed cannot be written", "chown"),
        (tls, "127.0.0.1:0", "secret.pem: Permission denied", "LoadCredential"),
    ];
    if first_port.is_some_and(|port| port.trim().parse::<u16>().is_ok_and(|port| port > 81)) {
        cases.push((String::new(), "127.0.0.1:81", "cannot listen on 127.0.0.1:81", "CAP_NET_BIND_SERVICE"));
    }
    for (text, listen, words, cure) in cases {
        let file = folder.write("a.toml", &format!("api.listen = 'off'\n{text}\n"));
        for command in [&["check"][..], &[], &["doctor"]] {
            let launch = program().args(command).arg("--config").arg(&file).args(["--listen", listen]);
            let ended = launch.without_rights().run();
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(!ended.status.success() && said.contains(words) && said.contains(cure), "{command:?}: {said}");
        }
    }
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("it is ours");
}

/// Clients do not notice, and nothing is left behind.
#[test]
fn check_and_doctor_change_nothing() {
    let folder = Folder::new();
    let text = format!(
        "server.listen = ['127.0.0.1:0']\napi.listen = 'off'\n[capture]\nfolder = {:?}\n[defaults.record]\nstreams = ['*']\nfolder = {:?}\n",
        folder.file("captures"),
        folder.file("a/b/recordings")
    );
    let file = folder.write("a.toml", &text);
    for command in ["check", "doctor"] {
        assert!(program().arg(command).arg(&file).run().status.success());
        let left: Vec<_> =
            fs::read_dir(folder.path()).expect("it is there").map(|entry| entry.expect("a name").file_name()).collect();
        assert_eq!(left, ["a.toml"], "{command}");
    }
}
