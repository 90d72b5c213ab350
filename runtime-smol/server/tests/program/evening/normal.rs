//! Lines without what differs each time: times, ports, counts of bytes, versions, folders.

use serde_json::Value;

/// Numbers that the script decides.
const KEPT: [&str; 6] = ["conn", "holder", "by", "waiting", "connections", "files"];
/// What comes before numbers in text that the script decides.
const BEFORE: [&str; 5] = ["conn ", "RTMP ", "127.0.0.", "for which ", "draining: "];

/// What else differs, and what stands for it.
#[derive(Debug)]
pub(super) struct Normal {
    pub(super) replaced: Vec<(String, &'static str)>,
}

impl Normal {
    /// A line of either format.
    pub(super) fn line(&self, line: &str) -> String {
        match serde_json::from_str::<Value>(line) {
            Ok(mut json) => {
                self.json(&mut json);
                json.to_string()
            }
            // The time is the first word.
            Err(_) => self.text(line.split_once(' ').map_or("", |(_, rest)| rest.trim_start())),
        }
    }

    fn json(&self, line: &mut Value) {
        let Some(fields) = line.as_object_mut() else {
            return;
        };
        fields.remove("timestamp");
        for (name, value) in fields {
            match value {
                Value::String(text) => *text = self.text(text),
                Value::Number(_) if !KEPT.contains(&name.as_str()) => *value = Value::String("N".to_owned()),
                Value::Array(texts) => {
                    for text in texts {
                        if let Value::String(text) = text {
                            *text = self.text(text);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.replaced {
            text = text.replace(from, to);
        }
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, found) = rest.split_at(at);
            out.push_str(before);
            let end = found.find(|c: char| !c.is_ascii_digit()).unwrap_or(found.len());
            let (number, after) = found.split_at(end);
            let in_a_word = out.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let is_local = !out.ends_with("N.") && "127.0.0.".starts_with(number)
                || out.ends_with("127.")
                || out.ends_with("127.0.");
            let kept = in_a_word || is_local && number != "1" || BEFORE.iter().any(|word| out.ends_with(word));
            out.push_str(if kept { number } else { "N" });
            rest = after;
        }
        out.push_str(rest);
        // A fraction is one number.
        out.replace("N.N", "N")
    }
}
