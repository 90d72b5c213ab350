use std::fmt::{self, Write};

use anabranch_core::conn::{Budget, VhostConfig};
use anabranch_host::Worst;

use crate::settings::Loaded;

/// What `check` prints of a configuration in which nothing is wrong: what holds, and the memory that clients can make the
/// server take with it. All of it is TOML, the latter as a comment.
#[derive(Debug)]
pub(crate) struct Report<'a>(pub(crate) &'a Loaded);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { config, .. } = self.0;
        writeln!(f, "# The configuration is valid. This holds:\n{}", self.0.show())?;
        let mut groups: Vec<(Vec<&str>, &VhostConfig, Budget)> = Vec::new();
        for vhost in config.vhosts.iter() {
            let budget = Budget::new(config, &vhost.settings);
            match groups.iter_mut().find(|(.., known)| *known == budget) {
                Some((names, ..)) => names.push(&vhost.name),
                None => groups.push((vec![&vhost.name], &vhost.settings, budget)),
            }
        }
        if groups.is_empty() {
            groups.push((Vec::new(), &config.defaults, Budget::new(config, &config.defaults)));
        }
        for (names, vhost, _) in groups {
            let mut text = String::new();
            if !names.is_empty() {
                writeln!(text, "Virtual hosts with this budget: {}", names.join(", "))?;
            }
            write!(text, "{}", Worst { config, vhost })?;
            for line in text.lines() {
                writeln!(f, "{}", format!("# {line}").trim_end())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
