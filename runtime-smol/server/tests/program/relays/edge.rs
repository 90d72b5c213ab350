use anabranch_tests::peer::Driver;
use anabranch_tests::program::{Nginx, Program, free_address};
use anabranch_tests::{TIMEOUT, wait_for};

use super::{Encoder, list, wait_frames, wait_live};
use crate::{launch, start_with_api};

fn edge(origins: &[String], more: &str) -> Program {
    start_with_api(&format!("[defaults.edge]\norigins = {origins:?}\nlinger = '200ms'\n{more}"))
}

fn origin(program: &Program) -> String {
    format!("rtmp://{}", program.address())
}

#[test]
fn many_players_of_a_name_are_one_player_at_the_origin() {
    let source = start_with_api("");
    let _encoder = Encoder::start(&source, "cam");
    let program = edge(&[origin(&source)], "");
    let mut players: Vec<_> = (0..20).map(|_| program.player("cam")).collect();
    for player in &mut players {
        wait_frames(player, 10);
    }
    let live = wait_live(&program, "edge", &source.address().to_string());
    assert_eq!(live["kind"], "pull", "{live}");
    assert_eq!(source.metric("anabranch_plays_total"), Some(1.0));
    assert_eq!(program.metric("anabranch_players"), Some(20.0));
    assert_eq!(program.metric("anabranch_publishers"), Some(0.0), "a pull is no client");
    drop(players);
    wait_for("the end of the pull", TIMEOUT, || list(&program, "edge").is_empty().then_some(()));
    program.wait_line("is over: no client plays the stream any more");
}

#[test]
fn a_stream_is_pulled_from_nginx() {
    let nginx = Nginx::start();
    let mut publisher = Driver::to(&nginx.url("cam"));
    publisher.publish("cam").expect("it may publish");
    let _encoder = Encoder::of(publisher);
    let program = edge(&[format!("rtmp://{}", nginx.address())], "");
    let mut player = program.player("cam");
    wait_frames(&mut player, 30);
}

#[test]
fn players_stay_when_the_origin_is_killed_and_comes_back() {
    let address = free_address();
    let source = launch().start_at(address);
    let encoder = Encoder::start(&source, "cam");
    let program = edge(&[format!("rtmp://{address}")], "backoff = '50ms'\nmax_backoff = '200ms'\n");
    let mut player = program.player("cam");
    wait_frames(&mut player, 10);
    source.kill();
    // Its publisher ends with an error, which is not what this is about.
    std::mem::forget(encoder);
    program.wait_line("failed");
    let source = launch().start_at(address);
    let _encoder = Encoder::start(&source, "cam");
    wait_frames(&mut player, 30);
    assert_eq!(program.metric("anabranch_plays_total"), Some(1.0), "the player is the same");
}

#[test]
fn players_have_the_stream_of_an_origin_that_drains_until_another_one_has_it() {
    let [first, second] = [(); 2].map(|()| start_with_api(""));
    let encoder = Encoder::start(&first, "cam");
    let origins = [origin(&first), origin(&second)];
    let program = edge(&origins, "backoff = '50ms'\nmax_backoff = '200ms'\n");
    let mut player = program.player("cam");
    wait_frames(&mut player, 10);
    assert_eq!(first.ask("POST", "/api/v1/drain?seconds=300").status, 200);
    // More than a GOP, at whose end other players leave.
    wait_frames(&mut player, 40);
    let _next = Encoder::start(&second, "cam");
    wait_live(&program, "edge", &second.address().to_string());
    drop(encoder);
    wait_frames(&mut player, 30);
    assert_eq!(program.metric("anabranch_plays_total"), Some(1.0), "the player is the same");
}

#[test]
fn the_next_origin_serves_when_the_first_is_dead() {
    let source = start_with_api("");
    let _encoder = Encoder::start(&source, "cam");
    let program = edge(&[format!("rtmp://{}", free_address()), origin(&source)], "");
    let mut player = program.player("cam");
    wait_frames(&mut player, 10);
}

#[test]
fn a_name_that_no_origin_has_is_not_found() {
    let program = edge(&[format!("rtmp://{}", free_address())], "wait = '300ms'\n");
    let mut player = program.visitor();
    let refusal = match player.play("nothing") {
        Err(refusal) => refusal.code,
        Ok(_) => player.wait_event("a refusal", |event| match event {
            anabranch_core::client::ClientEvent::Rejected { rejection, .. } => Some(rejection.code),
            _ => None,
        }),
    };
    assert_eq!(refusal, "NetStream.Play.StreamNotFound");
    wait_for("the end of the pull", TIMEOUT, || list(&program, "edge").is_empty().then_some(()));
}

#[test]
fn what_is_published_at_the_edge_is_at_the_origin_which_may_refuse_it() {
    let source = start_with_api("");
    let program = edge(&[origin(&source)], "");
    let _encoder = Encoder::start(&program, "cam");
    let mut player = source.player("cam");
    wait_frames(&mut player, 10);
    let mut local = program.player("cam");
    wait_frames(&mut local, 10);
    let _holder = Encoder::start(&source, "taken");
    let refusal = program.visitor().publish("taken").expect_err("the origin has another publisher");
    assert_eq!(refusal.code, "NetStream.Publish.BadName", "{refusal:?}");
}
