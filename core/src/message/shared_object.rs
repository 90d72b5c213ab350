use thiserror::Error;

/// A shared object message (RTMP 1.0 §7.1.3): types 19 and 16.
///
/// A live server keeps no shared objects. This type is for logs and tools.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedObject<'a> {
    /// Name of the object, raw bytes.
    pub name: &'a [u8],
    /// The sender's version of the object.
    pub version: u32,
    /// True if the object outlives its clients.
    pub persistent: bool,
    /// The events of the object, in order.
    pub events: Vec<SharedObjectEvent<'a>>,
}

crate::shown::debug_with_bytes!(SharedObject<'_> { version, persistent, events; name });

/// One event of a [`SharedObject`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SharedObjectEvent<'a> {
    /// 1 use, 2 release, 3 request change, 4 change, 5 success, 6 message, 7 status, 8 clear, 9 remove,
    /// 10 request remove, 11 use success.
    pub kind: u8,
    /// The data of the event.
    pub data: &'a [u8],
}

crate::shown::debug_with_bytes!(SharedObjectEvent<'_> { kind; data });

/// The body of a shared object message is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("shared object message is cut off")]
pub struct SharedObjectError;

impl<'a> SharedObject<'a> {
    /// Most events read from one message; the rest is ignored.
    pub const MAX_EVENTS: usize = 256;

    /// Reads the body of a message of type 19, or of type 16 after its format byte.
    ///
    /// # Errors
    /// A body that ends inside a field.
    pub fn parse(body: &'a [u8]) -> Result<Self, SharedObjectError> {
        let (length, rest) = body.split_first_chunk().ok_or(SharedObjectError)?;
        let name_length = usize::from(u16::from_be_bytes(*length));
        let (name, rest) = rest.split_at_checked(name_length).ok_or(SharedObjectError)?;
        let (version, rest) = rest.split_first_chunk().ok_or(SharedObjectError)?;
        let (flags, rest) = rest.split_first_chunk().ok_or(SharedObjectError)?;
        let (_, mut rest) = rest.split_first_chunk::<4>().ok_or(SharedObjectError)?;
        let mut events = Vec::new();
        while let (false, Some((&kind, after))) = (events.len() == Self::MAX_EVENTS, rest.split_first()) {
            let (length, after) = after.split_first_chunk().ok_or(SharedObjectError)?;
            let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SharedObjectError)?;
            let (data, after) = after.split_at_checked(length).ok_or(SharedObjectError)?;
            events.push(SharedObjectEvent { kind, data });
            rest = after;
        }
        let flags = u32::from_be_bytes(*flags);
        Ok(SharedObject { name, version: u32::from_be_bytes(*version), persistent: flags & 2 != 0, events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_list() {
        let body =
            b"\x00\x04chat\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x01\x00\x00\x00\x00\x06\x00\x00\x00\x02ab";
        let whole = SharedObject::parse(body).unwrap();
        assert_eq!((whole.name, whole.version, whole.persistent), (&b"chat"[..], 1, true));
        assert_eq!(whole.events[1], SharedObjectEvent { kind: 6, data: b"ab" });
        let header = 18;
        for cut in 0..body.len() {
            let whole_events = cut == header || cut == header + 5;
            assert_eq!(SharedObject::parse(&body[..cut]).is_ok(), whole_events, "cut at {cut}");
        }
    }
}
