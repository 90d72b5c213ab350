//! Multitrack messages in other forms: plain for players that cannot read multitrack, and one track alone
//! for caches that hold one entry per track.
//!
//! Only headers are written again; ModEx prefixes and the payload of the track stay bit-exact.

use std::borrow::Cow;

use super::audio::{self, AudioBody};
use super::modex::PACKET_TYPE_MOD_EX;
use super::video::{self, VideoBody};
use super::{Multitrack, RawTrack, take};

/// The video message as a player without the Multitrack capability can read it.
///
/// A message without multitrack is returned unchanged. A multitrack message becomes the plain message of
/// track 0. `None` if it has no track 0, has an unknown layout, has a packet type with another meaning in a plain
/// message, or cannot be read: such a player does not get it.
pub fn plain_video(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    let tag = video::parse(body).ok()?;
    let VideoBody::Multitrack(multitrack) = tag.body else {
        return Some(Cow::Borrowed(body));
    };
    let message = Message { body, prefix_length: 1 + tag.mod_ex.wire_length(), multitrack };
    message.plain(0).map(Cow::Owned)
}

/// The audio message as a player without the Multitrack capability can read it, as [`plain_video`].
pub fn plain_audio(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    let tag = audio::parse(body).ok()?;
    let AudioBody::Multitrack(multitrack) = tag.body else {
        return Some(Cow::Borrowed(body));
    };
    let message = Message { body, prefix_length: 1 + tag.mod_ex.wire_length(), multitrack };
    message.plain(0).map(Cow::Owned)
}

/// One track of a video message as a separate message (layout `OneTrack`).
///
/// A message without multitrack is the message of track 0 and is returned unchanged. `None` if the message
/// does not have the track or cannot be read.
pub fn one_video_track(body: &[u8], track: u8) -> Option<Cow<'_, [u8]>> {
    let tag = video::parse(body).ok()?;
    let VideoBody::Multitrack(multitrack) = tag.body else {
        return (track == 0).then_some(Cow::Borrowed(body));
    };
    let message = Message { body, prefix_length: 1 + tag.mod_ex.wire_length(), multitrack };
    message.one_track(track).map(Cow::Owned)
}

/// One track of an audio message as a separate message, as [`one_video_track`].
pub fn one_audio_track(body: &[u8], track: u8) -> Option<Cow<'_, [u8]>> {
    let tag = audio::parse(body).ok()?;
    let AudioBody::Multitrack(multitrack) = tag.body else {
        return (track == 0).then_some(Cow::Borrowed(body));
    };
    let message = Message { body, prefix_length: 1 + tag.mod_ex.wire_length(), multitrack };
    message.one_track(track).map(Cow::Owned)
}

/// A multitrack message of either medium.
struct Message<'a> {
    body: &'a [u8],
    /// Byte 0 and the ModEx prefixes: the packet type `Multitrack` is in the low four bits of the last byte.
    prefix_length: usize,
    multitrack: Multitrack<'a>,
}

impl<'a> Message<'a> {
    fn plain(&self, id: u8) -> Option<Vec<u8>> {
        let (prefix, packet_type) = self.parts()?;
        if packet_type == PACKET_TYPE_MOD_EX {
            // A reader would treat the track as a ModEx prefix.
            return None;
        }
        let (&last, prefix) = prefix.split_last()?;
        let track = self.track(id)?;
        let mut plain = Vec::with_capacity(prefix.len() + 5 + track.payload.len());
        plain.extend_from_slice(prefix);
        plain.push(last & 0xF0 | packet_type);
        plain.extend_from_slice(&track.fourcc.0);
        plain.extend_from_slice(track.payload);
        Some(plain)
    }

    fn one_track(&self, id: u8) -> Option<Vec<u8>> {
        let (prefix, packet_type) = self.parts()?;
        let track = self.track(id)?;
        let mut one = Vec::with_capacity(prefix.len() + 6 + track.payload.len());
        one.extend_from_slice(prefix);
        // Layout OneTrack is 0, so the byte is the packet type alone.
        one.push(packet_type);
        one.extend_from_slice(&track.fourcc.0);
        one.push(id);
        one.extend_from_slice(track.payload);
        Some(one)
    }

    /// The bytes before the layout byte, and the packet type of the tracks.
    fn parts(&self) -> Option<(&'a [u8], u8)> {
        let (prefix, rest) = take::slice(self.body, self.prefix_length, "multitrack prefix").ok()?;
        Some((prefix, rest.first()? & 0x0F))
    }

    /// The first track with that id: a second one with the same id in one message has no meaning.
    fn track(&self, id: u8) -> Option<RawTrack<'a>> {
        self.multitrack.tracks().map_while(Result::ok).find(|track| track.id == id)
    }
}
