//! The fuzz targets, without a fuzzer, over their committed corpora.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anabranch_fuzz::{TARGETS, replay};

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("each test is called like a target");
    let count = replay::replay(target.run, [Path::new(FUZZ).join("corpus").join(name)]);
    println!("{} inputs", count.unwrap_or_else(|failures| panic!("{failures}")));
}

macro_rules! corpora {
    ($($name:ident)*) => {
        const CHECKED: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}

corpora! {
    amf0
    amf3
    chunk_reader
    client_session
    command
    directory
    flv_aggregate
    flv_audio
    flv_config
    flv_tags
    flv_video
    fmp4
    handshake_client
    handshake_server
    http
    message
    mpegts
    playlist
    policy
    preface
    relay
    rtc_datagrams
    rtc_offer
    rtc_packets
    segmenter
    server
    server_connection
    server_session
    source
    url
}

/// Each target has its program for libFuzzer, and the test above.
#[test]
fn each_target_is_fuzzed_and_checked() {
    let files = fs::read_dir(Path::new(FUZZ).join("fuzz_targets")).expect("the folder is there");
    let mut programs = BTreeSet::new();
    for file in files {
        let path = file.expect("it can be read").path();
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("it can be read");
        let target = TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"));
        let line = format!("libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::{}(bytes));", target.path);
        assert!(text.lines().any(|of_text| of_text == line), "{name} must have the line {line}");
        programs.insert(name);
    }
    let of_targets = || TARGETS.iter().map(|target| target.name.to_owned());
    assert_eq!(programs, of_targets().collect());
    assert!(
        of_targets().eq(CHECKED.iter().map(|name| (*name).to_owned())),
        "all targets are checked, in the same order"
    );
}
