/// What `cargo test` hands to every target, as far as it means something here.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Names are to be printed, and nothing run.
    pub list: bool,
    /// Filters are whole names.
    pub exact: bool,
    /// Only ignored tests are asked for, of which there are none.
    pub ignored: bool,
    /// How many to run at a time.
    pub threads: Option<usize>,
    filters: Vec<String>,
    skipped: Vec<String>,
}

impl Arguments {
    /// Reads them; what means nothing here is passed over.
    pub fn read(mut given: impl Iterator<Item = String>) -> Self {
        let mut arguments = Arguments::default();
        while let Some(argument) = given.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name.to_owned(), Some(value.to_owned())),
                _ => (argument, None),
            };
            let mut value = || value.clone().or_else(|| given.next()).unwrap_or_default();
            match name.as_str() {
                "--list" => arguments.list = true,
                "--exact" => arguments.exact = true,
                "--ignored" => arguments.ignored = true,
                "--test-threads" => arguments.threads = value().parse().ok(),
                "--skip" => arguments.skipped.push(value()),
                "--format" | "--color" | "--logfile" | "--shuffle-seed" | "-Z" => _ = value(),
                // How much is printed, mostly.
                flag if flag.starts_with('-') => {}
                filter => arguments.filters.push(filter.to_owned()),
            }
        }
        arguments
    }

    /// Whether the case of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        let is_meant = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        let wanted = self.filters.is_empty() || self.filters.iter().any(is_meant);
        wanted && !self.ignored && !self.skipped.iter().any(is_meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Arguments {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn filters_choose_and_flags_do_not() {
        let arguments = read("--nocapture --test-threads 3 --color always hand --skip digest");
        assert_eq!(arguments.threads, Some(3));
        assert!(arguments.wants("smol::handshakes::one"));
        assert!(!arguments.wants("smol::handshakes::digest") && !arguments.wants("smol::play::one"));
        let exact = read("--exact smol::play::one");
        assert!(exact.wants("smol::play::one") && !exact.wants("smol::play::one_more"));
        assert!(read("").wants("anything") && !read("--ignored").wants("anything"));
        assert_eq!(read("--test-threads=2").threads, Some(2));
        assert!(read("--list").list);
    }
}
