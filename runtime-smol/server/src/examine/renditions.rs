use anabranch_program::Fault;

use super::Grade;
use super::parts::Found;
use crate::settings::rendition_fault;
use crate::settings::tree::Path;
use crate::settings::vhost::VhostSettings;

impl Found<'_> {
    /// The other qualities of streams.
    pub(super) fn renditions(&mut self) {
        let settings = &self.loaded().settings;
        let vhosts = settings.vhost.iter().enumerate();
        let vhosts = vhosts.map(|(index, vhost)| (Path::of(&["vhost"]).index(index), &vhost.settings));
        for (path, host) in [(Path::of(&["defaults"]), &settings.defaults)].into_iter().chain(vhosts) {
            self.renditions_of(&path, host, host);
            for (index, application) in host.application.iter().enumerate() {
                self.renditions_of(&host.place_of_application(&path, index), &application.settings, host);
            }
        }
    }

    /// The qualities of streams that have these settings in a virtual host.
    fn renditions_of(&mut self, path: &Path, settings: &VhostSettings, host: &VhostSettings) {
        let (list, path) = (&settings.hls.renditions, path.key("hls").key("renditions"));
        if let Some(words) = rendition_fault(list) {
            let fault = Fault::new(words, "write what comes behind the name, such as [\"_720p\", \"_480p\"]");
            return self.add(Grade::Fault, path, fault);
        }
        let rules = |one: &VhostSettings| serde_json::to_string(&(&one.security, &one.refer, &one.token)).ok();
        for end in list {
            let apart = host.application.iter().filter(|other| rules(&other.settings) != rules(settings));
            let mut streams = apart.flat_map(|other| &other.streams).map(|pattern| pattern.0.to_string());
            if let Some(pattern) = streams.find(|pattern| pattern.ends_with(end.as_str())) {
                let words = format!("{pattern} has rules that do not hold for those that view it as a quality");
                let cure = "give the stream whose quality it is the same rules, or take it out of the list";
                self.add(Grade::Warning, path.clone(), Fault::new(words, cure));
            }
        }
    }
}
