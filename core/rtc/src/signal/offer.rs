use super::SignalError;

/// Codecs that tracks of this server can have, as `a=rtpmap` names them.
const VIDEO: [&str; 4] = ["h264", "h265", "av1", "vp9"];
const AUDIO: [&str; 1] = ["opus"];
/// Lines of an offer. Those of browsers have some 200 with two tracks.
const MOST_LINES: usize = 600;
/// Each offer has these.
const NEEDED: [&str; 3] = ["ice-ufrag", "ice-pwd", "fingerprint"];

/// A medium of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfferedMedium<'a> {
    pub(crate) kind: &'a str,
    /// Whether the peer would send it, and take it.
    pub(crate) is_sent: bool,
    pub(crate) is_taken: bool,
    /// The names of its codecs.
    pub(crate) codecs: Vec<&'a str>,
}

/// The media of an offer that are not switched off.
pub(crate) fn media(text: &str) -> Vec<OfferedMedium<'_>> {
    let mut lines = text.lines().map(str::trim_end);
    let mut of_session = None;
    let mut all = Vec::new();
    let mut next = None;
    for line in lines.by_ref() {
        if line.starts_with("m=") {
            next = Some(line);
            break;
        }
        of_session = direction(line).or(of_session);
    }
    while let Some(line) = next.take() {
        let mut words = line[2..].split_ascii_whitespace();
        let (kind, port) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut is_bundled, mut of_medium, mut codecs) = (false, of_session, Vec::new());
        for line in lines.by_ref() {
            if line.starts_with("m=") {
                next = Some(line);
                break;
            }
            is_bundled |= line == "a=bundle-only";
            of_medium = direction(line).or(of_medium);
            let map = line.strip_prefix("a=rtpmap:").and_then(|map| map.split_ascii_whitespace().nth(1));
            codecs.extend(map.and_then(|map| map.split('/').next()));
        }
        // Port 0 means off, but for media that share the connection of another one (RFC 8843 §6).
        if port != "0" || is_bundled {
            let (is_sent, is_taken) = of_medium.unwrap_or((true, true));
            all.push(OfferedMedium { kind, is_sent, is_taken, codecs });
        }
    }
    all
}

/// Whether the peer sends and takes a medium, if a line says that.
fn direction(line: &str) -> Option<(bool, bool)> {
    match line {
        "a=sendrecv" => Some((true, true)),
        "a=sendonly" => Some((true, false)),
        "a=recvonly" => Some((false, true)),
        "a=inactive" => Some((false, false)),
        _ => None,
    }
}

/// Looks whether an offer could have an answer, before anything is done for it.
pub(crate) fn check(text: &str, publishes: bool) -> Result<(), SignalError> {
    if text.lines().nth(MOST_LINES).is_some() {
        return Err(SignalError::BadOffer(format!("it has more than {MOST_LINES} lines")));
    }
    for name in NEEDED {
        let has = |line: &str| {
            line.strip_prefix("a=").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with(':'))
        };
        if !text.lines().any(has) {
            return Err(SignalError::BadOffer(format!("it has no {name}")));
        }
    }
    let is_ours = |medium: &&OfferedMedium<'_>| if publishes { medium.is_sent } else { medium.is_taken };
    let media = media(text);
    let counts = [("video", &VIDEO[..]), ("audio", &AUDIO[..])].map(|(kind, known)| {
        let is_known = |codec: &&str| known.iter().any(|known| known.eq_ignore_ascii_case(codec));
        let of_kind = media.iter().filter(|medium| medium.kind == kind).filter(is_ours);
        of_kind.filter(|medium| medium.codecs.iter().any(&is_known)).count()
    });
    match counts {
        [0, 0] => Err(SignalError::NothingInCommon),
        [0 | 1, 0 | 1] => Ok(()),
        _ => Err(SignalError::TooManyTracks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:p\r\na=fingerprint:sha-256 00\r\n";

    #[test]
    fn media_are_read_with_their_directions_and_codecs() {
        let text = "v=0\r\na=recvonly\r\nm=audio 9 x 111\r\na=rtpmap:111 opus/48000/2\r\na=sendonly\r\n\
                    m=video 0 x 96\r\na=bundle-only\r\na=rtpmap:96 H264/90000\r\na=rtpmap:97 rtx/90000\r\n\
                    m=video 0 x 98\r\n";
        let audio = OfferedMedium { kind: "audio", is_sent: true, is_taken: false, codecs: vec!["opus"] };
        let video = OfferedMedium { kind: "video", is_sent: false, is_taken: true, codecs: vec!["H264", "rtx"] };
        assert_eq!(media(text), [audio, video], "the last one is off");
        assert!(media("v=0").is_empty() && media("").is_empty());
        assert_eq!(media("m=").len(), 1);
    }

    #[test]
    fn an_offer_must_have_what_every_session_needs() {
        let medium = "m=video 9 x 96\r\na=rtpmap:96 H264/90000\r\n";
        assert_eq!(check(&format!("{HEAD}{medium}"), true), Ok(()));
        for name in NEEDED {
            let without: String = HEAD.split_inclusive('\n').filter(|line| !line.contains(name)).collect();
            let error = check(&format!("{without}{medium}"), true).expect_err("it lacks something");
            assert!(matches!(&error, SignalError::BadOffer(words) if words.contains(name)), "{error}");
        }
        let lines = |count| format!("{HEAD}{medium}{}", "a=x\r\n".repeat(count));
        assert_eq!(check(&lines(MOST_LINES - 6), true), Ok(()));
        assert!(check(&lines(MOST_LINES - 5), true).is_err());
    }

    #[test]
    fn an_offer_must_have_one_track_of_a_kind_in_the_right_direction() {
        let offer = |directions: &[(&str, &str, &str)]| {
            let medium = |(kind, codec, direction): &(&str, &str, &str)| {
                format!("m={kind} 9 x 96\r\na=rtpmap:96 {codec}/90000\r\na={direction}\r\n")
            };
            format!("{HEAD}{}", directions.iter().map(medium).collect::<String>())
        };
        let sends = offer(&[("video", "H264", "sendonly"), ("audio", "OPUS", "sendrecv")]);
        assert_eq!((check(&sends, true), check(&sends, false)), (Ok(()), Ok(())), "the sound goes both ways");
        let takes = offer(&[("video", "VP9", "recvonly"), ("audio", "PCMU", "sendonly")]);
        assert_eq!((check(&takes, true), check(&takes, false)), (Err(SignalError::NothingInCommon), Ok(())));
        let two = offer(&[("video", "AV1", "sendonly"), ("video", "H265", "sendonly"), ("video", "VP8", "recvonly")]);
        assert_eq!(check(&two, true), Err(SignalError::TooManyTracks));
        assert_eq!(check(&two, false), Err(SignalError::NothingInCommon));
    }
}
