//! The state of decoding one message body, shared by both formats.

use super::{AmfError, AmfString, Limits, MAX_DEPTH, amf3};

/// One message body while it is decoded: the bytes, the rest of the limits, and the reference tables.
///
/// References are resolved without keeping decoded values: the tables hold the place of each value in the body, and
/// a reference decodes those bytes again. The tables only grow, so the same bytes give the same value, if no value is
/// entered a second time ([`replay`](Self::replay) prevents that). A value decoded again is charged to the limits
/// again. A reference to a value that is not complete, or that contains the reference, gives null, so there are no
/// cycles.
#[derive(Clone)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    position: usize,
    limits: Limits,
    values_left: usize,
    bytes_left: usize,
    depth: usize,
    replaying: bool,
    amf0_values: Spans,
    pub(super) amf3: amf3::Tables,
}

crate::shown::debug_with_bytes!(Input<'_> { position, limits, depth; bytes });

/// The places in the body of the values that references can name, in the order in which they start.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    /// `None` while the value is being decoded.
    end: Option<usize>,
}

/// The entry of a value in a table of spans, if it has one.
#[derive(Debug)]
#[must_use]
pub(super) struct Entry(Option<usize>);

impl Spans {
    /// Where to decode again for entry `index`, named by a reference that starts at `from`; `None` if that value is not
    /// complete at `from`. The value must end before the reference starts: a value may end with the last byte of a
    /// reference to itself.
    fn resolve(&self, table: &'static str, index: usize, from: usize) -> Result<Option<usize>, AmfError> {
        let span = self.spans.get(index).ok_or(AmfError::BadReference { table, index, len: self.spans.len() })?;
        Ok(match span.end {
            Some(end) if end <= from => Some(span.start),
            _ => None,
        })
    }

    fn open(&mut self, start: usize) -> Entry {
        self.spans.push(Span { start, end: None });
        Entry(Some(self.spans.len() - 1))
    }

    fn close(&mut self, Entry(index): Entry, end: usize) {
        if let Some(span) = index.and_then(|index| self.spans.get_mut(index)) {
            span.end = Some(end);
        }
    }
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: &Limits) -> Self {
        let limits = Limits { depth: limits.depth.min(MAX_DEPTH), ..*limits };
        Self {
            bytes,
            position: 0,
            limits,
            values_left: limits.values,
            bytes_left: limits.bytes,
            depth: 0,
            replaying: false,
            amf0_values: Spans::default(),
            amf3: amf3::Tables::default(),
        }
    }

    /// The position of the next byte, in bytes from the start of the body.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    pub(super) fn left(&self) -> usize {
        self.rest().len()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    /// Whether the value being decoded is directly in the body: not in a container, and not decoded for a reference.
    pub(super) fn is_at_top(&self) -> bool {
        self.depth == 0 && !self.replaying
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.replaying
    }

    /// The next `length` bytes; `what` names them in the error if the body is too short.
    pub(super) fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], AmfError> {
        let rest = self.rest();
        let Some((taken, _)) = rest.split_at_checked(length) else {
            return Err(AmfError::Truncated { what, needed: length, left: rest.len() });
        };
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], AmfError> {
        let rest = self.rest();
        let Some((taken, _)) = rest.split_first_chunk::<N>() else {
            return Err(AmfError::Truncated { what, needed: N, left: rest.len() });
        };
        self.position += N;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, AmfError> {
        self.array(what).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, AmfError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(super) fn i16(&mut self, what: &'static str) -> Result<i16, AmfError> {
        self.array(what).map(i16::from_be_bytes)
    }

    /// A big-endian u32 that counts something.
    pub(super) fn count(&mut self, what: &'static str) -> Result<usize, AmfError> {
        self.array(what).map(u32::from_be_bytes).map(size)
    }

    pub(super) fn f64(&mut self, what: &'static str) -> Result<f64, AmfError> {
        self.array(what).map(f64::from_be_bytes)
    }

    /// Whether the next bytes are `expected`; skips them if so.
    pub(super) fn skip_if(&mut self, expected: &[u8]) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.position += expected.len();
        }
        found
    }

    /// The next `length` bytes as a string, charged to the limit on bytes.
    pub(super) fn string(&mut self, length: usize, what: &'static str) -> Result<AmfString, AmfError> {
        let bytes = self.take(length, what)?;
        self.charge_bytes(length)?;
        Ok(bytes.into())
    }

    pub(super) fn charge_bytes(&mut self, count: usize) -> Result<(), AmfError> {
        let left = self.bytes_left.checked_sub(count);
        self.bytes_left = left.ok_or(AmfError::TooManyBytes { limit: self.limits.bytes })?;
        Ok(())
    }

    pub(super) fn charge_values(&mut self, count: usize) -> Result<(), AmfError> {
        self.check_values(count)?;
        self.values_left -= count;
        Ok(())
    }

    /// Refuses `count` values that are not decoded yet if the limit has no room for them. Does not charge them.
    fn check_values(&self, count: usize) -> Result<(), AmfError> {
        if count > self.values_left {
            return Err(AmfError::TooManyValues { limit: self.limits.values });
        }
        Ok(())
    }

    /// Refuses a claim of `count` elements of at least `size` bytes each if the rest of the body cannot hold them or
    /// the limit has no room for them. Called before any allocation.
    pub(super) fn check_count(&self, count: usize, size: usize, what: &'static str) -> Result<(), AmfError> {
        let left = self.left();
        if count.checked_mul(size).is_none_or(|bytes| bytes > left) {
            return Err(AmfError::CountOverInput { what, count, left });
        }
        self.check_values(count)
    }

    /// Enters a container.
    pub(super) fn enter(&mut self) -> Result<(), AmfError> {
        if self.depth >= self.limits.depth {
            return Err(AmfError::TooDeep { limit: self.limits.depth });
        }
        self.depth += 1;
        Ok(())
    }

    /// Leaves the container that was entered last.
    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Enters the AMF 0 value that starts at `start` in the table of AMF 0 references.
    pub(super) fn open_amf0(&mut self, start: usize) -> Entry {
        if self.replaying {
            return Entry(None);
        }
        self.amf0_values.open(start)
    }

    pub(super) fn close_amf0(&mut self, entry: Entry) {
        self.amf0_values.close(entry, self.position);
    }

    /// The place of the AMF 0 value that the reference at `from` names; `None` if the value is not complete at `from`.
    pub(super) fn resolve_amf0(&self, index: usize, from: usize) -> Result<Option<usize>, AmfError> {
        self.amf0_values.resolve("0 value", index, from)
    }

    /// Enters the AMF 3 value that starts at `start` in the table of AMF 3 objects.
    pub(super) fn open_amf3(&mut self, start: usize) -> Entry {
        if self.replaying {
            return Entry(None);
        }
        self.amf3.objects.open(start)
    }

    pub(super) fn close_amf3(&mut self, entry: Entry) {
        self.amf3.objects.close(entry, self.position);
    }

    /// The place of the AMF 3 value that the reference at `from` names; `None` if the value is not complete at `from`.
    pub(super) fn resolve_amf3(&self, index: usize, from: usize) -> Result<Option<usize>, AmfError> {
        self.amf3.objects.resolve("3 object", index, from)
    }

    /// Decodes the value at `start` again, then restores the position.
    pub(super) fn replay<T>(
        &mut self,
        start: usize,
        decode: impl FnOnce(&mut Self) -> Result<T, AmfError>,
    ) -> Result<T, AmfError> {
        let (position, replaying) = (self.position, self.replaying);
        self.position = start;
        self.replaying = true;
        let decoded = decode(self);
        self.position = position;
        self.replaying = replaying;
        decoded
    }
}

/// A count from the wire as a size. If `usize` is narrower, the size saturates; no body is that long.
pub(super) fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The number of elements to allocate before they are read. Limited, because even if the body can hold `count`
/// elements, the first element may claim as many again, and so on with its first element.
pub(super) fn capacity(count: usize) -> usize {
    count.min(64)
}
