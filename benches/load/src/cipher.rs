//! What the cipher of TLS takes alone: the bytes of a stream, encrypted for each player with its key, in records as a
//! server makes them. Nothing is sent.

use std::io;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use nix::time::ClockId;
use serde_json::{Value, json};

use crate::limit::Stream;
use crate::media::MediaOptions;

/// Most bytes of content in a record.
const RECORD: usize = 16 << 10;
/// The head of a record, which is authenticated with it.
const HEAD: usize = 5;

/// What it took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CipherCost {
    /// Seconds of CPU to copy the bytes and to encrypt them.
    pub cpu: f64,
    /// Seconds of these for the copy: each player's bytes need a place, since all have the same ones before.
    pub copy: f64,
    /// Bytes of records.
    pub bytes: u64,
    /// Records.
    pub records: u64,
}

impl CipherCost {
    /// Encrypts so much of a stream, as far apart as a server sends it, for so many players.
    ///
    /// # Errors
    /// The cipher fails, or the clock does.
    pub fn measure(media: &MediaOptions, window: Duration, players: u32, duration: Duration) -> io::Result<Self> {
        let now = Instant::now();
        let (mut stream, mut until) = (Stream::new(media, now), now);
        let mut writes = Vec::new();
        while until < now + duration {
            until += window.max(Duration::from_millis(1));
            let begin = stream.end();
            while stream.due() <= until {
                stream.advance();
            }
            if stream.end() > begin {
                writes.push(stream.from(begin).to_vec());
            }
        }
        let mut secret = [0; 32];
        let keys = (0..players).map(|number| {
            secret[..4].copy_from_slice(&number.to_be_bytes());
            UnboundKey::new(&AES_256_GCM, &secret).map(LessSafeKey::new).map_err(io::Error::other)
        });
        let keys = keys.collect::<io::Result<Vec<_>>>()?;
        let mut cost = CipherCost { cpu: 0.0, copy: 0.0, bytes: 0, records: 0 };
        let mut buffer = Vec::with_capacity(RECORD + 256);
        for encrypts in [true, false] {
            let before = ClockId::CLOCK_THREAD_CPUTIME_ID.now()?;
            for write in &writes {
                for key in &keys {
                    for content in write.chunks(RECORD) {
                        buffer.clear();
                        buffer.extend_from_slice(content);
                        std::hint::black_box(&mut buffer);
                        if encrypts {
                            seal(key, cost.records, &mut buffer)?;
                            cost.bytes += (HEAD + buffer.len()) as u64;
                            cost.records += 1;
                        }
                    }
                }
            }
            let took = Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now()? - before).as_secs_f64();
            *(if encrypts { &mut cost.cpu } else { &mut cost.copy }) = took;
        }
        Ok(cost)
    }

    /// Seconds of CPU for each GB (10^9 bytes).
    pub fn per_gigabyte(&self) -> f64 {
        self.cpu / (self.bytes.max(1) as f64 / 1e9)
    }

    /// For programs to read.
    pub fn to_json(&self) -> Value {
        json!({
            "cpu_seconds": self.cpu,
            "cpu_seconds_copying": self.copy,
            "cpu_seconds_per_gigabyte": self.per_gigabyte(),
            "bytes": self.bytes,
            "records": self.records,
        })
    }
}

fn seal(key: &LessSafeKey, number: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    // The type of the content ends it.
    buffer.push(23);
    let length = (buffer.len() + AES_256_GCM.tag_len()) as u16;
    let mut head = [23, 3, 3, 0, 0];
    head[3..].copy_from_slice(&length.to_be_bytes());
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(head), buffer).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_of_the_stream_are_encrypted_for_each_player() {
        let media = MediaOptions { bitrate: 8_000_000, audio: 0, ..MediaOptions::default() };
        let measure = |players| {
            let window = Duration::from_millis(100);
            CipherCost::measure(&media, window, players, Duration::from_secs(4)).expect("it encrypts")
        };
        let (one, three) = (measure(1), measure(3));
        assert_eq!((one.bytes * 3, one.records * 3), (three.bytes, three.records));
        // 4 MB, in writes of 100 KB, and a record adds 22 bytes.
        assert!((3_600_000..4_400_000).contains(&one.bytes), "{one:?}");
        assert!((one.bytes / RECORD as u64..one.bytes / 12_000).contains(&one.records), "{one:?}");
    }
}
