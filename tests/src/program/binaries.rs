use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// `anabranch`.
    Smol,
    /// `anabranch-std`.
    Std,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

impl Runtime {
    /// The name of its program.
    fn program(self) -> &'static str {
        match self {
            Runtime::Smol => "anabranch",
            Runtime::Std => "anabranch-std",
        }
    }

    /// Its program, built from the present source.
    pub fn binary(self) -> PathBuf {
        built().join(self.program())
    }
}

/// An example: of core, or of the smol library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Example {
    /// A server with a blocking thread for each connection.
    Blocking,
    /// A server with one thread and its own event loop.
    Polling,
    /// A publisher and a player in memory: the arguments are the file to publish and the file to write.
    Relay,
    /// Of the smol library: hooks with a table of tokens. The argument is the table.
    Tokens,
    /// Of the smol library: the program publishes a file. The arguments are the file and the stream.
    File,
    /// Of the smol library: the program publishes a stream elsewhere. The arguments are the stream and the URL.
    Forward,
}

impl Example {
    /// Its program, built from the present source.
    pub fn binary(self) -> PathBuf {
        let name = match self {
            Example::Blocking => "blocking",
            Example::Polling => "polling",
            Example::Relay => "relay",
            Example::Tokens => "tokens",
            Example::File => "file",
            Example::Forward => "forward",
        };
        built().join("examples").join(name)
    }
}

/// Where the programs are, after they were built.
fn built() -> PathBuf {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    if let Err(error) = BUILT.get_or_init(build) {
        panic!("building the servers: {error}");
    }
    profile_folder()
}

/// Where cargo puts the programs of the profile that this test was built with: it lies in `deps` below that, and a program of
/// this package beside them.
fn profile_folder() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    let folder = test.parent().expect("a file lies in a folder");
    match folder.file_name().is_some_and(|name| name == "deps") {
        true => folder.parent().expect("cargo puts tests two folders deep").to_owned(),
        false => folder.to_owned(),
    }
}

/// Cargo's target directory.
pub(crate) fn target_folder() -> PathBuf {
    profile_folder().parent().expect("the profile's folder lies in the target directory").to_owned()
}

/// A folder for files of tests, in cargo's target directory.
pub(crate) fn target_tmp() -> PathBuf {
    target_folder().join("tmp/real-clients")
}

/// `cargo test` builds the programs of other packages only if their own tests need them.
fn build() -> Result<(), String> {
    let folder = profile_folder();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        // All packages, as `tests/run` does: with the features that a part of them asks for, much would be built again.
        .args(["build", "--quiet", "--workspace", "--bins", "--examples"])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(folder.parent().expect("the profile's folder lies in the target directory"))
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml"))
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("cargo does not start: {error}")),
    }
}
