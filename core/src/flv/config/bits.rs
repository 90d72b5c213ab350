/// Reads bits, most significant first, from the front of a slice. Past the end every read is `None`.
#[derive(Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits of `bytes[0]` already read, 0..=7.
    used: u32,
    /// In a NAL unit, zero bytes in a row just before `bytes[0]`; `None` outside of NAL units.
    zeros: Option<u32>,
}

crate::shown::debug_with_bytes!(BitReader<'_> { used, zeros; bytes });

impl<'a> BitReader<'a> {
    /// Reads the bytes as they are.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, used: 0, zeros: None }
    }

    /// Reads a NAL unit without its emulation prevention bytes (H.264 §7.4.1.1, H.265 §7.4.2).
    pub(super) fn nal_unit(bytes: &'a [u8]) -> Self {
        Self { zeros: Some(0), ..Self::new(bytes) }
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let (&byte, rest) = self.bytes.split_first()?;
        let bit = byte & (0x80 >> self.used) != 0;
        self.used += 1;
        if self.used == 8 {
            self.used = 0;
            self.bytes = rest;
            if let Some(zeros) = self.zeros {
                let zeros = if byte == 0 { zeros + 1 } else { 0 };
                let emulation = zeros >= 2 && rest.first() == Some(&3);
                self.bytes = if emulation { rest.get(1..)? } else { rest };
                // More than two zero bytes make no difference, and the count cannot overflow.
                self.zeros = Some(if emulation { 0 } else { zeros.min(2) });
            }
        }
        Some(bit)
    }

    /// A number of up to 32 bits.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    /// A number of up to 8 bits.
    pub(super) fn small(&mut self, count: u32) -> Option<u8> {
        u8::try_from(self.bits(count)?).ok()
    }

    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        for _ in 0..count {
            self.bit()?;
        }
        Some(())
    }

    /// An unsigned Exp-Golomb number, `ue(v)` (H.264 §9.1). `None` also for those beyond 32 bits.
    pub(super) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        // At most 31 further bits below the leading one: no overflow.
        Some((1 << zeros) - 1 + self.bits(zeros)?)
    }

    /// A signed Exp-Golomb number, `se(v)` (H.264 §9.1.1).
    pub(super) fn signed_exp_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.exp_golomb()?);
        Some(if code % 2 == 0 { -(code / 2) } else { code / 2 + 1 })
    }

    /// Remaining bits.
    pub(super) fn remaining_bits(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(usize::try_from(self.used).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_those_of_the_standard() {
        // 1, 010, 011, 00100, 00111: code numbers 0, 1, 2, 3, 6
        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0011, 0b1000_0000]);
        for expected in [0, 1, 2, 3, 6] {
            assert_eq!(bits.exp_golomb(), Some(expected));
        }
        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0011, 0b1000_0000]);
        for expected in [0, 1, -1, 2, -3] {
            assert_eq!(bits.signed_exp_golomb(), Some(expected));
        }
        assert_eq!(BitReader::new(&[0; 8]).exp_golomb(), None);
        let longest = [0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(BitReader::new(&longest).exp_golomb(), Some(u32::MAX - 1));
    }

    #[test]
    fn emulation_prevention_is_left_out_only_in_nal_units() {
        let bytes = [0, 0, 3, 0, 0, 3, 1, 0, 3];
        let mut nal_unit = BitReader::nal_unit(&bytes);
        let read: Vec<_> = std::iter::from_fn(|| nal_unit.bits(8)).collect();
        assert_eq!(read, [0, 0, 0, 0, 1, 0, 3]);
        let mut plain = BitReader::new(&bytes);
        let read: Vec<_> = std::iter::from_fn(|| plain.small(8)).collect();
        assert_eq!(read, bytes);
    }
}
