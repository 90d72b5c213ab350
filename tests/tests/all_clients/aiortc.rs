//! aiortc, a client of WebRTC in Python, plays and publishes: each picture is told by its number.

use std::env;
use std::net::SocketAddr;

use anabranch_tests::media::{Mark, test_picture};
use anabranch_tests::program::{Launch, Process, Program, Runtime};
use anabranch_tests::{Folder, Lossy, TIMEOUT, free_udp_port};

use super::whip::numbers_in;

/// How long a client plays or publishes.
const SECONDS: u32 = 20;

fn client(what: &str, url: &str) -> Process {
    let python = env::var("ANABRANCH_AIORTC").expect("tests/run --all-clients installs aiortc and says where");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/all_clients/aiortc_client.py");
    Process::start(python, [script, what, url, &SECONDS.to_string()])
}

/// The program, and the way to it, on which so many of 1,000 datagrams are lost.
fn start(lost: u64) -> (Program, Lossy) {
    let server = SocketAddr::from(([127, 0, 0, 1], free_udp_port()));
    let way = Lossy::to(server, lost, 1);
    let settings = format!("[rtc]\ncandidates = ['{}']\n", way.address());
    let program = Launch::of(Runtime::Smol).with_rtc_at(&server.to_string());
    (program.settings(&settings).start(), way)
}

/// The part of the pictures between the first and the last one that came, in percent.
fn part_of(numbers: &[u64]) -> f64 {
    let (Some(first), Some(last)) = (numbers.iter().min(), numbers.iter().max()) else { return 0.0 };
    let mut different = numbers.to_vec();
    different.sort_unstable();
    different.dedup();
    100.0 * different.len() as f64 / (last - first + 1) as f64
}

/// `sounds` is how many moments of sound must come in a second, of 50: aiortc waits for those that are lost, which it does not ask
/// for again, until 16 others have come.
fn plays(lost: u64, least: f64, sounds: u32) {
    let (program, _way) = start(lost);
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let player = client("play", &format!("http://{}/live/cam/whep", program.web()));
    player.wait_success(TIMEOUT * 2);
    let numbers: Vec<u64> = player.stdout().iter().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.len() > 30 * (SECONDS as usize - 5), "{} pictures", numbers.len());
    assert!(part_of(&numbers) >= least, "{} %: {numbers:?}", part_of(&numbers));
    let least_sounds = sounds * (SECONDS - 5);
    let sounds = player.stdout().iter().find_map(|line| line.strip_prefix("sounds ")?.parse::<u32>().ok());
    assert!(sounds.is_some_and(|count| count > least_sounds), "{sounds:?} moments of sound");
}

fn publishes(lost: u64, least: f64) {
    let folder = Folder::new();
    let (program, _way) = start(lost);
    let publisher = client("publish", &format!("http://{}/live/cam/whip", program.web()));
    program.wait_publishers("live/cam", 1);
    let file = folder.file("played.flv");
    let player = program.rtmpdump("live/cam", &file);
    publisher.wait_success(TIMEOUT * 2);
    player.wait_exit(TIMEOUT);
    let numbers = numbers_in(&file);
    assert!(numbers.len() > 30 * (SECONDS as usize - 8), "{} pictures", numbers.len());
    assert!(part_of(&numbers) >= least, "{} %: {numbers:?}", part_of(&numbers));
}

#[test]
fn aiortc_plays_every_picture() {
    plays(0, 100.0, 50);
}

#[test]
fn aiortc_plays_99_percent_of_the_pictures_if_1_percent_of_the_datagrams_is_lost() {
    plays(10, 99.0, 40);
}

#[test]
fn aiortc_plays_95_percent_of_the_pictures_if_5_percent_of_the_datagrams_are_lost() {
    plays(50, 95.0, 25);
}

#[test]
fn aiortc_publishes_every_picture() {
    publishes(0, 100.0);
}

#[test]
fn aiortc_publishes_99_percent_of_the_pictures_if_1_percent_of_the_datagrams_is_lost() {
    publishes(10, 99.0);
}

#[test]
fn aiortc_publishes_95_percent_of_the_pictures_if_5_percent_of_the_datagrams_are_lost() {
    publishes(50, 95.0);
}
