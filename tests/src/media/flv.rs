use std::fs;
use std::path::Path;

/// A tag of an FLV file: the body of an RTMP message with its type and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Audio, video or data.
    pub kind: TagKind,
    /// Milliseconds.
    pub timestamp: u32,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Tag types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    /// 8.
    Audio,
    /// 9.
    Video,
    /// 18.
    Data,
}

impl Tag {
    /// True for a video tag that carries codec configuration.
    pub fn is_video_header(&self) -> bool {
        self.kind == TagKind::Video && self.body.get(1) == Some(&0)
    }

    /// True for codec configuration of H.264 or AAC.
    pub fn is_header(&self) -> bool {
        let is_aac = self.body.first().is_some_and(|byte| byte >> 4 == 10);
        self.is_video_header() || (self.kind == TagKind::Audio && is_aac && self.body.get(1) == Some(&0))
    }

    /// True for a video tag with a picture, of any kind.
    pub fn is_picture(&self) -> bool {
        self.kind == TagKind::Video && self.body.get(1) == Some(&1)
    }

    /// True for a picture that can be decoded without another.
    pub fn is_key_frame(&self) -> bool {
        self.is_picture() && self.body[0] >> 4 == 1
    }
}

/// The whole tags of an FLV file, which may still be growing.
///
/// # Panics
/// If it is not FLV.
pub fn tags(file: &Path) -> Vec<Tag> {
    whole_tags(file).0
}

/// The whole tags of an FLV file, and how many bytes of one that is cut off follow them.
///
/// # Panics
/// If it is not FLV.
pub fn whole_tags(file: &Path) -> (Vec<Tag>, usize) {
    let bytes = fs::read(file).unwrap_or_default();
    let mut tags = Vec::new();
    let Some((header, mut rest)) = bytes.split_at_checked(13) else {
        return (tags, bytes.len());
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
    assert_eq!((&header[..3], number(&header[5..9])), (&b"FLV"[..], 9), "{}", file.display());
    while let Some((header, body)) = rest.split_at_checked(11) {
        let length = number(&header[1..4]) as usize;
        // The tag's size follows its body.
        let Some((body, after)) = body.split_at_checked(length + 4) else {
            break;
        };
        assert_eq!(number(&body[length..]) as usize, length + 11, "tag {} of {}", tags.len(), file.display());
        let kind = match header[0] {
            8 => TagKind::Audio,
            9 => TagKind::Video,
            18 => TagKind::Data,
            other => panic!("tag {} of {} has type {other}", tags.len(), file.display()),
        };
        let timestamp = u32::from(header[7]) << 24 | number(&header[4..7]);
        tags.push(Tag { kind, timestamp, body: body[..length].to_vec() });
        rest = after;
    }
    (tags, rest.len())
}

/// The audio and video tags of an FLV file.
///
/// # Panics
/// If it is not FLV.
pub fn media_tags(file: &Path) -> Vec<Tag> {
    tags(file).into_iter().filter(|tag| tag.kind != TagKind::Data).collect()
}

/// Checks that a player got exactly the audio and video that was sent: types, times and every byte, in the same order,
/// from the first frame on. The headers before it may have another order and time, for a player gets those in force
/// there. Left out are the tags that librtmp throws away: video of five bytes (the end of sequence)
/// or less.
///
/// # Panics
/// At the first difference.
pub fn assert_same_media(sent: &Path, received: &Path) {
    let [mut sent, mut received] = [sent, received].map(media_tags);
    for tags in [&mut sent, &mut received] {
        tags.retain(|tag| tag.kind != TagKind::Video || tag.body.len() > 5);
    }
    assert_same_tags(&sent, &received);
}

/// The same of tags that were read already, with none of them left out but data.
///
/// # Panics
/// At the first difference.
pub fn assert_same_tags(sent: &[Tag], received: &[Tag]) {
    let [(sent_headers, sent), (received_headers, received)] = [sent, received].map(from_first_frame);
    assert_eq!(received_headers, sent_headers, "headers");
    let describe = |tag: Option<&Tag>| {
        tag.map(|tag| {
            let Tag { kind, timestamp, body } = tag;
            format!("{kind:?} at {timestamp} ms, {} bytes, {:02x?}", body.len(), &body[..body.len().min(12)])
        })
    };
    for index in 0..sent.len().max(received.len()) {
        let (sent, received) = (sent.get(index), received.get(index));
        assert!(sent == received, "tag {index}: sent {:?}, received {:?}", describe(sent), describe(received));
    }
}

/// The headers before the first frame, video first, and the audio and video from there.
fn from_first_frame(tags: &[Tag]) -> (Vec<Vec<u8>>, Vec<Tag>) {
    let mut tags: Vec<_> = tags.iter().filter(|tag| tag.kind != TagKind::Data).cloned().collect();
    let start = tags.iter().position(|tag| !tag.is_header());
    let rest = tags.split_off(start.expect("there are frames"));
    tags.sort_by_key(|tag| tag.kind != TagKind::Video);
    (tags.into_iter().map(|tag| tag.body).collect(), rest)
}
