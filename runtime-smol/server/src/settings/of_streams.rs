use std::collections::HashMap;

use anabranch_core::policy::{Application, Applications};
use anabranch_core::url::StreamKey;

/// Settings of one kind for all streams of a server: those of the defaults, of each virtual host, and of its
/// applications. Every part of the program that has settings for streams looks them up here, so a new kind of settings
/// needs only its section in `VhostSettings`.
#[derive(Debug, Clone, Default)]
pub(crate) struct OfStreams<T> {
    /// For virtual hosts that are not in the list.
    pub(crate) defaults: OfVhost<T>,
    /// By the name of the virtual host.
    pub(crate) vhosts: HashMap<String, OfVhost<T>>,
}

/// Those of one virtual host.
#[derive(Debug, Clone, Default)]
pub(crate) struct OfVhost<T> {
    /// For its connections, and for streams that no application matches.
    pub(crate) own: T,
    pub(crate) applications: Applications<T>,
}

impl<T> OfStreams<T> {
    /// The settings of a virtual host.
    pub(crate) fn vhost(&self, name: &str) -> &T {
        &self.vhosts.get(name).unwrap_or(&self.defaults).own
    }

    /// The settings of a stream.
    pub(crate) fn stream(&self, key: &StreamKey) -> &T {
        let vhost = self.vhosts.get(key.vhost()).unwrap_or(&self.defaults);
        vhost.applications.of(key).map_or(&vhost.own, |application| &application.settings)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_place().map(|(.., settings)| settings)
    }

    /// All of them, with the name of the virtual host (an empty name for the defaults), and with that of the application
    /// if they are of one.
    pub(crate) fn by_place(&self) -> impl Iterator<Item = (&str, Option<String>, &T)> {
        let vhosts = self.vhosts.iter().map(|(name, vhost)| (name.as_str(), vhost)).chain([("", &self.defaults)]);
        vhosts.flat_map(|(name, vhost)| {
            let applications = vhost.applications.iter().map(|one| (Some(one.name()), &one.settings));
            applications.chain([(None, &vhost.own)]).map(move |(application, settings)| (name, application, settings))
        })
    }

    /// Other values for the same streams.
    ///
    /// # Errors
    /// The first that `f` returns.
    pub(crate) fn try_map<U, E>(&self, mut f: impl FnMut(&T) -> Result<U, E>) -> Result<OfStreams<U>, E> {
        let defaults = self.defaults.try_map(&mut f)?;
        let vhosts = self.vhosts.iter().map(|(name, vhost)| Ok((name.clone(), vhost.try_map(&mut f)?)));
        Ok(OfStreams { defaults, vhosts: vhosts.collect::<Result<_, E>>()? })
    }
}

impl<T> OfVhost<T> {
    fn try_map<U, E>(&self, f: &mut impl FnMut(&T) -> Result<U, E>) -> Result<OfVhost<U>, E> {
        let own = f(&self.own)?;
        let mut list = Vec::new();
        for one in self.applications.iter() {
            list.push(Application { streams: one.streams.clone(), settings: f(&one.settings)? });
        }
        Ok(OfVhost { own, applications: Applications::new(list) })
    }
}
