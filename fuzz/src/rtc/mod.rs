//! WebRTC: pictures in packets, offers, and what a peer sends.

mod packets;
mod pair;
mod peer;

use anabranch_core::flv::VideoCodec;
use anabranch_rtc::engine::{Candidates, Credentials, Engine, Identity, Purpose};
use anabranch_rtc::peer::Output;
use anabranch_rtc::signal::SignalError;

use crate::cuts::take_byte;
use crate::time::any_instant;
pub use packets::run as packets;
pub use peer::run as datagrams;

const VIDEO: [VideoCodec; 4] = [VideoCodec::Avc, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9];

thread_local! {
    /// A certificate takes longer to make than an offer to be answered.
    static IDENTITY: Identity = Identity::new().expect("a certificate");
}

fn credentials() -> Credentials {
    Credentials { name: "abcd1234".to_owned(), password: "0123456789abcdef01234567".to_owned() }
}

fn candidates() -> Candidates {
    Candidates {
        udp: vec!["192.0.2.1:8000".parse().expect("an address"), "[2001:db8::1]:8000".parse().expect("an address")],
        tcp: vec!["192.0.2.1:8000".parse().expect("an address")],
    }
}

/// What a session is for, by a byte.
fn purpose(choice: u8) -> Purpose {
    match choice & 7 {
        0 => Purpose::Publish,
        1 => Purpose::Play { video: None, audio: true },
        other => {
            let video = Some(VIDEO[usize::from(other - 2) % VIDEO.len()]);
            Purpose::Play { video, audio: choice & 8 == 0 }
        }
    }
}

/// A byte for the purpose, and an offer. The answer has the server's name, password and addresses, and nothing of an offer
/// makes the library panic, which the engine contains.
pub fn offer(mut input: &[u8]) {
    let purpose = purpose(take_byte(&mut input));
    let Ok(offer) = std::str::from_utf8(input) else { return };
    let now = any_instant();
    let (credentials, candidates) = (credentials(), candidates());
    let accepted = IDENTITY.with(|identity| Engine::accept(now, offer, &purpose, identity, &credentials, &candidates));
    let mut accepted = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            assert!(!matches!(error, SignalError::Bug | SignalError::BadCandidate(_)), "{error}");
            // It goes into an answer.
            assert!(error.to_string().len() < 4096 + input.len());
            return;
        }
    };
    assert!((1..=2).contains(&accepted.media.len()));
    let answer = &accepted.answer;
    assert!(answer.starts_with("v=0\r\n") && answer.ends_with("\r\n"), "{answer}");
    for part in ["a=ice-lite\r\n", "a=ice-ufrag:abcd1234\r\n", "a=fingerprint:", " 192.0.2.1 8000 typ host"] {
        assert!(answer.contains(part), "{part} is missing: {answer}");
    }
    for _ in 0..1000 {
        match accepted.peer.poll() {
            Output::Wait(_) => return,
            // An address of an offer is nobody's word but the client's.
            Output::Send(datagram) => panic!("{datagram:?} is sent to a peer that has sent none"),
            Output::Event(event) => panic!("{event:?} before anything came"),
        }
    }
    panic!("the peer never waits");
}
