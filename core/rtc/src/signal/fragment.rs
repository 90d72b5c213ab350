use std::fmt;

/// The largest fragment that is read.
const LONGEST: usize = 16 * 1024;

/// A part of a session description that a client sends later (RFC 8840 §9).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// The name of the client, from `a=ice-ufrag`.
    pub name: Option<String>,
    /// Its password, from `a=ice-pwd`.
    pub password: Option<String>,
    /// How many addresses it has.
    pub candidates: usize,
}

/// Without the password.
impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fragment { name, candidates, .. } = self;
        f.debug_struct("Fragment").field("name", name).field("candidates", candidates).finish_non_exhaustive()
    }
}

impl Fragment {
    /// Reads the body of a request, or a whole description. `None` if it has none of the form, or if its parts contradict each
    /// other.
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > LONGEST {
            return None;
        }
        Fragment::of_description(std::str::from_utf8(body).ok()?)
    }

    /// The same for a description of any length.
    pub fn of_description(text: &str) -> Option<Self> {
        let mut fragment = Fragment::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (kind, value) = line.split_at_checked(2)?;
            let is_line = kind.ends_with('=') && kind.starts_with(|first: char| first.is_ascii_lowercase());
            if !is_line || value.contains(char::is_control) {
                return None;
            }
            let Some((name, value)) = value.split_once(':').filter(|_| kind == "a=") else { continue };
            match name {
                "ice-ufrag" => set(&mut fragment.name, value.trim(), 4)?,
                "ice-pwd" => set(&mut fragment.password, value.trim(), 22)?,
                "candidate" => {
                    // Foundation, component, transport, priority, address, port, "typ", kind.
                    if value.split_ascii_whitespace().count() < 8 {
                        return None;
                    }
                    fragment.candidates += 1;
                }
                _ => {}
            }
        }
        Some(fragment)
    }
}

/// All media of a description have the same, as they share one connection.
fn set(place: &mut Option<String>, value: &str, least: usize) -> Option<()> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    if !(least..=256).contains(&value.len()) || !value.bytes().all(is_legal) {
        return None;
    }
    match place {
        Some(known) => (known == value).then_some(()),
        None => {
            *place = Some(value.to_owned());
            Some(())
        }
    }
}
