//! Offers of real clients get an answer, with the tracks that they are for.

use std::time::Instant;

use anabranch_core::flv::VideoCodec;
use anabranch_rtc::engine::{Candidates, Credentials, Engine, Identity, Purpose};
use anabranch_rtc::peer::Medium;

const H264: Purpose = Purpose::Play { video: Some(VideoCodec::Avc), audio: true };

/// The answer to an offer and its tracks; an empty answer if there is none.
fn answer(offer: &str, purpose: &Purpose) -> (String, Vec<Medium>) {
    let identity = Identity::new().expect("a certificate");
    let credentials = Credentials { name: "abcd1234".to_owned(), password: "0123456789abcdef01234567".to_owned() };
    let candidates = Candidates { udp: vec!["192.0.2.1:8000".parse().expect("an address")], tcp: Vec::new() };
    #[expect(clippy::disallowed_methods, reason = "a test may ask for the time")]
    let now = Instant::now();
    let accepted = Engine::accept(now, offer, purpose, &identity, &credentials, &candidates);
    accepted.map(|accepted| (accepted.answer, accepted.media)).unwrap_or_default()
}

#[test]
fn each_real_client_gets_an_answer_with_both_tracks() {
    let offers = [
        ("Chromium plays", include_str!("fixtures/offers/whep-chromium.sdp"), H264),
        ("aiortc plays", include_str!("fixtures/offers/whep-aiortc.sdp"), H264),
        ("Chromium publishes", include_str!("fixtures/offers/whip-chromium.sdp"), Purpose::Publish),
        ("FFmpeg publishes", include_str!("fixtures/offers/whip-ffmpeg.sdp"), Purpose::Publish),
        ("aiortc publishes", include_str!("fixtures/offers/whip-aiortc.sdp"), Purpose::Publish),
    ];
    for (client, offer, purpose) in offers {
        let (answer, mut media) = answer(offer, &purpose);
        media.sort();
        assert_eq!(media, [Medium::Video, Medium::Audio], "{client}: {answer}");
        assert!(answer.contains(" H264/90000") && answer.contains(" opus/48000/2"), "{client}: {answer}");
        assert!(answer.contains("a=ice-lite") && answer.contains("192.0.2.1 8000 typ host"), "{client}: {answer}");
    }
}

#[test]
fn a_browser_without_the_codec_of_the_pictures_still_gets_the_sound() {
    let (answer, media) = answer(include_str!("fixtures/offers/whep-firefox.sdp"), &H264);
    assert_eq!(media, [Medium::Audio], "{answer}");
}
