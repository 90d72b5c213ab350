/// What a proxy says before the client's own first byte, in front of TLS as well: the core reads it, here only its end
/// is found. What is none after all the core refuses.
#[derive(Debug)]
pub(crate) enum Preface {
    /// PROXY protocol 1: up to the end of the line.
    Line,
    /// Up to the length that it names: PROXY protocol 2, with so many bytes before it, and SRS's.
    Head(usize, Vec<u8>),
    /// So many bytes more.
    Rest(usize),
}

impl Preface {
    /// By its first byte.
    pub(crate) fn of(first: u8) -> Option<Self> {
        match first {
            b'P' => Some(Preface::Line),
            b'\r' => Some(Preface::Head(14, Vec::new())),
            0xF3 => Some(Preface::Head(1, Vec::new())),
            _ => None,
        }
    }

    /// How many of the next bytes belong to it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for byte in bytes {
            match self {
                Preface::Rest(0) => break,
                Preface::Rest(left) => *left -= 1,
                Preface::Line if *byte == b'\n' => *self = Preface::Rest(0),
                Preface::Line => {}
                Preface::Head(before, head) => {
                    head.push(*byte);
                    if let Some(&[high, low]) = head.get(*before..) {
                        *self = Preface::Rest(u16::from_be_bytes([high, low]).into());
                    }
                }
            }
            taken += 1;
        }
        taken
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Preface::Rest(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_end_is_found_wherever_it_is_cut() {
        let second = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[22; 12]].concat();
        for preface in [b"PROXY TCP4 192.0.2.1 192.0.2.2 5 1935\r\n", second.as_slice(), &[0xF3, 0, 4, 22, 22, 22, 22]]
        {
            let all = [preface, &[22, 3, 1]].concat();
            for cut in 1..all.len() {
                let mut parser = Preface::of(all[0]).expect("one");
                let mut taken = parser.take(&all[..cut]);
                assert_eq!((taken, parser.is_over()), (cut.min(preface.len()), cut >= preface.len()));
                taken += parser.take(&all[taken..]);
                assert_eq!((taken, parser.is_over()), (preface.len(), true));
            }
        }
        assert!([3, 6, 22].map(Preface::of).iter().all(Option::is_none));
    }
}
