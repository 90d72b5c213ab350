//! A client that publishes or plays one stream whose frames have numbers.

use anabranch_core::client::ClientEvent;
use anabranch_core::message::{Message, MessageType};
use anabranch_core::session::Phase;
use anabranch_tests::peer::Driver;
use anabranch_tests::program::Program;
use anabranch_tests::{TIMEOUT, wait_for};

/// Bytes of a frame.
const LENGTH: usize = 5000;

/// A client whose `connect` was accepted.
#[derive(Debug)]
pub(crate) struct Peer {
    driver: Driver,
    /// The numbers of the frames that it got.
    pub(crate) frames: Vec<u32>,
    pub(crate) is_rejected: bool,
    sent: u32,
}

impl Peer {
    /// Connects as if the server were this host.
    pub(crate) fn connect(server: &Program, host: &str) -> Self {
        let driver = Driver::at(server.address(), &format!("rtmp://{host}/live/cam"));
        let mut peer = Peer { driver, frames: Vec::new(), is_rejected: false, sent: 0 };
        peer.wait(|peer| matches!(peer.driver.client.phase(), Phase::Connected) || peer.is_closed());
        peer
    }

    pub(crate) fn publishes(mut self) -> Self {
        self.is_rejected = self.driver.publish("cam").is_err();
        self
    }

    pub(crate) fn plays(mut self) -> Self {
        self.is_rejected = self.driver.play("cam").is_err();
        self
    }

    /// Sends the next frame, a key frame with its number and then some.
    pub(crate) fn send(&mut self) {
        self.sent += 1;
        let mut body = vec![0x17, 1, 0, 0, 0];
        body.extend(self.sent.to_be_bytes());
        body.resize(LENGTH, 7);
        self.driver.send(Message::video(self.sent * 10, body));
    }

    pub(crate) fn sent(&self) -> u32 {
        self.sent
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.driver.closed().is_some()
    }

    pub(crate) fn wait(&mut self, until: impl Fn(&Peer) -> bool) {
        wait_for("change of a client", TIMEOUT, || {
            self.step();
            until(self).then_some(())
        });
    }

    /// Does what can be done without waiting.
    pub(crate) fn step(&mut self) {
        for event in self.driver.events() {
            match event {
                ClientEvent::Media { message, .. } if message.type_id == MessageType::VIDEO => {
                    let body = message.payload.to_vec();
                    assert_eq!(body.len(), LENGTH, "a whole frame");
                    self.frames.push(u32::from_be_bytes(body[5..9].try_into().expect("four bytes")));
                }
                ClientEvent::Rejected { .. } => self.is_rejected = true,
                _ => {}
            }
        }
    }
}
