//! What is compared reads the same messages: times, types and payloads, all of them and in their order.

use anabranch_side_by_side::chunks::READERS;
use anabranch_side_by_side::publishers::{self, PUBLISHERS};
use anabranch_side_by_side::{Order, Tally, stream};

#[test]
fn every_reader_reads_the_same_messages() {
    let messages = stream();
    let mut compared = 0;
    for order in [Order::Sequential, Order::Interleaved] {
        for chunk_size in [1, 128, 4096, 60_000] {
            let bytes = order.write(&messages, chunk_size);
            for at_once in [4096, 65_536, 1000] {
                for reader in READERS.iter().filter(|reader| reader.takes(chunk_size, order)) {
                    let mut read = Vec::new();
                    let mut each =
                        |time: u32, type_id: u8, payload: &[u8]| read.push((time, type_id, payload.to_vec()));
                    (reader.read)(&bytes, chunk_size, at_once, &mut each);
                    // Interleaved, a sound may overtake the picture that began before it.
                    let mut expected: Vec<_> =
                        messages.iter().map(|m| (m.timestamp, m.type_id, m.payload.to_vec())).collect();
                    if order == Order::Interleaved {
                        read.sort();
                        expected.sort();
                    }
                    let what = format!("{}, {order:?}, chunks of {chunk_size}, {at_once} at once", reader.name);
                    assert_eq!(read.len(), expected.len(), "{what}");
                    assert!(read == expected, "{what}: the messages differ");
                    assert_eq!(reader.tally(&bytes, chunk_size, at_once), Tally::of(&messages), "{what}");
                    compared += 1;
                }
            }
        }
    }
    // Three chunk sizes for all four in sequence and three of them interleaved; one less each in chunks of one byte.
    assert_eq!(compared, 3 * (3 * 4 + 3 + 3 * 3 + 2));
}

#[test]
fn every_session_gets_the_same_media() {
    let messages = stream();
    for chunk_size in publishers::CHUNK_SIZES {
        let conversation = publishers::Conversation::new(&messages, chunk_size);
        for publisher in &PUBLISHERS {
            for at_once in [4096, 65_536] {
                let tally = publishers::publish(&mut *publisher.open(&conversation), &conversation, at_once);
                assert_eq!(tally, Tally::of(&messages), "{}, chunks of {chunk_size}", publisher.name);
            }
        }
    }
}

/// Why it has no part in the interleaved groups. If this fails, it is to have one.
#[test]
fn rml_rtmp_does_not_read_interleaved_chunks() {
    let messages = stream();
    let bytes = Order::Interleaved.write(&messages, 128);
    let reader = READERS.iter().find(|reader| reader.name == "rml_rtmp").expect("it is one of them");
    let read = std::panic::catch_unwind(|| reader.tally(&bytes, 128, 4096));
    assert!(read.ok() != Some(Tally::of(&messages)));
}
