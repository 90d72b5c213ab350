/// Sources of media (SSRCs) that one peer may ever have. The library makes a stream for each, before it knows whether a packet
/// is genuine, and may keep it. A browser that publishes three layers has seven, and new ones after each change.
pub(super) const MOST_SSRCS: usize = 100;

/// The sources of media that a peer has had.
#[derive(Debug, Default)]
pub(super) struct Ssrcs(Vec<u32>);

impl Ssrcs {
    /// False for a packet of media (RTP) from one source too many.
    pub(super) fn takes(&mut self, datagram: &[u8]) -> bool {
        let Some(ssrc) = ssrc(datagram) else { return true };
        let is_known = self.0.contains(&ssrc);
        let takes = is_known || self.0.len() < MOST_SSRCS;
        if takes && !is_known {
            self.0.push(ssrc);
        }
        takes
    }
}

/// The source of a packet of RTP; `None` if the datagram is something else (RFC 7983, section 7; RFC 5761, section 4).
fn ssrc(datagram: &[u8]) -> Option<u32> {
    let is_rtp = matches!(datagram, [128..=191, kind, ..] if !(192..=223).contains(kind));
    let bytes = datagram.get(8..12).filter(|_| is_rtp)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, ssrc: u32) -> Vec<u8> {
        [&[0x90, kind, 0, 1, 0, 0, 0, 1], &ssrc.to_be_bytes()[..], &[7; 20]].concat()
    }

    #[test]
    fn only_packets_of_media_count() {
        let mut ssrcs = Ssrcs::default();
        for ssrc in 0..MOST_SSRCS as u32 {
            assert!(ssrcs.takes(&packet(96, ssrc)) && ssrcs.takes(&packet(0x80 | 96, ssrc)));
        }
        assert!(!ssrcs.takes(&packet(96, 1000)));
        assert!(ssrcs.takes(&packet(96, 5)), "it is known");
        assert!(ssrcs.takes(&packet(200, 1000)), "a report");
        for other in [&[][..], &[0, 1], &[22, 0xFE, 0xFD], &[0x90, 96, 0, 1, 0, 0, 0, 1, 0, 0, 9]] {
            assert!(ssrcs.takes(other), "{other:?}");
        }
    }
}
