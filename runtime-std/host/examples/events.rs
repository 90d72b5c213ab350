//! Prints `docs/events.md`: `cargo run -p anabranch-host --example events > docs/events.md`.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().write_all(anabranch_host::events::document().as_bytes())
}
