use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use thiserror::Error;

use super::Refusal;
use crate::url::DEFAULT_VHOST;

/// The virtual hosts of a server and the settings of each.
///
/// The host name that a client sends is looked up as it is, in any ASCII case; there are no wildcards. An unknown name
/// means the virtual host called [`DEFAULT_VHOST`] (as its name or one of its aliases), if there is one: then *its*
/// name replaces the client's, and all unknown names share its streams, as in SRS.
///
/// ```
/// use anabranch_core::policy::{Resolved, Vhost, Vhosts};
/// use anabranch_core::url::DEFAULT_VHOST;
///
/// let vhosts = Vhosts::new([
///     Vhost { aliases: vec!["www.example.com".to_owned()], ..Vhost::new("example.com", "the site") },
///     Vhost::new(DEFAULT_VHOST, "the rest"),
/// ])?;
/// assert_eq!(vhosts.resolve("WWW.example.com"), Resolved::Found("example.com", &"the site"));
/// assert_eq!(vhosts.resolve("192.0.2.1"), Resolved::Default(DEFAULT_VHOST, &"the rest"));
/// # Ok::<(), anabranch_core::policy::VhostError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vhosts<T> {
    vhosts: Vec<Vhost<T>>,
    /// Names and aliases in lower case, each with the position of its virtual host.
    names: BTreeMap<String, usize>,
    default: Option<usize>,
}

/// One virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vhost<T> {
    /// Its name, which is also in the names of its streams.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// Whether clients may connect. A disabled virtual host keeps its names: clients that send them do not get the
    /// default one.
    pub enabled: bool,
    /// The settings for its clients and streams.
    pub settings: T,
}

impl<T> Vhost<T> {
    /// An enabled virtual host without aliases.
    pub fn new(name: impl Into<String>, settings: T) -> Self {
        Vhost { name: name.into(), aliases: Vec::new(), enabled: true, settings }
    }
}

/// Why some virtual hosts cannot be those of one server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VhostError {
    /// No client can send this name: it is empty, `.` or `..`, or has a slash, a blank or a control character.
    #[error("{name:?} cannot be the name of a virtual host")]
    Invalid {
        /// The name or alias.
        name: String,
    },
    /// A name or alias is given twice; upper and lower case make no difference.
    #[error("the name {name:?} is given to the virtual hosts {first:?} and {second:?}")]
    Duplicate {
        /// The name or alias.
        name: String,
        /// The virtual host that had it first.
        first: String,
        /// The virtual host that has it too; it can be the same one.
        second: String,
    },
}

/// What the name that a client sent stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved<'a, T> {
    /// The virtual host that has the name: its own name in lower case, and its settings.
    Found(&'a str, &'a T),
    /// The virtual host for unknown names: its own name in lower case, and its settings.
    Default(&'a str, &'a T),
    /// The name's virtual host, or the one for unknown names, is switched off.
    Disabled,
    /// No virtual host has the name, and there is none for unknown names.
    Unknown,
}

impl<'a, T> Resolved<'a, T> {
    /// The name and the settings that hold for the client from here on.
    ///
    /// # Errors
    /// [`Refusal::VhostDisabled`] and [`Refusal::VhostUnknown`].
    pub fn accepted(self) -> Result<(&'a str, &'a T), Refusal> {
        match self {
            Resolved::Found(name, settings) | Resolved::Default(name, settings) => Ok((name, settings)),
            Resolved::Disabled => Err(Refusal::VhostDisabled),
            Resolved::Unknown => Err(Refusal::VhostUnknown),
        }
    }
}

impl<T> Default for Vhosts<T> {
    /// No virtual hosts.
    fn default() -> Self {
        Vhosts { vhosts: Vec::new(), names: BTreeMap::new(), default: None }
    }
}

impl<T> Vhosts<T> {
    /// Collects the virtual hosts of a server. Without any, every name is unknown.
    ///
    /// # Errors
    /// See [`VhostError`].
    pub fn new(vhosts: impl IntoIterator<Item = Vhost<T>>) -> Result<Self, VhostError> {
        let mut this = Vhosts::default();
        for mut vhost in vhosts {
            this.claim(&vhost)?;
            vhost.name = canonical(&vhost.name).into_owned();
            this.vhosts.push(vhost);
        }
        Ok(this)
    }

    /// A server without configured virtual hosts: every name is [`DEFAULT_VHOST`].
    pub fn only(settings: T) -> Self {
        Vhosts {
            vhosts: vec![Vhost::new(DEFAULT_VHOST, settings)],
            names: BTreeMap::from([(DEFAULT_VHOST.to_owned(), 0)]),
            default: Some(0),
        }
    }

    /// Looks up the virtual host for a name that a client sent.
    pub fn resolve(&self, name: &str) -> Resolved<'_, T> {
        let (position, found) = match self.names.get(&*canonical(name)) {
            Some(position) => (Some(*position), true),
            None => (self.default, false),
        };
        match position.and_then(|position| self.vhosts.get(position)) {
            None => Resolved::Unknown,
            Some(vhost) if !vhost.enabled => Resolved::Disabled,
            Some(vhost) if found => Resolved::Found(&vhost.name, &vhost.settings),
            Some(vhost) => Resolved::Default(&vhost.name, &vhost.settings),
        }
    }

    /// The same names with other settings.
    pub fn map<U>(&self, mut settings: impl FnMut(&Vhost<T>) -> U) -> Vhosts<U> {
        let vhosts = self.vhosts.iter().map(|vhost| Vhost {
            name: vhost.name.clone(),
            aliases: vhost.aliases.clone(),
            enabled: vhost.enabled,
            settings: settings(vhost),
        });
        Vhosts { vhosts: vhosts.collect(), names: self.names.clone(), default: self.default }
    }

    /// True if there are no virtual hosts.
    pub fn is_empty(&self) -> bool {
        self.vhosts.is_empty()
    }

    /// The virtual hosts in the order they were given, disabled ones too.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Vhost<T>> {
        self.vhosts.iter()
    }

    /// Enters the names of the next virtual host.
    fn claim(&mut self, vhost: &Vhost<T>) -> Result<(), VhostError> {
        let position = self.vhosts.len();
        for name in std::iter::once(&vhost.name).chain(&vhost.aliases) {
            let odd = |c: char| c == '/' || c.is_whitespace() || c.is_control();
            if matches!(name.as_str(), "" | "." | "..") || name.contains(odd) {
                return Err(VhostError::Invalid { name: name.clone() });
            }
            match self.names.entry(canonical(name).into_owned()) {
                Entry::Vacant(entry) => {
                    if entry.key() == DEFAULT_VHOST {
                        self.default = Some(position);
                    }
                    entry.insert(position);
                }
                Entry::Occupied(entry) => {
                    let first = self.vhosts.get(*entry.get()).unwrap_or(vhost);
                    let (first, second) = (first.name.clone(), vhost.name.clone());
                    return Err(VhostError::Duplicate { name: name.clone(), first, second });
                }
            }
        }
        Ok(())
    }
}

/// Lower case, except [`DEFAULT_VHOST`], which is written with an upper case letter everywhere.
fn canonical(name: &str) -> Cow<'_, str> {
    if name.eq_ignore_ascii_case(DEFAULT_VHOST) {
        DEFAULT_VHOST.into()
    } else if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vhost(name: &str, aliases: &[&str], enabled: bool) -> Vhost<String> {
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        Vhost { aliases, enabled, ..Vhost::new(name, format!("settings of {name}")) }
    }

    fn resolve(vhosts: &[Vhost<String>], name: &str) -> String {
        match Vhosts::new(vhosts.iter().cloned()).unwrap().resolve(name) {
            Resolved::Found(name, settings) => format!("{name} with {settings}"),
            Resolved::Default(name, settings) => format!("default {name} with {settings}"),
            Resolved::Disabled => "disabled".to_owned(),
            Resolved::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn names_resolve_to_virtual_hosts() {
        let vhosts = [vhost("A.com", &["w.a.com", "10.0.0.1"], true), vhost("off.com", &["o.com"], false)];
        for (name, expected) in [
            ("a.com", "a.com with settings of A.com"),
            ("A.COM", "a.com with settings of A.com"),
            ("W.a.com", "a.com with settings of A.com"),
            ("10.0.0.1", "a.com with settings of A.com"),
            ("x.a.com", "unknown"),
            ("off.com", "disabled"),
            ("O.com", "disabled"),
            ("", "unknown"),
            (DEFAULT_VHOST, "unknown"),
        ] {
            assert_eq!(resolve(&vhosts, name), expected, "{name}");
        }
    }

    #[test]
    fn unknown_names_are_the_default_if_there_is_one() {
        let own = [vhost("a.com", &[], true), vhost(DEFAULT_VHOST, &[], true), vhost("off.com", &[], false)];
        let alias = [vhost("a.com", &["__defaultvhost__"], true), vhost("off.com", &[], false)];
        let disabled = [vhost("a.com", &[], true), vhost("__DEFAULTVHOST__", &[], false)];
        for (vhosts, name, expected) in [
            (&own[..], "a.com", "a.com with settings of a.com"),
            (&own, "b.com", "default __defaultVhost__ with settings of __defaultVhost__"),
            (&own, DEFAULT_VHOST, "__defaultVhost__ with settings of __defaultVhost__"),
            (&own, "__DefaultVhost__", "__defaultVhost__ with settings of __defaultVhost__"),
            (&own, "off.com", "disabled"),
            (&alias, "a.com", "a.com with settings of a.com"),
            (&alias, "b.com", "default a.com with settings of a.com"),
            (&alias, "off.com", "disabled"),
            (&disabled, "a.com", "a.com with settings of a.com"),
            (&disabled, "b.com", "disabled"),
        ] {
            assert_eq!(resolve(vhosts, name), expected, "{name}");
        }
        assert_eq!(Vhosts::only(7).resolve("h"), Resolved::Default(DEFAULT_VHOST, &7));
        assert_eq!(Vhosts::new([Vhost::new(DEFAULT_VHOST, 7)]), Ok(Vhosts::only(7)));
    }

    #[test]
    fn what_was_resolved_is_accepted_or_refused() {
        assert_eq!(Resolved::Found("a", &1).accepted(), Ok(("a", &1)));
        assert_eq!(Resolved::Default("a", &1).accepted(), Ok(("a", &1)));
        assert_eq!(Resolved::<()>::Disabled.accepted(), Err(Refusal::VhostDisabled));
        assert_eq!(Resolved::<()>::Unknown.accepted(), Err(Refusal::VhostUnknown));
    }

    #[test]
    fn a_name_belongs_to_one_virtual_host() {
        let duplicate = |name: &str, first: &str, second: &str| {
            let (name, first, second) = (name.to_owned(), first.to_owned(), second.to_owned());
            Err(VhostError::Duplicate { name, first, second })
        };
        for (vhosts, expected) in [
            ([vhost("a", &[], true), vhost("b", &["A"], false)], duplicate("A", "a", "b")),
            ([vhost("a", &["c"], false), vhost("c", &[], true)], duplicate("c", "a", "c")),
            ([vhost("a", &["c"], true), vhost("b", &["c"], true)], duplicate("c", "a", "b")),
            ([vhost("a", &["b", "a"], true), vhost("c", &[], true)], duplicate("a", "a", "a")),
            ([vhost(DEFAULT_VHOST, &[], true), vhost("__defaultvhost__", &[], true)], {
                duplicate("__defaultvhost__", DEFAULT_VHOST, "__defaultvhost__")
            }),
        ] {
            assert_eq!(Vhosts::new(vhosts), expected);
        }
        for wrong in ["", ".", "..", "a/b", "a b", "a\n"] {
            let expected = Err(VhostError::Invalid { name: wrong.to_owned() });
            assert_eq!(Vhosts::new([vhost(wrong, &[], true)]), expected);
            assert_eq!(Vhosts::new([vhost("a", &[wrong], true)]), expected);
        }
    }

    proptest! {
        #[test]
        fn what_resolves_is_a_configured_name_in_one_spelling(
            given in prop::collection::btree_map("[a-cA-C]{1,2}|__[dD]efaultVhost__", any::<bool>(), 0..6),
            asked in "[a-dA-D]{0,2}|\\PC{0,4}",
        ) {
            let given = given.into_iter().map(|(name, enabled)| Vhost { enabled, ..Vhost::new(name.clone(), name) });
            if let Ok(vhosts) = Vhosts::new(given) {
                if let Ok((name, settings)) = vhosts.resolve(&asked).accepted() {
                    prop_assert!(name.eq_ignore_ascii_case(settings));
                    prop_assert_eq!(vhosts.resolve(name), Resolved::Found(name, settings));
                }
                let known = vhosts.iter().any(|vhost| vhost.name.eq_ignore_ascii_case(&asked));
                let found = matches!(vhosts.resolve(&asked), Resolved::Found(..));
                prop_assert!(known || !found);
            }
        }
    }
}
