use std::fs;

/// What a server holds of the system at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Bytes of memory.
    pub resident: usize,
    /// The most that `resident` ever was.
    pub peak: usize,
    /// Threads.
    pub threads: usize,
    /// Open files, sockets among them.
    pub files: usize,
}

impl Held {
    /// By process id.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn by(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the server runs");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse::<usize>().ok()).unwrap_or_else(|| panic!("no {name} in {status}"))
        };
        let files = fs::read_dir(format!("/proc/{process}/fd")).expect("the server runs").count();
        Held { resident: number("VmRSS") << 10, peak: number("VmHWM") << 10, threads: number("Threads"), files }
    }
}
