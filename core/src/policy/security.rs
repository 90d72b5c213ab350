use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use super::{Action, Network, NetworkError, Refusal};

/// Which addresses may publish and play. Without rules: all.
///
/// The rules are those of SRS's `security` section, and their order does not matter:
///
/// 1. a matching `deny` refuses;
/// 2. else a matching `allow` permits;
/// 3. else the address is refused if any rule allows *this* action to some address, and permitted if none does.
///
/// In SRS the third step looks at all rules, so that `allow publish 10.0.0.0/8` alone also denies every player; here
/// rules for publishing say nothing about playing.
///
/// ```
/// use anabranch_core::policy::{Action, Refusal, Security};
///
/// let security: Security = "allow publish 10.0.0.0/8; deny publish 10.6.6.6; deny play 2001:db8:bad::/48".parse()?;
/// let check = |action, address: &str| security.check(action, address.parse().unwrap());
/// assert_eq!(check(Action::Publish, "10.1.2.3"), Ok(()));
/// assert_eq!(check(Action::Publish, "10.6.6.6"), Err(Refusal::SecurityDenied { action: Action::Publish }));
/// assert_eq!(check(Action::Publish, "192.0.2.1"), Err(Refusal::SecurityNotAllowed { action: Action::Publish }));
/// assert_eq!(check(Action::Play, "192.0.2.1"), Ok(()));
/// # Ok::<(), anabranch_core::policy::RuleError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// The rules, in any order.
    pub rules: Vec<Rule>,
}

impl Security {
    /// Checks whether a client at this address may do this.
    ///
    /// # Errors
    /// [`Refusal::SecurityDenied`] and [`Refusal::SecurityNotAllowed`].
    pub fn check(&self, action: Action, address: IpAddr) -> Result<(), Refusal> {
        let mut allows = false;
        let mut allowed = false;
        for rule in self.rules.iter().filter(|rule| rule.action == action) {
            let matches = rule.who.contains(address);
            match rule.effect {
                Effect::Deny if matches => return Err(Refusal::SecurityDenied { action }),
                Effect::Deny => {}
                Effect::Allow => {
                    allows = true;
                    allowed |= matches;
                }
            }
        }
        if allows && !allowed { Err(Refusal::SecurityNotAllowed { action }) } else { Ok(()) }
    }
}

/// Rules as in SRS's configuration: each ends with a `;` or at the end of its line, `#` starts a comment.
impl FromStr for Security {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let lines = text.lines().filter_map(|line| line.split('#').next());
        let rules = lines.flat_map(|line| line.split(';')).filter(|rule| !rule.trim().is_empty());
        Ok(Security { rules: rules.map(str::parse).collect::<Result<_, _>>()? })
    }
}

/// One rule: `allow publish 10.0.0.0/8`, `deny play all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// The action that it is for.
    pub action: Action,
    /// The addresses that it matches.
    pub who: Who,
}

/// Whether a [`Rule`] allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The addresses may, unless another rule denies it.
    Allow,
    /// The addresses may not.
    Deny,
}

/// The addresses that a [`Rule`] matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Every address, IPv4 and IPv6.
    All,
    /// The addresses of a network, or one address.
    Network(Network),
}

impl Who {
    fn contains(&self, address: IpAddr) -> bool {
        match self {
            Who::All => true,
            Who::Network(network) => network.contains(address),
        }
    }
}

/// A text that is not a [`Rule`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Not three words.
    #[error("security rule {rule:?} is not of the form `allow|deny publish|play all|<address>|<network>`")]
    Shape {
        /// The rule.
        rule: String,
    },
    /// The first word is neither `allow` nor `deny`.
    #[error("security rule {rule:?} starts with neither allow nor deny")]
    Effect {
        /// The rule.
        rule: String,
    },
    /// The second word is neither `publish` nor `play`.
    #[error("security rule {rule:?} is for neither publish nor play")]
    Action {
        /// The rule.
        rule: String,
    },
    /// The third word is neither `all` nor a network.
    #[error("security rule {rule:?}: {source}")]
    Who {
        /// The rule.
        rule: String,
        /// What is wrong with the network.
        source: NetworkError,
    },
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let rule = || text.trim().to_owned();
        let mut words = text.split_ascii_whitespace();
        let (Some(effect), Some(action), Some(who), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(RuleError::Shape { rule: rule() });
        };
        let effect = match effect {
            "allow" => Effect::Allow,
            "deny" => Effect::Deny,
            _ => return Err(RuleError::Effect { rule: rule() }),
        };
        let action = match action {
            "publish" => Action::Publish,
            "play" => Action::Play,
            _ => return Err(RuleError::Action { rule: rule() }),
        };
        let who = match who {
            "all" => Who::All,
            network => Who::Network(network.parse().map_err(|source| RuleError::Who { rule: rule(), source })?),
        };
        Ok(Rule { effect, action, who })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        write!(f, "{effect} {} ", self.action)?;
        match &self.who {
            Who::All => f.write_str("all"),
            Who::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DENIED: &str = "security_denied";
    const NOT_ALLOWED: &str = "security_not_allowed";

    fn verdict(rules: &str, action: Action, address: &str) -> &'static str {
        let security: Security = rules.parse().unwrap();
        security.check(action, address.parse().unwrap()).map_or_else(|refusal| refusal.code(), |()| "ok")
    }

    #[test]
    fn rules_and_what_they_say() {
        for (rules, address, publish, play) in [
            ("", "192.0.2.1", "ok", "ok"),
            ("allow publish all", "192.0.2.1", "ok", "ok"),
            ("allow publish 10.0.0.0/8", "10.1.2.3", "ok", "ok"),
            ("allow publish 10.0.0.0/8", "11.1.2.3", NOT_ALLOWED, "ok"),
            ("allow play 10.0.0.0/8", "11.1.2.3", "ok", NOT_ALLOWED),
            ("deny publish all", "10.1.2.3", DENIED, "ok"),
            ("deny play 10.0.0.0/8", "10.1.2.3", "ok", DENIED),
            ("deny play 10.0.0.0/8", "11.1.2.3", "ok", "ok"),
            ("deny play all; allow play all", "10.1.2.3", "ok", DENIED),
            ("allow play all; deny play all", "10.1.2.3", "ok", DENIED),
            ("allow play all; deny play 10.6.6.6", "10.6.6.6", "ok", DENIED),
            ("allow play all; deny play 10.6.6.6", "10.6.6.7", "ok", "ok"),
            ("deny play 10.6.6.6; allow play 10.1.1.1", "10.6.6.7", "ok", NOT_ALLOWED),
            ("allow play 10.1.1.1; deny publish all", "10.1.1.1", DENIED, "ok"),
            ("allow play 0.0.0.0/0", "203.0.113.9", "ok", "ok"),
            ("allow play 0.0.0.0/0", "2001:db8::1", "ok", NOT_ALLOWED),
            ("allow play 2001:db8::/32", "2001:db8:9::1", "ok", "ok"),
            ("allow play 2001:db8::/32", "2001:db9::1", "ok", NOT_ALLOWED),
            ("deny play ::/0", "2001:db9::1", "ok", DENIED),
            ("deny play 10.0.0.0/8", "::ffff:10.1.2.3", "ok", DENIED),
            ("deny publish all", "::1", DENIED, "ok"),
        ] {
            assert_eq!(verdict(rules, Action::Publish, address), publish, "publish, {rules}, {address}");
            assert_eq!(verdict(rules, Action::Play, address), play, "play, {rules}, {address}");
        }
    }

    #[test]
    fn rules_are_read_as_srs_writes_them() {
        let text = "\n  # who\n allow\tpublish 10.0.0.0/8;  deny play all; # nobody\n\nallow play ::1/128\n";
        let security: Security = text.parse().unwrap();
        let written: Vec<String> = security.rules.iter().map(Rule::to_string).collect();
        assert_eq!(written, ["allow publish 10.0.0.0/8", "deny play all", "allow play ::1/128"]);
        assert_eq!("".parse(), Ok(Security::default()));
    }

    #[test]
    fn an_error_names_the_rule_and_what_is_wrong() {
        let error = |rule: &str| rule.parse::<Security>().unwrap_err().to_string();
        assert!(error("allow publish").contains("form"));
        assert!(error("allow publish all all").contains("form"));
        assert!(error("Allow publish all").contains("neither allow nor deny"));
        assert!(error("deny watch all").contains("neither publish nor play"));
        let text = error("deny play all; deny play 10.0.0.0/33;");
        assert!(text.contains("\"deny play 10.0.0.0/33\": ") && text.contains("\"10.0.0.0/33\" is neither"), "{text}");
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let effect = prop_oneof![Just(Effect::Allow), Just(Effect::Deny)];
        let action = prop_oneof![Just(Action::Publish), Just(Action::Play)];
        let who = prop_oneof![
            Just(Who::All),
            (0u8..4, 30u8..=32).prop_map(|(host, bits)| Who::Network(format!("10.0.0.{host}/{bits}").parse().unwrap())),
        ];
        (effect, action, who).prop_map(|(effect, action, who)| Rule { effect, action, who })
    }

    proptest! {
        #[test]
        fn any_text_is_a_rule_or_an_error(text in "(allow|deny|publish|play|all|[ ;#/:.]|\\PC){0,12}") {
            if let Ok(security) = text.parse::<Security>() {
                let written: Vec<String> = security.rules.iter().map(Rule::to_string).collect();
                prop_assert_eq!(written.join(";\n").parse(), Ok(security));
            }
        }

        #[test]
        fn order_and_rules_for_the_other_action_do_not_matter(
            rules in prop::collection::vec(any_rule(), 0..8),
            host in 0u8..5,
        ) {
            let address = IpAddr::from([10, 0, 0, host]);
            let reversed = Security { rules: rules.iter().rev().copied().collect() };
            for action in [Action::Publish, Action::Play] {
                let alone = rules.iter().filter(|rule| rule.action == action).copied().collect();
                let verdict = Security { rules: rules.clone() }.check(action, address);
                prop_assert_eq!(&verdict, &reversed.check(action, address));
                prop_assert_eq!(&verdict, &Security { rules: alone }.check(action, address));
            }
        }
    }
}
