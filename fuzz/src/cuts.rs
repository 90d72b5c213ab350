//! How the input of a target says where the rest of it is cut, and what else to do with it.

/// The first byte, which is taken; 0 where there is none.
pub(crate) fn take_byte(input: &mut &[u8]) -> u8 {
    let Some((&first, rest)) = input.split_first() else {
        return 0;
    };
    *input = rest;
    first
}

/// The sizes of pieces, over and over until the input ends.
#[derive(Debug, Clone)]
pub(crate) struct Cuts {
    sizes: Vec<usize>,
}

impl Cuts {
    /// Takes the cuts from the front of `input`: how many sizes follow, 0 to 7, then a byte each. Small sizes are
    /// themselves, for cuts inside headers; large ones count in steps.
    pub(crate) fn take(input: &mut &[u8]) -> Cuts {
        let count = usize::from(take_byte(input) % 8).min(input.len());
        let (sizes, rest) = input.split_at(count);
        *input = rest;
        let size = |byte: &u8| match usize::from(*byte) {
            small @ 0..=199 => small + 1,
            large => (large - 199) * 150,
        };
        Cuts { sizes: sizes.iter().map(size).collect() }
    }

    /// `bytes` in pieces, at least one; whole without any sizes.
    pub(crate) fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut rest = bytes;
        let mut pieces = Vec::new();
        for size in self.sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*size));
            rest = after;
            pieces.push(piece);
        }
        if !rest.is_empty() || pieces.is_empty() {
            pieces.push(rest);
        }
        pieces
    }
}
