use std::collections::BTreeMap;

use super::StreamPattern;
use crate::url::StreamKey;

/// The applications of a virtual host: settings for streams, by patterns of their names. The first application of which
/// a pattern matches holds for a stream.
///
/// The patterns are compiled once. A look-up compares only those that can match the first component of the name, so it
/// takes the same time with one application and with thousands of the form `NAME/*`.
///
/// ```
/// use anabranch_core::policy::{Application, Applications};
/// use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
///
/// let applications = Applications::new([
///     Application { streams: vec!["ingest/studio-*".parse()?], settings: "the studio" },
///     Application { streams: vec!["ingest/*".parse()?, "upload/*".parse()?], settings: "all encoders" },
/// ]);
/// let of = |app, stream| applications.of(&StreamKey::new(DEFAULT_VHOST, app, stream).unwrap()).map(|of| of.settings);
/// assert_eq!(of("ingest", "studio-1"), Some("the studio"));
/// assert_eq!(of("upload", "cam"), Some("all encoders"));
/// assert_eq!(of("live", "cam"), None);
/// # Ok::<(), anabranch_core::policy::PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applications<T> {
    list: Vec<Application<T>>,
    /// The places in the list of the patterns whose names all begin with this component, in the order of the list.
    by_component: BTreeMap<Box<str>, Vec<Place>>,
    /// Those of all other patterns.
    others: Vec<Place>,
}

/// Settings for some streams of a virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application<T> {
    /// The patterns of its streams.
    pub streams: Vec<StreamPattern>,
    /// The settings of its streams.
    pub settings: T,
}

/// An application in the list, and one of its patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    application: usize,
    pattern: usize,
}

impl<T> Application<T> {
    /// What identifies it among the applications of its virtual host: its patterns, such as `ingest/*, upload/*`.
    pub fn name(&self) -> String {
        let patterns: Vec<_> = self.streams.iter().map(StreamPattern::as_str).collect();
        patterns.join(", ")
    }
}

impl<T> Default for Applications<T> {
    /// No applications.
    fn default() -> Self {
        Applications { list: Vec::new(), by_component: BTreeMap::new(), others: Vec::new() }
    }
}

impl<T> Applications<T> {
    /// Applications in the order in which their patterns are compared.
    pub fn new(applications: impl IntoIterator<Item = Application<T>>) -> Self {
        let mut this = Applications { list: applications.into_iter().collect(), ..Applications::default() };
        for (application, one) in this.list.iter().enumerate() {
            for (pattern, streams) in one.streams.iter().enumerate() {
                let places = match streams.first_component() {
                    Some(component) => this.by_component.entry(component.into()).or_default(),
                    None => &mut this.others,
                };
                places.push(Place { application, pattern });
            }
        }
        this
    }

    /// The application of a stream: the first of which a pattern matches.
    pub fn of(&self, stream: &StreamKey) -> Option<&Application<T>> {
        if self.list.is_empty() {
            return None;
        }
        let name = stream.path();
        let first = |places: &[Place]| places.iter().copied().find(|place| self.matches(*place, name));
        let component = name.split('/').next().unwrap_or_default();
        let places = [self.by_component.get(component).and_then(|places| first(places)), first(&self.others)];
        self.list.get(places.into_iter().flatten().min()?.application)
    }

    fn matches(&self, place: Place, name: &str) -> bool {
        let pattern = self.list.get(place.application).and_then(|one| one.streams.get(place.pattern));
        pattern.is_some_and(|pattern| pattern.matches(name))
    }

    /// The applications in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Application<T>> {
        self.list.iter()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The same patterns with other settings.
    pub fn map<U>(&self, mut settings: impl FnMut(&Application<T>) -> U) -> Applications<U> {
        let with = |one: &Application<T>| Application { streams: one.streams.clone(), settings: settings(one) };
        Applications {
            list: self.list.iter().map(with).collect(),
            by_component: self.by_component.clone(),
            others: self.others.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::url::DEFAULT_VHOST;

    fn applications(lists: &[Vec<String>]) -> Applications<usize> {
        let patterns = |list: &Vec<String>| list.iter().map(|text| text.parse().unwrap()).collect();
        let list = lists.iter().enumerate();
        Applications::new(list.map(|(settings, list)| Application { streams: patterns(list), settings }))
    }

    proptest! {
        #[test]
        fn the_first_that_matches_holds(
            lists in prop::collection::vec(prop::collection::vec("[ab?*]{0,2}[/*][ab*]{0,2}", 0..3), 0..6),
            app in "[ab]{1,2}(/[ab])?",
            stream in "[ab]{1,2}",
        ) {
            let lists: Vec<Vec<String>> =
                lists.into_iter().map(|list| list.into_iter().filter(|text| !text.starts_with('/')).collect()).collect();
            let applications = applications(&lists);
            let key = StreamKey::new(DEFAULT_VHOST, &app, &stream).unwrap();
            let matches = |list: &Vec<String>| {
                list.iter().any(|text| text.parse::<StreamPattern>().unwrap().matches(&format!("{app}/{stream}")))
            };
            prop_assert_eq!(applications.of(&key).map(|one| one.settings), lists.iter().position(matches));
            let doubled = applications.map(|one| one.settings * 2);
            prop_assert_eq!(doubled.of(&key).map(|one| one.settings / 2), lists.iter().position(matches));
        }
    }

    #[test]
    fn thousands_of_applications_are_not_compared_one_by_one() {
        let lists: Vec<_> = (0..1000).map(|number| vec![format!("customer-{number}/*")]).collect();
        let applications = applications(&lists);
        for number in [0, 500, 999] {
            let key = StreamKey::new(DEFAULT_VHOST, &format!("customer-{number}"), "cam").unwrap();
            assert_eq!(applications.of(&key).map(|one| one.settings), Some(number));
            assert_eq!(applications.by_component[key.app()].len(), 1);
        }
        assert_eq!((applications.others.len(), applications.iter().len()), (0, 1000));
        assert_eq!(applications.iter().next().map(Application::name).as_deref(), Some("customer-0/*"));
    }
}
