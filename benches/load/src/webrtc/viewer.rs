use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use anabranch_core::message::Message;
use mio::net::UdpSocket;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaData, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use super::http::WhepTarget;
use super::local_towards;
use super::viewers::Seen;
use crate::frame_check::FrameCheck;

/// Tracks whose packets are counted: pictures, sound, and what of each is sent again.
const MOST_TRACKS: usize = 4;

/// One viewer.
pub(super) struct Viewer {
    pub(super) socket: UdpSocket,
    pub(super) due: Instant,
    pub(super) is_over: bool,
    rtc: Rtc,
    local: SocketAddr,
    offered: Instant,
    is_connected: bool,
    has_packets: bool,
    tracks: Vec<Counted>,
    /// Of a viewer that reads everything.
    check: Option<Box<FrameCheck>>,
}

/// The packets of a track by their numbers.
#[derive(Debug, Clone, Copy)]
struct Counted {
    ssrc: u32,
    first: u64,
    highest: u64,
    packets: u64,
}

impl Viewer {
    /// Offers to play, and takes the answer.
    pub(super) fn join(target: &WhepTarget, server: SocketAddr, reads: bool) -> io::Result<Viewer> {
        let socket = UdpSocket::bind(SocketAddr::new(local_towards(server)?, 0))?;
        let local = socket.local_addr()?;
        let now = Instant::now();
        let mut rtc = RtcConfig::new().clear_codecs().enable_h264(true).enable_opus(true, false).build(now);
        let candidate = Candidate::host(local, "udp").map_err(io::Error::other)?;
        rtc.add_local_candidate(candidate);
        let mut api = rtc.sdp_api();
        for kind in [MediaKind::Video, MediaKind::Audio] {
            api.add_media(kind, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = api.apply().ok_or_else(|| io::Error::other("there is nothing to offer"))?;
        let answer = target.offer(server, &offer.to_sdp_string())?;
        let answer = SdpAnswer::from_sdp_string(&answer).map_err(|error| io::Error::other(error.to_string()))?;
        rtc.sdp_api().accept_answer(pending, answer).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Viewer {
            socket,
            due: now,
            is_over: false,
            rtc,
            local,
            offered: now,
            is_connected: false,
            has_packets: false,
            tracks: Vec::new(),
            check: reads.then(|| Box::new(check_of_pictures(now))),
        })
    }

    /// Reads all that has come.
    pub(super) fn read(&mut self, buffer: &mut [u8], seen: &Seen) {
        while let Ok((length, from)) = self.socket.recv_from(buffer) {
            let bytes = &buffer[..length];
            let is_media = is_media(bytes);
            if is_media {
                seen.count(length);
                self.count(bytes, seen);
                if !std::mem::replace(&mut self.has_packets, true) {
                    seen.first_packet(self.offered.elapsed());
                }
            }
            if !is_media || self.check.is_some() {
                let Ok(received) = Receive::new(Protocol::Udp, from, self.local, bytes) else { continue };
                let input = Input::Receive(Instant::now(), received);
                if self.rtc.handle_input(input).is_err() {
                    return self.end("the viewer's own library failed", seen);
                }
                self.poll(seen);
            }
        }
    }

    /// Does what is due.
    pub(super) fn turn(&mut self, now: Instant, seen: &Seen) {
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            return self.end("the viewer's own library failed", seen);
        }
        self.poll(seen);
    }

    pub(super) fn poll(&mut self, seen: &Seen) {
        while !self.is_over {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(due)) => {
                    self.due = due;
                    return;
                }
                // A datagram that the system does not take is lost, as others are.
                Ok(Output::Transmit(datagram)) => _ = self.socket.send_to(&datagram.contents, datagram.destination),
                Ok(Output::Event(event)) => self.event(event, seen),
                Err(_) => self.end("the viewer's own library failed", seen),
            }
        }
    }

    fn event(&mut self, event: Event, seen: &Seen) {
        match event {
            Event::Connected if !self.is_connected => {
                self.is_connected = true;
                seen.connect(self.offered.elapsed());
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.end("the server does not answer any more", seen);
            }
            Event::Closed => self.end("the server has left", seen),
            Event::MediaData(media) if media.params.spec().codec.is_video() => self.check(&media, seen),
            _ => {}
        }
    }

    fn end(&mut self, name: &str, seen: &Seen) {
        if !std::mem::replace(&mut self.is_over, true) {
            if self.is_connected {
                seen.disconnect();
            }
            seen.fail(name);
        }
    }

    /// Leaves, and says so.
    pub(super) fn leave(&mut self, seen: &Seen) {
        let _ = self.rtc.close();
        self.poll(seen);
        seen.missed(
            self.tracks.iter().map(|track| (track.highest - track.first + 1).saturating_sub(track.packets)).sum(),
        );
    }

    fn count(&mut self, bytes: &[u8], seen: &Seen) {
        let number = u64::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let ssrc = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let Some(track) = self.tracks.iter_mut().find(|track| track.ssrc == ssrc) else {
            if self.tracks.len() < MOST_TRACKS {
                self.tracks.push(Counted { ssrc, first: number, highest: number, packets: 1 });
            } else {
                seen.fail("packets of more tracks than there are");
                self.tracks.clear();
            }
            return;
        };
        // The nearest number that has these low bits.
        let step = (number as u16).wrapping_sub(track.highest as u16) as i16;
        track.highest = track.highest.max(track.highest.saturating_add_signed(step.into()));
        track.packets += 1;
    }

    /// Looks at a picture as players by RTMP look at theirs.
    fn check(&mut self, media: &MediaData, seen: &Seen) {
        let Some(check) = &mut self.check else { return };
        let now = Instant::now();
        let Some((header, unit)) = coded_picture(&media.data) else {
            return seen.fail("a picture without a coded picture");
        };
        let is_key = header & 0x1F == 5;
        if is_key && !has_parameters(&media.data) {
            seen.fail("key frame without parameters");
        }
        let mut body = vec![if is_key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        body.extend_from_slice(&(unit.len() as u32).to_be_bytes());
        body.extend_from_slice(unit);
        let found = check.look(&Message::video(0, body), now);
        if let Some(error) = found.error {
            seen.fail(error);
        }
        seen.picture(found.gap, found.latency);
    }
}

/// A check for a form of the stream whose parameters are in front of each key frame.
fn check_of_pictures(now: Instant) -> FrameCheck {
    let mut check = FrameCheck::new(0);
    check.look(&Message::video(0, vec![0x17, 0, 0, 0, 0]), now);
    check
}

/// True if a picture has parameters of the sequence and of pictures in front.
fn has_parameters(data: &[u8]) -> bool {
    let has = |kind: u8| data.windows(4).any(|window| window[..3] == [0, 0, 1] && window[3] & 0x1F == kind);
    has(7) && has(8)
}

/// True for packets of media, which are not looked into; false for reports and all that is no RTP.
fn is_media(bytes: &[u8]) -> bool {
    bytes.len() >= 12 && (128..192).contains(&bytes[0]) && !(192..=223).contains(&bytes[1])
}

/// The first unit with a part of a picture, up to the end, and its header.
fn coded_picture(data: &[u8]) -> Option<(u8, &[u8])> {
    let starts = data.windows(4).enumerate().filter(|(_, window)| window[..3] == [0, 0, 1]);
    let found = starts.map(|(at, window)| (at + 3, window[3])).find(|(_, header)| matches!(header & 0x1F, 1 | 5));
    found.map(|(at, header)| (header, &data[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_found_behind_its_parameters() {
        let data = [&[0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65][..], b"anaL"].concat();
        assert_eq!(coded_picture(&data), Some((0x65, &b"\x65anaL"[..])));
        assert_eq!(coded_picture(&data[..12]), None);
        assert!(has_parameters(&data) && !has_parameters(&data[..6]) && !has_parameters(&data[12..]));
    }

    #[test]
    fn reports_and_checks_are_no_media() {
        let packet = |first: u8, second: u8| [&[first, second][..], &[0; 20]].concat();
        assert!(is_media(&packet(0x90, 96)) && is_media(&packet(0x80, 0x80 | 96)));
        assert!(!is_media(&packet(0x80, 200)) && !is_media(&packet(0, 1)) && !is_media(&packet(22, 254)));
        assert!(!is_media(&[0x80]));
    }
}
