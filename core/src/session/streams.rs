/// The message streams of one connection.
#[derive(Debug, Default)]
pub(super) struct MessageStreams {
    list: Vec<MessageStream>,
    last_id: u32,
}

#[derive(Debug)]
struct MessageStream {
    id: u32,
    activity: Activity,
    /// The name published or played, as sent.
    name: Box<str>,
}

/// The use of a message stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    Idle,
    Publishing,
    Playing,
}

impl MessageStreams {
    /// A new stream with the next id, from 1 on; `None` at the limit.
    ///
    /// The id is never 0 (GStreamer's rtmp2 refuses it), and the first is always 1: shared frames are encoded for 1.
    pub(super) fn create(&mut self, limit: usize) -> Option<u32> {
        if self.list.len() >= limit {
            return None;
        }
        let id = self.lowest_free();
        self.last_id = id;
        // Nearly every connection has one stream.
        self.list.reserve_exact(1);
        self.list.push(MessageStream { id, activity: Activity::Idle, name: Box::default() });
        Some(id)
    }

    /// The stream of a message with `id`. Clients that misread the createStream answer, or never sent createStream, use
    /// 0: that can only mean the one stream there is.
    pub(super) fn resolve(&self, id: u32) -> Option<u32> {
        match self.list.as_slice() {
            [only] if id == 0 => Some(only.id),
            _ => Some(self.meant(id)).filter(|id| self.has(*id)),
        }
    }

    /// The id that a message means: some clients write it big-endian, 1 as 0x01000000. It is read so if no stream has
    /// the id as received.
    fn meant(&self, id: u32) -> u32 {
        let swapped = id.swap_bytes();
        if !self.has(id) && self.has(swapped) { swapped } else { id }
    }

    fn has(&self, id: u32) -> bool {
        self.list.iter().any(|stream| stream.id == id)
    }

    /// The publishing stream that media on `id` belongs to.
    pub(super) fn publishing(&self, id: u32) -> Option<u32> {
        let mut publishing = self.list.iter().filter(|stream| stream.activity == Activity::Publishing);
        let id = self.meant(id);
        match (publishing.clone().find(|stream| stream.id == id), publishing.next(), publishing.next()) {
            (Some(stream), _, _) | (None, Some(stream), None) => Some(stream.id),
            _ => None,
        }
    }

    /// The publishing stream of this name, or the only one if none has it: FCUnpublish may name another key than
    /// publish did.
    pub(super) fn published_as(&self, name: &str) -> Option<u32> {
        let mut publishing = self.list.iter().filter(|stream| stream.activity == Activity::Publishing);
        match (publishing.clone().find(|stream| &*stream.name == name), publishing.next(), publishing.next()) {
            (Some(stream), _, _) | (None, Some(stream), None) => Some(stream.id),
            _ => None,
        }
    }

    pub(super) fn activity(&self, id: u32) -> Activity {
        self.list.iter().find(|stream| stream.id == id).map_or(Activity::Idle, |stream| stream.activity)
    }

    pub(super) fn begin(&mut self, id: u32, activity: Activity, name: &str) {
        if let Some(stream) = self.list.iter_mut().find(|stream| stream.id == id) {
            stream.activity = activity;
            stream.name = name.into();
        }
    }

    /// Makes the stream idle; returns its earlier use.
    pub(super) fn end(&mut self, id: u32) -> Option<Activity> {
        let stream = self.list.iter_mut().find(|stream| stream.id == id)?;
        Some(std::mem::replace(&mut stream.activity, Activity::Idle))
    }

    pub(super) fn delete(&mut self, id: u32) {
        self.list.retain(|stream| stream.id != id);
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        self.list.iter().map(|stream| stream.id).collect()
    }

    /// A stream that publishes, otherwise one that plays.
    pub(super) fn active(&self) -> Option<(u32, Activity)> {
        let does =
            |what: Activity| self.list.iter().find(|stream| stream.activity == what).map(|stream| (stream.id, what));
        does(Activity::Publishing).or_else(|| does(Activity::Playing))
    }

    pub(super) fn any_publishing(&self) -> bool {
        self.list.iter().any(|stream| stream.activity == Activity::Publishing)
    }

    pub(super) fn any_playing(&self) -> bool {
        self.list.iter().any(|stream| stream.activity == Activity::Playing)
    }

    pub(super) fn any_active(&self) -> bool {
        self.list.iter().any(|stream| stream.activity != Activity::Idle)
    }

    fn lowest_free(&self) -> u32 {
        (1..).find(|id| self.list.iter().all(|stream| stream.id != *id)).unwrap_or(u32::MAX)
    }
}
