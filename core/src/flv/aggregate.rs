//! Aggregate messages (type 22, RTMP 1.0 §7.1.6): several messages in one, framed like FLV tags. Flash
//! Media Server edges send them; this server reads them and never sends any.

use super::{FlvError, tag, take};

/// Message type id of an aggregate.
const TYPE_AGGREGATE: u8 = 22;
/// Bytes of the back pointer after each message.
const BACK_POINTER_LENGTH: usize = 4;

/// One message of an aggregate. Its message stream is that of the aggregate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubMessage<'a> {
    /// Message type; never 22.
    pub type_id: u8,
    /// Milliseconds: the aggregate's timestamp plus the time since the aggregate's first message, modulo 2^32.
    pub timestamp: u32,
    /// Message body.
    pub payload: &'a [u8],
}

crate::shown::debug_with_bytes!(SubMessage<'_> { type_id, timestamp; payload });

/// Reads the messages of an aggregate whose own timestamp is `timestamp`, in milliseconds.
///
/// Back pointers are not checked, and the last one may be missing. A message that is cut off yields an error and
/// ends the iteration. A nested aggregate yields an error and is skipped.
pub fn parse(body: &[u8], timestamp: u32) -> Aggregate<'_> {
    Aggregate { rest: body, timestamp, first_timestamp: None }
}

/// Iterator over the messages of an aggregate. Each step is constant work.
#[derive(Clone)]
pub struct Aggregate<'a> {
    rest: &'a [u8],
    timestamp: u32,
    /// The first timestamp inside the aggregate. The others are relative to it.
    first_timestamp: Option<u32>,
}

crate::shown::debug_with_bytes!(Aggregate<'_> { timestamp, first_timestamp; rest });

impl<'a> Aggregate<'a> {
    fn read_next(&mut self) -> Result<SubMessage<'a>, FlvError> {
        // If an error ends the iteration below, later calls return `None`.
        let bytes = std::mem::take(&mut self.rest);
        let (header, bytes) = take::array(bytes, "header of a message in an aggregate")?;
        let (type_id, size, timestamp) = tag::fields(header);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some((payload, after)) = bytes.split_at_checked(size) else {
            return Err(FlvError::SubMessageTooLong { size, left: bytes.len() });
        };
        self.rest = after.get(BACK_POINTER_LENGTH..).unwrap_or_default();
        let first = *self.first_timestamp.get_or_insert(timestamp);
        if type_id == TYPE_AGGREGATE {
            return Err(FlvError::NestedAggregate);
        }
        Ok(SubMessage { type_id, timestamp: self.timestamp.wrapping_add(timestamp.wrapping_sub(first)), payload })
    }
}

impl<'a> Iterator for Aggregate<'a> {
    type Item = Result<SubMessage<'a>, FlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.read_next())
    }
}

impl std::iter::FusedIterator for Aggregate<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregate(messages: &[(u8, u32, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for &(type_id, timestamp, payload) in messages {
            tag::write_tag(type_id, timestamp, payload, &mut body).unwrap();
        }
        body
    }

    type Read<'a> = Result<(u8, u32, &'a [u8]), FlvError>;

    fn read(body: &[u8], timestamp: u32) -> Vec<Read<'_>> {
        parse(body, timestamp).map(|item| item.map(|m| (m.type_id, m.timestamp, m.payload))).collect()
    }

    #[test]
    fn timestamps_count_from_the_first_message_and_wrap() {
        let body = aggregate(&[(8, 0xFFFF_FFF0, b"a"), (9, 0x10, b"b"), (9, 0xFFFF_FFE0, b"c")]);
        assert_eq!(
            read(&body, 0xFFFF_FFFF),
            [Ok((8, 0xFFFF_FFFF, b"a".as_slice())), Ok((9, 0x1F, b"b")), Ok((9, 0xFFFF_FFEF, b"c")),]
        );
    }

    #[test]
    fn back_pointers_may_be_wrong_or_missing_at_the_end() {
        let mut body = aggregate(&[(8, 0, b"a"), (9, 5, b"b")]);
        body[12..16].copy_from_slice(&[0xEE; 4]);
        for missing in 0..=4 {
            assert_eq!(read(&body[..body.len() - missing], 0), [Ok((8, 0, b"a".as_slice())), Ok((9, 5, b"b"))]);
        }
    }

    #[test]
    fn an_aggregate_inside_is_skipped() {
        let inner = aggregate(&[(8, 0, b"x")]);
        let body = aggregate(&[(8, 0, b"a"), (22, 1, &inner), (9, 5, b"b")]);
        assert_eq!(
            read(&body, 100),
            [Ok((8, 100, b"a".as_slice())), Err(FlvError::NestedAggregate), Ok((9, 105, b"b")),]
        );
    }

    #[test]
    fn what_is_cut_off_ends_it_after_the_good_ones() {
        let body = aggregate(&[(8, 0, b"a"), (9, 5, b"bcd")]);
        let cut = &body[..body.len() - 6];
        let error = FlvError::SubMessageTooLong { size: 3, left: 1 };
        assert_eq!(read(cut, 0), [Ok((8, 0, b"a".as_slice())), Err(error)]);
        assert!(matches!(read(&body[..20], 0)[1], Err(FlvError::Truncated { left: 4, .. })));
    }
}
