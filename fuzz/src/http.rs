//! Requests by HTTP, and the frames of a WebSocket.

use anabranch_core::http::websocket::{ClientFrame, FrameReader, MAX_FRAME};
use anabranch_core::http::{HttpError, Limits, LivePath, Request, RequestReader};

use crate::cuts::Cuts;

/// All requests up to the first error, and how many bytes were taken.
fn requests(pieces: &[&[u8]]) -> (Vec<Request>, Option<HttpError>, usize) {
    let limits = Limits::default();
    let (mut reader, mut found, mut taken) = (RequestReader::new(limits), Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let before = rest.len();
            let read = reader.read(&mut rest);
            taken += before - rest.len();
            assert!(reader.held() <= limits.head.max(limits.body), "{} bytes are kept", reader.held());
            match read {
                Ok(request) => found.extend(request),
                Err(error) => {
                    assert!((400..=505).contains(&error.status()));
                    return (found, Some(error), taken);
                }
            }
        }
    }
    (found, None, taken)
}

fn frames(pieces: &[&[u8]]) -> (Vec<ClientFrame>, Option<HttpError>) {
    let (mut reader, mut found) = (FrameReader::default(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            match reader.read(&mut rest) {
                Ok(frame) => found.extend(frame),
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// Cuts, then what a client sends.
pub fn run(mut input: &[u8]) {
    let cuts = Cuts::take(&mut input);
    let (found, error, taken) = requests(&[input]);
    assert_eq!(requests(&cuts.pieces(input)), (found.clone(), error, taken), "cuts change nothing");
    for request in &found {
        assert!(request.target().starts_with('/') || request.target() == "*");
        let hosts = request.fields().filter(|(name, _)| name.eq_ignore_ascii_case("host")).count();
        assert!(hosts == 1 || hosts == 0 && !request.is_http_1_1());
        for (name, value) in request.fields() {
            assert!(!name.contains([' ', '\r', '\n', ':']) && !value.contains(['\r', '\n', '\0']));
            assert!(!name.eq_ignore_ascii_case("transfer-encoding"));
        }
        if let Some(path) = LivePath::of(request) {
            assert!(!path.stream.contains('/') && !path.stream.is_empty() && !path.app.is_empty());
        }
        request.upgrade();
    }
    let whole = frames(&[input]);
    for frame in &whole.0 {
        let (ClientFrame::Ping(answer) | ClientFrame::Close(answer)) = frame;
        assert!(answer.len() <= 127 && (answer.len() as u64) < MAX_FRAME);
    }
    assert_eq!(frames(&cuts.pieces(input)), whole, "cuts change nothing");
}
