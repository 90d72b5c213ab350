use super::*;

/// A reader in the form that servers use, with limits that tests can reach.
fn reader() -> ChunkReader {
    let limits = ChunkLimits { message: 1000, streams: 3, partial: 1500, eager: 16 };
    ChunkReader::new(limits, Leniency::Lenient)
}

/// A format 0 header for a one-byte chunk stream id, with message stream 1.
fn full(id: u8, time: u32, length: u32, type_id: u8) -> Vec<u8> {
    let mut bytes = vec![id];
    bytes.extend_from_slice(&time.to_be_bytes()[1..]);
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[type_id, 1, 0, 0, 0]);
    bytes
}

fn read_all(reader: &mut ChunkReader, mut input: &[u8]) -> Result<Vec<Message>, ChunkError> {
    let mut messages = Vec::new();
    while let Some(message) = reader.read(&mut input)? {
        messages.push(message);
    }
    assert!(input.is_empty(), "a read without error takes all input");
    Ok(messages)
}

/// Timestamps, types and bodies of the messages of a stream, read whole and byte by byte.
fn messages(bytes: &[u8]) -> Vec<(u32, u8, Vec<u8>)> {
    let show = |message: &Message| (message.timestamp, message.type_id, message.payload.to_vec());
    let whole = read_all(&mut reader(), bytes).expect("legal chunks");
    let mut by_byte = reader();
    let mut pieces = Vec::new();
    for byte in bytes.chunks(1) {
        pieces.extend(read_all(&mut by_byte, byte).expect("legal chunks"));
    }
    assert_eq!(pieces, whole, "the split must not matter");
    whole.iter().map(show).collect()
}

fn error(bytes: &[u8]) -> ChunkError {
    read_all(&mut reader(), bytes).expect_err("illegal chunks")
}

#[test]
fn a_length_over_the_limit_is_refused_at_its_header() {
    assert!(read_all(&mut reader(), &full(4, 0, 1000, 8)).is_ok());
    let over = ChunkError::LengthOverLimit { chunk_stream: 4, length: 1001, limit: 1000 };
    assert_eq!(error(&full(4, 0, 1001, 8)), over);
    // The limit also applies to an inherited length.
    let mut reader = reader();
    let mut bytes = full(4, 0, 100, 8);
    bytes.extend([1; 100]);
    assert_eq!(read_all(&mut reader, &bytes).map(|messages| messages.len()), Ok(1));
    reader.set_limits(ChunkLimits { message: 99, ..reader.limits });
    let inherited = ChunkError::LengthOverLimit { chunk_stream: 4, length: 100, limit: 99 };
    assert_eq!(read_all(&mut reader, &[0x84, 0, 0, 1]), Err(inherited));
}

#[test]
fn the_longest_message_of_the_format_can_be_read() {
    let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Strict);
    reader.set_chunk_size(u32::MAX).expect("not zero");
    assert_eq!(reader.chunk_size(), MAX_CHUNK_SIZE);
    let mut bytes = full(6, 0, 0xff_ffff, 9);
    bytes.resize(bytes.len() + 0xff_ffff, 7);
    let messages = read_all(&mut reader, &bytes).expect("one message in one chunk");
    assert_eq!((messages.len(), messages[0].payload.len()), (1, 0xff_ffff));
    assert!(reader.is_idle());
}

#[test]
fn chunk_streams_are_bounded() {
    let mut bytes = Vec::new();
    for id in [3, 4, 5] {
        bytes.extend(full(id, 0, 0, 8));
    }
    assert_eq!(messages(&bytes).len(), 3);
    // A known chunk stream does not count again.
    bytes.extend(full(4, 0, 0, 8));
    assert_eq!(messages(&bytes).len(), 4);
    bytes.extend(full(6, 0, 0, 8));
    assert_eq!(error(&bytes), ChunkError::TooManyStreams { chunk_stream: 6, limit: 3 });
}

#[test]
fn half_received_messages_are_bounded_together() {
    let mut reader = reader();
    reader.set_chunk_size(1000).expect("not zero");
    let mut bytes = full(4, 0, 1000, 8);
    bytes.extend([1; 999]);
    assert_eq!(read_all(&mut reader, &bytes), Ok(vec![]));
    assert_eq!(reader.partial_bytes(), 999);
    // The chunk ends with the message, so that no other message can begin before: a second reader gets smaller chunks.
    let mut reader = self::reader();
    reader.set_chunk_size(750).expect("not zero");
    for id in [4, 5] {
        let mut bytes = full(id, 0, 1000, 8);
        bytes.extend([1; 750]);
        assert_eq!(read_all(&mut reader, &bytes), Ok(vec![]));
    }
    assert_eq!(reader.partial_bytes(), 1500);
    assert_eq!(read_all(&mut reader, &full(3, 0, 10, 8)), Ok(vec![]), "a header holds nothing yet");
    assert_eq!(read_all(&mut reader, &[1]), Err(ChunkError::PartialOverLimit { limit: 1500 }));
}

/// The byte at which the error occurs must not depend on the size of the pieces.
#[test]
fn the_bound_on_partial_messages_stops_at_the_same_byte_however_it_is_cut() {
    let taken = |piece: usize| {
        let mut reader = ChunkReader::new(ChunkLimits { partial: 50, ..ChunkLimits::default() }, Leniency::Lenient);
        let mut bytes = full(4, 0, 100, 8);
        bytes.extend([1; 100]);
        let mut taken = 0;
        for mut piece in bytes.chunks(piece) {
            let before = piece.len();
            let result = reader.read(&mut piece);
            taken += before - piece.len();
            if result.is_err() {
                assert!(reader.partial_bytes() <= 50);
                return taken;
            }
        }
        panic!("the limit was not applied");
    };
    assert_eq!(taken(1), 12 + 50);
    assert_eq!((taken(7), taken(200)), (taken(1), taken(1)));
}

#[test]
fn a_header_alone_allocates_little_and_memory_follows_the_bytes() {
    let limits = ChunkLimits { eager: 1024, ..ChunkLimits::default() };
    let mut reader = ChunkReader::new(limits, Leniency::Lenient);
    reader.set_chunk_size(MAX_CHUNK_SIZE).expect("not zero");
    assert_eq!(read_all(&mut reader, &full(6, 0, 0xff_ffff, 9)), Ok(vec![]));
    let held = |reader: &ChunkReader| {
        reader.streams.iter().map(|stream| stream.partial.as_ref().map_or(0, Payload::capacity)).sum::<usize>()
    };
    assert!((1024..1100).contains(&held(&reader)), "{} bytes for a header", held(&reader));
    for _ in 0..2000 {
        assert_eq!(read_all(&mut reader, &[1; 500]), Ok(vec![]));
        let bound = 2 * reader.partial_bytes() + limits.eager + 64;
        assert!(held(&reader) <= bound, "{} bytes held for {}", held(&reader), reader.partial_bytes());
    }
    // The bytes available when the header is read are allocated at once: a complete message needs no growth.
    let mut reader = ChunkReader::new(limits, Leniency::Lenient);
    reader.set_chunk_size(MAX_CHUNK_SIZE).expect("not zero");
    let mut bytes = full(6, 0, 50_000, 9);
    bytes.extend([1; 40_000]);
    assert_eq!(read_all(&mut reader, &bytes), Ok(vec![]));
    assert!((40_000..40_100).contains(&held(&reader)), "{} bytes", held(&reader));
}

/// 4 MiB in chunks of one byte, so that half of the input is headers: each byte is copied into its message once, and
/// growth moves it less than once more.
#[test]
fn a_long_message_in_the_smallest_chunks_is_linear_work() {
    const LENGTH: u32 = 4 << 20;
    let mut bytes = full(6, 0, LENGTH, 9);
    for index in 0..LENGTH {
        if index > 0 {
            bytes.push(0xc6);
        }
        bytes.push(index as u8);
    }
    let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Lenient);
    reader.set_chunk_size(1).expect("not zero");
    let (mut moved, mut capacity, mut read) = (0, 0, Vec::new());
    for piece in bytes.chunks(512) {
        read.extend(read_all(&mut reader, piece).expect("legal chunks"));
        if let Some(partial) = reader.streams[0].partial.as_ref().filter(|partial| partial.capacity() != capacity) {
            capacity = partial.capacity();
            moved += partial.len();
        }
    }
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].payload.len(), LENGTH as usize);
    assert!(read[0].payload.iter().enumerate().all(|(index, byte)| *byte == index as u8));
    assert!(moved <= 2 * LENGTH as usize, "{moved} bytes moved for a message of {LENGTH}");
    assert!(read[0].payload.capacity() <= LENGTH as usize + 64, "the buffer ends at the announced size");
}

#[test]
fn fresh_chunk_streams_open_with_full_headers_or_librtmps_format_1() {
    // librtmp's first ping response: base time 0, message stream 0.
    let ping = [0x42, 0, 0, 5, 0, 0, 6, 4, 0, 7, 0, 0, 0x0d, 0x0f];
    let read = read_all(&mut reader(), &ping).expect("lenient");
    assert_eq!((read[0].timestamp, read[0].message_stream_id, read[0].payload.len()), (5, 0, 6));
    let mut strict = ChunkReader::new(ChunkLimits::default(), Leniency::Strict);
    let refused = |format| ChunkError::FreshStream { chunk_stream: 2, format };
    assert_eq!(read_all(&mut strict, &ping), Err(refused(1)));
    assert_eq!(error(&[0x82, 0, 0, 1]), refused(2));
    assert_eq!(error(&[0xc2]), refused(3));
    // A used chunk stream has a message to inherit from.
    let mut bytes = full(4, 10, 1, 8);
    bytes.extend([1, 0xc4, 2]);
    assert_eq!(messages(&bytes), [(10, 8, vec![1]), (20, 8, vec![2])]);
}

#[test]
fn a_message_inside_a_message_is_an_error_unless_it_changes_nothing() {
    let mut open = full(4, 0, 200, 8);
    open.extend([1; 128]);
    let with = |header: &[u8]| [&open[..], header].concat();
    let interrupted = |format| ChunkError::Interrupted { chunk_stream: 4, format };
    assert_eq!(error(&with(&full(4, 0, 200, 8))), interrupted(0));
    assert_eq!(error(&with(&[0x44, 0, 0, 1, 0, 0, 199, 8])), interrupted(1));
    assert_eq!(error(&with(&[0x44, 0, 0, 1, 0, 0, 200, 9])), interrupted(1));
    let body: Vec<u8> = [[1; 128].as_slice(), &[2; 72]].concat();
    for header in [&[0x44, 0, 0, 1, 0, 0, 200, 8][..], &[0x84, 0, 0, 9], &[0xc4]] {
        let mut bytes = with(header);
        bytes.extend([2; 72]);
        // The time field of such a continuation is void: the next message adds the old delta, 0.
        bytes.extend([0xc4]);
        bytes.extend([3; 128]);
        assert_eq!(messages(&bytes), [(0, 8, body.clone())], "after {header:02x?}");
    }
}

#[test]
fn a_chunk_size_of_zero_is_an_error() {
    assert_eq!(reader().set_chunk_size(0), Err(ChunkError::ZeroChunkSize));
    let mut reader = reader();
    assert_eq!(reader.chunk_size(), 128);
    assert_eq!(reader.set_chunk_size(0x7fff_ffff), Ok(()));
    assert_eq!(reader.chunk_size(), 0xff_ffff);
}

#[test]
fn a_chunk_size_takes_effect_at_the_next_chunk_even_inside_a_message() {
    let mut reader = reader();
    let mut bytes = full(6, 0, 200, 9);
    bytes.extend([1; 128]);
    assert_eq!(read_all(&mut reader, &bytes), Ok(vec![]));
    reader.set_chunk_size(50).expect("not zero");
    let mut rest = vec![0xc6];
    rest.extend([2; 50]);
    rest.push(0xc6);
    rest.extend([3; 22]);
    let read = read_all(&mut reader, &rest).expect("legal chunks");
    assert_eq!(read[0].payload[..], [[1; 128].as_slice(), &[2; 50], &[3; 22]].concat());
    // The chunk in progress keeps the size it began with.
    let mut reader = self::reader();
    let bytes = [full(6, 0, 200, 9), vec![1; 100]].concat();
    assert_eq!(read_all(&mut reader, &bytes), Ok(vec![]));
    reader.set_chunk_size(1).expect("not zero");
    assert_eq!(read_all(&mut reader, &[[1; 28].as_slice(), &[0xc6, 9]].concat()), Ok(vec![]));
    assert_eq!(reader.partial_bytes(), 129);
}

#[test]
fn an_aborted_message_is_dropped_and_the_next_chunk_begins_another() {
    let mut reader = reader();
    let bytes = [full(6, 40, 200, 9), vec![1; 128]].concat();
    assert_eq!(read_all(&mut reader, &bytes), Ok(vec![]));
    reader.abort(7); // unknown
    reader.abort(6);
    assert_eq!(reader.partial_bytes(), 0);
    assert!(reader.is_idle());
    reader.abort(6); // idle
    // Format 3 inherits from the aborted message and adds its delta again.
    let bytes = [vec![0xc6], vec![2; 128], vec![0xc6], vec![2; 72]].concat();
    let read = read_all(&mut reader, &bytes).expect("legal chunks");
    assert_eq!((read[0].timestamp, &read[0].payload[..]), (80, &[2; 200][..]));
}

#[test]
fn empty_messages_are_messages() {
    let mut bytes = full(4, 5, 0, 8);
    bytes.push(0xc4);
    bytes.extend([0x84, 0, 0, 7]);
    bytes.extend([0x44, 0, 0, 1, 0, 0, 1, 9, 0xaa]);
    let empty = Vec::new;
    assert_eq!(messages(&bytes), [(5, 8, empty()), (10, 8, empty()), (17, 8, empty()), (18, 9, vec![0xaa])]);
}

#[test]
fn deltas_add_modulo_2_to_the_32() {
    let mut bytes = full(4, 100, 1, 8);
    bytes.push(1);
    // Back by 30, as a delta that wraps; then format 3 goes back again.
    bytes.extend([0x84, 0xff, 0xff, 0xff]);
    bytes.extend((30u32).wrapping_neg().to_be_bytes());
    bytes.push(2);
    bytes.push(0xc4);
    bytes.extend((30u32).wrapping_neg().to_be_bytes());
    bytes.push(3);
    assert_eq!(messages(&bytes), [(100, 8, vec![1]), (70, 8, vec![2]), (40, 8, vec![3])]);
}

/// The forms of old and of new writers, and payload that begins like the timestamp.
#[test]
fn an_extended_timestamp_in_format_3_is_taken_only_if_it_is_one() {
    let time: u32 = 0x0102_0304;
    let mut first = full(4, 0xff_ffff, 130, 8);
    first.extend(time.to_be_bytes());
    first.extend([9; 128]);
    let body = |tail: [u8; 2]| [&[9; 128][..], &tail].concat();
    let case = |rest: &[u8]| messages(&[&first[..], &[0xc4], rest].concat());
    assert_eq!(case(&[1, 2, 3, 4, 7, 7]), [(time, 8, body([7, 7]))], "repeated");
    assert_eq!(case(&[7, 7]), [(time, 8, body([7, 7]))], "left out");
    // Its last chunk begins like the timestamp, and another chunk follows.
    let next = full(5, 1, 1, 8);
    let read = case(&[&[1, 2][..], &next, &[6]].concat());
    assert_eq!(read, [(time, 8, body([1, 2])), (1, 8, vec![6])], "left out, but the first bytes look like it");
}

#[test]
fn after_a_delta_the_absolute_time_may_be_repeated_instead() {
    let delta: u32 = 0x0100_0000;
    for repeated in [delta, delta + 50] {
        let mut bytes = full(4, 50, 1, 8);
        bytes.push(1);
        bytes.extend([0x44, 0xff, 0xff, 0xff, 0, 0, 130, 8]);
        bytes.extend(delta.to_be_bytes());
        bytes.extend([9; 128]);
        bytes.push(0xc4);
        bytes.extend(repeated.to_be_bytes());
        bytes.extend([7, 7]);
        let long = [&[9; 128][..], &[7, 7]].concat();
        assert_eq!(messages(&bytes), [(50, 8, vec![1]), (delta + 50, 8, long)]);
    }
}

#[test]
fn a_field_of_ffffff_is_extended_and_a_smaller_one_ends_it() {
    let mut bytes = full(4, 0xff_ffff, 1, 8);
    bytes.extend([0, 0xff, 0xff, 0xff, 1]);
    bytes.extend([0x84, 0xff, 0xff, 0xfe, 2]);
    bytes.extend([0xc4, 3]);
    let times: Vec<u32> = messages(&bytes).into_iter().map(|(time, ..)| time).collect();
    assert_eq!(times, [0xff_ffff, 0x1ff_fffd, 0x2ff_fffb]);
}

#[test]
fn all_forms_of_an_id_name_the_same_chunk_stream() {
    // 64 as two bytes and as three: a message that begins in one form continues in the other.
    let head = full(0, 0, 130, 8);
    let mut bytes = vec![0, 0];
    bytes.extend(&head[1..]);
    bytes.extend([1; 128]);
    bytes.extend([0xc1, 0, 0, 2, 2]);
    let read = read_all(&mut reader(), &bytes).expect("legal chunks");
    assert_eq!((read[0].chunk_stream, read[0].payload.len()), (64, 130));
}

#[test]
fn idle_means_that_nothing_is_half_received() {
    let mut reader = reader();
    assert!(reader.is_idle());
    let bytes = [full(4, 0, 2, 8), vec![1, 2]].concat();
    for byte in bytes[..bytes.len() - 1].chunks(1) {
        assert_eq!(read_all(&mut reader, byte), Ok(vec![]));
        assert!(!reader.is_idle());
    }
    assert_eq!(read_all(&mut reader, &bytes[bytes.len() - 1..]).map(|messages| messages.len()), Ok(1));
    assert!(reader.is_idle());
}
