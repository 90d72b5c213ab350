//! What a Redis sends, as the program `anabranch` reads it. The program is no library, so its files are compiled here, too.

#[allow(dead_code)]
#[path = "../../runtime-smol/server/src/cluster/advertise.rs"]
mod advertise;
#[allow(dead_code)]
#[path = "../../runtime-smol/server/src/cluster/record.rs"]
mod record;
#[allow(dead_code)]
#[path = "../../runtime-smol/server/src/cluster/replies.rs"]
mod replies;

use anabranch_core::location::Reply;
use redis_protocol::resp2::types::OwnedFrame as Frame;

use crate::cuts::Cuts;
use record::{LONGEST_NODE, LONGEST_RECORD, NodeRecord};
use replies::{Replies, ReplyError};

/// The replies, and why no more could be read.
fn read(pieces: &[&[u8]]) -> (Vec<Frame>, Option<ReplyError>) {
    let (mut replies, mut found) = (Replies::default(), Vec::new());
    for piece in pieces {
        replies.add(piece);
        loop {
            match replies.next() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// Cuts, then what a Redis sends.
pub fn run(mut input: &[u8]) {
    let cuts = Cuts::take(&mut input);
    let whole = read(&[input]);
    assert_eq!(read(&cuts.pieces(input)), whole, "cuts change nothing");
    for frame in &whole.0 {
        if let Ok(Reply::Held(owner)) | Ok(Reply::Found(Some(owner))) = replies::lease(frame).or(replies::found(frame))
        {
            assert!(!owner.node.is_empty() && owner.node.len() <= LONGEST_NODE);
            let address = owner.address.as_deref();
            assert!(address.is_none_or(|address| address.parse::<advertise::Advertise>().is_ok()), "{address:?}");
        }
        if let Some(notice) = replies::notice(frame) {
            assert!(!notice.name.is_empty() && !notice.node.is_empty() && notice.node.len() <= LONGEST_NODE);
        }
        for record in replies::nodes(frame).unwrap_or_default() {
            // What is written is read again, as long as escapes do not make it longer.
            let text = record.write();
            assert!(text.len() > LONGEST_RECORD || NodeRecord::read(text.as_bytes()) == Some(record));
        }
        let _ = (replies::announced(frame), replies::master(frame), replies::first(frame), replies::error_of(frame));
    }
}
