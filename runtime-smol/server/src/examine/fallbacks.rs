use anabranch_core::conn::{Fallback, FallbackOf};
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
use anabranch_host::check_fallback;
use anabranch_program::Fault;

use super::Grade;
use super::parts::Found;
use crate::settings::tree::Path;
use crate::settings::vhost::VhostSettings;

impl Found<'_> {
    /// The fallbacks of streams: files that can be played, and streams that have no further fallback.
    pub(super) fn fallbacks(&mut self) {
        let settings = &self.loaded().settings;
        let vhosts = settings.vhost.iter().enumerate();
        let vhosts = vhosts.map(|(index, vhost)| (Path::of(&["vhost"]).index(index), &vhost.settings));
        for (path, host) in [(Path::of(&["defaults"]), &settings.defaults)].into_iter().chain(vhosts) {
            self.fallback(&path, host, host);
            for (index, application) in host.application.iter().enumerate() {
                self.fallback(&host.place_of_application(&path, index), &application.settings, host);
            }
        }
    }

    /// The fallback of streams that have these settings in a virtual host.
    fn fallback(&mut self, path: &Path, settings: &VhostSettings, host: &VhostSettings) {
        let (grade, fault) = match settings.play.fallback() {
            Ok(Some(Fallback::File(file))) => match check_fallback(&file) {
                Ok(()) => return,
                Err(words) => {
                    let cure = "name a FLV file that begins with a key frame; until then it is tried again and again";
                    (Grade::Warning, Fault::new(words, cure))
                }
            },
            Ok(Some(fallback @ Fallback::Stream(_))) => {
                // The name of the stream that falls back does not matter, as long as it is another one.
                let any = StreamKey::new(DEFAULT_VHOST, "_", "_");
                let Some(FallbackOf::Stream(other)) = any.ok().and_then(|any| fallback.of(&any)) else {
                    return;
                };
                let applications = host.applications();
                let of_other = applications.of(&other).map_or(host, |one| &one.settings.1.settings);
                let further = of_other.play.fallback().ok().flatten().and_then(|further| further.of(&other));
                if further.is_none() {
                    return;
                }
                let words = format!("{}/{} has a fallback itself", other.app(), other.stream());
                let cure = "name a stream that has none: fallbacks do not follow each other";
                (Grade::Fault, Fault::new(words, cure))
            }
            Ok(None) | Err(_) => return,
        };
        self.add(grade, path.key("play").key("fallback"), fault);
    }
}
