//! Bytes in `Debug` output: how many there are, and the first of them. A value that holds media is so shown in one line,
//! whatever its size.

use std::fmt;

/// The number of bytes that are shown.
const FIRST: usize = 16;

/// Shows bytes as their number and the first of them.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.0[..self.0.len().min(FIRST)];
        let dots = if first.len() < self.0.len() { " ..." } else { "" };
        write!(f, "{} bytes {first:02x?}{dots}", self.0.len())
    }
}

/// Implements `Debug` for a struct that holds bytes: the fields before the semicolon as they are, those behind it as
/// [`Shown`].
macro_rules! debug_with_bytes {
    ($name:ident $(<$life:lifetime>)? { $($field:ident),* ; $($bytes:ident),* }) => {
        impl std::fmt::Debug for $name $(<$life>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &self.$field))*
                    $(.field(stringify!($bytes), &$crate::shown::Shown(&self.$bytes[..])))*
                    .finish()
            }
        }
    };
}

pub(crate) use debug_with_bytes;
