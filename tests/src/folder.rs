use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process, thread};

use crate::program::target_tmp;

/// A new folder for the files of one test. It goes with the value, unless the test failed.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes one.
    ///
    /// # Panics
    /// If the system does not let it.
    #[allow(clippy::new_without_default)] // it is made on the disk
    pub fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = target_tmp().join(format!("{}-{number}", process::id()));
        fs::create_dir_all(&path).expect("the target directory can be written");
        Folder { path }
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file in it, and returns its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, text).expect("the folder can be written");
        file
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("files of the failed test are in {}", self.path.display());
        } else {
            // What cannot be removed stays; the test has passed all the same.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
