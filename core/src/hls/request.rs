use std::time::Duration;

use super::Segmenter;
use super::names::parse_number;

/// What a client asks of a media playlist, by the parameters `_HLS_msn`, `_HLS_part` and `_HLS_skip`
/// (draft-pantos-hls-rfc8216bis §6.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PlaylistRequest {
    /// The answer is to contain the segment with this sequence number.
    pub segment: Option<u64>,
    /// The answer is to contain this part of it.
    pub part: Option<u64>,
    /// The old part of the playlist may be skipped.
    pub skip: bool,
}

/// Parameters that say nothing that a playlist could be asked: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("_HLS_msn and _HLS_part must be numbers, and _HLS_part needs _HLS_msn")]
pub struct BadDirectives;

impl PlaylistRequest {
    /// Reads the query of a URL, without its question mark. Other parameters are ignored, and so is a value of
    /// `_HLS_skip` that is not known.
    ///
    /// # Errors
    ///
    /// Numbers that are none, and a part without a segment.
    pub fn parse(query: &str) -> Result<Self, BadDirectives> {
        let mut request = PlaylistRequest::default();
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "_HLS_msn" => request.segment = Some(parse_number(value).ok_or(BadDirectives)?),
                "_HLS_part" => request.part = Some(parse_number(value).ok_or(BadDirectives)?),
                "_HLS_skip" => request.skip = matches!(value, "YES" | "v2"),
                _ => {}
            }
        }
        if request.part.is_some() && request.segment.is_none() {
            return Err(BadDirectives);
        }
        Ok(request)
    }
}

/// What is to be done with a request for a playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Answer now, with the playlist as it is.
    Now,
    /// Decide again when the playlist changes ([`Segmenter::version`]); after this time from the request answer with 503.
    /// For a request without a segment number the playlist has not begun, and the answer is then 404.
    Wait(Duration),
    /// 400: it asks for what is too far ahead.
    BadRequest,
}

impl Segmenter {
    /// Decides about a request for the media playlist (draft-pantos-hls-rfc8216bis §6.2.5.2).
    ///
    /// A number that is too old is answered with the playlist, and in a playlist that has ended all of the request is
    /// ignored.
    pub fn decide(&self, request: &PlaylistRequest) -> Decision {
        if self.ended {
            return Decision::Now;
        }
        let wait = Decision::Wait(Duration::from_secs(3 * u64::from(self.target.unwrap_or(10))));
        let Some(last) = self.listed.back() else {
            return wait;
        };
        let Some(segment) = request.segment else {
            return Decision::Now;
        };
        if segment > last.number.saturating_add(2) {
            return Decision::BadRequest;
        }
        let Some(part) = request.part else {
            return if segment <= last.number { Decision::Now } else { wait };
        };
        if segment < last.number {
            return Decision::Now;
        }
        // How far ahead of the newest part a client may ask: three seconds of parts, at least three.
        let ahead = match self.part_target {
            Some(target @ 1..1000) => 3000u64.div_ceil(target),
            _ => 3,
        };
        let parts = self.open.as_ref().map_or(0, |open| open.parts.len() as u64);
        let last_parts = last.parts.len() as u64;
        // The part after the last one of a segment is the first one of the next.
        let (segment, part) = if segment == last.number && part >= last_parts {
            (segment + 1, part - last_parts)
        } else {
            (segment, part)
        };
        if segment <= last.number {
            Decision::Now
        } else if segment == last.number + 1 {
            match part {
                part if part < parts => Decision::Now,
                part if part >= parts.saturating_add(ahead) => Decision::BadRequest,
                _ => wait,
            }
        } else if part >= ahead {
            Decision::BadRequest
        } else {
            wait
        }
    }
}
