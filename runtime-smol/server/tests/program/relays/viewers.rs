//! Viewers by HTTP at an edge: what they ask for is pulled as it is for players by RTMP.

use anabranch_tests::peer::WebPlayer;
use anabranch_tests::program::{Program, free_address};
use anabranch_tests::{TIMEOUT, wait_for};

use super::{Encoder, FORMS, list, wait_live};
use crate::segments::view_in_all_forms;
use crate::{launch, start_with_api};

fn edge(origin: &str, more: &str) -> Program {
    let settings =
        format!("[api]\nlisten = '127.0.0.1:0'\n{more}\n[defaults.edge]\norigins = ['{origin}']\nlinger = '200ms'\n");
    launch().with_web().settings(&settings).start()
}

#[test]
fn viewers_of_a_name_are_one_player_at_the_origin_which_leaves_after_them() {
    let source = start_with_api("");
    let _encoder = Encoder::start(&source, "cam");
    let program = edge(&format!("rtmp://{}", source.address()), "");
    let mut viewers: Vec<_> =
        (0..10).flat_map(|_| FORMS).map(|(view, _)| view(program.web(), "/live/cam.flv")).collect();
    for (viewer, (_, status)) in viewers.iter_mut().zip(FORMS.into_iter().cycle()) {
        assert_eq!(viewer.status(), status);
        let times: Vec<u32> = (0..10).map(|_| viewer.picture().timestamp).collect();
        assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 20), "{times:?}");
    }
    wait_live(&program, "edge", &source.address().to_string());
    assert_eq!(source.metric("anabranch_plays_total"), Some(1.0));
    assert_eq!(program.metric("anabranch_players"), Some(20.0));
    drop(viewers);
    wait_for("the end of the pull", TIMEOUT, || list(&program, "edge").is_empty().then_some(()));
    program.wait_line("is over: no client plays the stream any more");
    wait_for("no player at the origin", TIMEOUT, || (source.metric("anabranch_players") == Some(0.0)).then_some(()));
}

#[test]
fn fragmented_mp4_is_pulled_as_flv_is() {
    let source = start_with_api("");
    let _encoder = Encoder::start(&source, "cam");
    let program = edge(&format!("rtmp://{}", source.address()), "");
    for (view, status) in FORMS {
        let mut viewer = view(program.web(), "/live/cam.mp4");
        assert_eq!(viewer.status(), status);
        let mut received = Vec::new();
        while received.windows(4).filter(|bytes| bytes == b"moof").count() < 3 {
            received.extend(viewer.piece().expect("the stream goes on"));
        }
        assert_eq!(&received[4..8], b"ftyp");
        drop(viewer);
        wait_for("the end of the pull", TIMEOUT, || list(&program, "edge").is_empty().then_some(()));
    }
}

#[test]
fn a_stream_of_an_origin_is_viewed_in_every_form() {
    let source = start_with_api("");
    let _encoder = Encoder::start(&source, "cam");
    let program = edge(&format!("rtmp://{}", source.address()), "[web]\nwait = '2s'\n");
    view_in_all_forms(program.web(), "live/cam");
}

#[test]
fn a_name_that_no_origin_has_is_404_after_the_wait() {
    let source = start_with_api("");
    let away = format!("rtmp://{}", free_address());
    for origin in [format!("rtmp://{}", source.address()), away] {
        let program = edge(&origin, "[web]\nwait = '300ms'\n");
        for (view, _) in FORMS {
            let mut viewers = ["flv", "mp4"].map(|form| view(program.web(), &format!("/live/nothing.{form}")));
            assert_eq!(viewers.each_mut().map(WebPlayer::status), [404, 404]);
        }
        wait_for("the end of the pull", TIMEOUT, || list(&program, "edge").is_empty().then_some(()));
    }
    assert_eq!(source.metric("anabranch_players"), Some(0.0));
}

#[test]
fn an_answer_goes_on_when_the_origin_is_killed_and_comes_back() {
    let address = free_address();
    let source = launch().start_at(address);
    let encoder = Encoder::start(&source, "cam");
    let program = edge(&format!("rtmp://{address}"), "");
    let mut viewers = FORMS.map(|(view, _)| view(program.web(), "/live/cam.flv"));
    let before = viewers.each_mut().map(|viewer| viewer.picture().timestamp);
    source.kill();
    // Its publisher ends with an error, which is not what this is about.
    std::mem::forget(encoder);
    program.wait_line("failed");
    let source = launch().start_at(address);
    let _encoder = Encoder::start(&source, "cam");
    // The pictures after the break have times after those before it.
    let live = wait_live(&program, "edge", &address.to_string());
    assert_eq!(live["kind"], "pull", "{live}");
    for (viewer, before) in viewers.iter_mut().zip(before) {
        let times: Vec<u32> = (0..50).map(|_| viewer.picture().timestamp).collect();
        assert!(times[0] > before && times.is_sorted(), "{before}, {times:?}");
    }
    assert_eq!(program.metric("anabranch_plays_total"), Some(2.0), "the viewers are the same");
}
