//! What keeps a server from starting, found before it starts and with what to do about it. The start and `check` find it
//! with the same code.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anabranch_host::{Listen, can_listen};
#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags};

/// Something that keeps a server from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub words: String,
    /// What the operator can do.
    pub cure: String,
}

impl Fault {
    /// A fault with its cure.
    pub fn new(words: impl Into<String>, cure: impl Into<String>) -> Self {
        Fault { words: words.into(), cure: cure.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.words, self.cure)
    }
}

/// Why a server cannot listen on an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressFault {
    /// The fault.
    pub fault: Fault,
    /// True if another socket listens there now: perhaps the server that runs already.
    pub in_use: bool,
}

/// Checks that the server can listen on all these addresses at once. Each has its place in the configuration and the
/// part of the server that would listen there. Returns the places where it cannot.
pub fn check_addresses<P: Clone + fmt::Display>(addresses: &[(P, &str, Listen)]) -> Vec<(P, AddressFault)> {
    let mut found = Vec::new();
    for (index, (place, what, listen)) in addresses.iter().enumerate() {
        let other = addresses.iter().take(index).find(|(.., other)| other.overlaps(*listen));
        let checked = match other {
            Some((other, ..)) => Err(AddressFault {
                fault: Fault::new(
                    format!("{what} cannot listen on {listen}: {other} listens there already"),
                    "remove one of the two, or choose another port",
                ),
                in_use: false,
            }),
            None => check_address(what, *listen),
        };
        found.extend(checked.err().map(|fault| (place.clone(), fault)));
    }
    found
}

/// Checks that the server can listen on an address. `what` is the part of the server for which it would listen.
///
/// # Errors
/// It cannot, now.
pub fn check_address(what: &str, listen: Listen) -> Result<(), AddressFault> {
    can_listen(listen).map_err(|error| AddressFault {
        fault: Fault::new(format!("{what} cannot listen on {listen}: {error}"), address_cure(listen, &error)),
        in_use: error.kind() == ErrorKind::AddrInUse,
    })
}

fn address_cure(listen: Listen, error: &io::Error) -> String {
    let port = listen.port();
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("end the program that listens there (ss -ltnp 'sport = :{port}' names it), or choose another port")
        }
        ErrorKind::PermissionDenied => {
            let first = first_free_port().map_or_else(String::new, |first| format!(" below {first}"));
            format!(
                "ports{first} need the capability CAP_NET_BIND_SERVICE (AmbientCapabilities= in a unit, setcap on the \
                 program), or a lower net.ipv4.ip_unprivileged_port_start; or choose a higher port"
            )
        }
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address (\"ip address\" lists those that it has): name one of them, or only the \
             port for all of them"
                .to_owned()
        }
        _ => "name another address; only the port, without an address, takes whatever the machine has".to_owned(),
    }
}

/// The first port that needs no capability.
fn first_free_port() -> Option<u16> {
    fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?.trim().parse().ok()
}

/// Checks that files can be made in a folder, or that the folder can be made. Nothing is left behind: a folder that this
/// made could have the wrong owner.
///
/// # Errors
/// The folder cannot be used.
pub fn check_folder(folder: &Path) -> Result<(), Fault> {
    let (exists, folder) = nearest(folder)?;
    let verb = if exists { "written" } else { "made" };
    let shown = folder.asked.display();
    let in_which = if exists { String::new() } else { format!(" in {}", folder.exists.display()) };
    probe(&folder.exists).map_err(|error| {
        Fault::new(
            format!("the folder {shown} cannot be {verb}{in_which}: {error}"),
            folder_cure(&folder.exists, &error),
        )
    })?;
    if exists {
        // Files of earlier runs are counted, and names that exist are not used again.
        fs::read_dir(&folder.exists).map_err(|error| {
            Fault::new(format!("the folder {shown} cannot be listed: {error}"), folder_cure(&folder.exists, &error))
        })?;
    }
    Ok(())
}

struct Nearest {
    /// The folder that is to be used, as an absolute path.
    asked: PathBuf,
    /// The folder itself, or the nearest one above it that exists.
    exists: PathBuf,
}

/// Whether the folder exists, and the nearest one that does.
fn nearest(folder: &Path) -> Result<(bool, Nearest), Fault> {
    let asked = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    for at in asked.ancestors() {
        let shown = at.display();
        match fs::metadata(at) {
            Ok(found) if found.is_dir() => {
                let exists = at.to_owned();
                return Ok((exists == asked, Nearest { asked, exists }));
            }
            Ok(_) => {
                let words = format!("{shown} is not a folder");
                return Err(Fault::new(words, "name a folder, or remove the file of that name"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(at).is_ok() => {
                let words = format!("{shown} is a symbolic link to something that does not exist");
                return Err(Fault::new(
                    words,
                    "make what it points to (is a disk not mounted?), or name another folder",
                ));
            }
            // Of the folders above it one exists, or is the reason.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => {
                return Err(Fault::new(format!("the folder {shown} cannot be used: {error}"), folder_cure(at, &error)));
            }
        }
    }
    let words = format!("the folder {} cannot be found", asked.display());
    Err(Fault::new(words, "name a folder that exists or can be made"))
}

/// Makes a file in the folder and removes it: only this sees all that may forbid it (quotas, a file system that is
/// mounted read-only, rights).
fn probe(folder: &Path) -> io::Result<()> {
    // Without a name, where the file system has such files.
    #[cfg(target_os = "linux")]
    if rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR).is_ok() {
        return Ok(());
    }
    // The name is new, because nothing else has both numbers.
    let unique =
        anabranch_host::random_seed().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let file = folder.join(format!(".anabranch-check-{}-{unique:x}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&file)?;
    fs::remove_file(&file)
}

fn folder_cure(folder: &Path, error: &io::Error) -> String {
    let shown = folder.display();
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only here, as it is under ProtectSystem=strict of systemd: name a folder below \
             the unit's StateDirectory, such as /var/lib/anabranch, or add ReadWritePaths= to the unit"
                .to_owned()
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!("free some space on the disk of {shown}"),
        ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid().as_raw();
            format!("let the user with the number {user} write it (chown {user} {shown}), or name another folder")
        }
        _ => "name a folder that exists and that the server's user can write".to_owned(),
    }
}

/// What to do if a file cannot be read.
pub fn file_cure(file: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound if file.is_relative() => {
            let folder = std::env::current_dir().unwrap_or_default();
            format!(
                "write its whole path: a relative one begins at the working directory, which is {}",
                folder.display()
            )
        }
        ErrorKind::NotFound => "correct the path, or make the file".to_owned(),
        ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid().as_raw();
            format!(
                "let the user with the number {user} read it and the folders above it (LoadCredential= of systemd hands over files that only root can read)"
            )
        }
        ErrorKind::IsADirectory => "name a file".to_owned(),
        _ => "name a file that can be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("anabranch-faults-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn folders_that_exist_or_can_be_made_are_left_as_they_are() {
        let folder = Folder::new("usable");
        assert_eq!(check_folder(&folder.0), Ok(()));
        assert_eq!(check_folder(&folder.0.join("a/b/c")), Ok(()));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    }

    #[test]
    fn folders_that_cannot_be_used_are_named() {
        let folder = Folder::new("unusable");
        let file = folder.0.join("file");
        fs::write(&file, "").unwrap();
        let link = folder.0.join("link");
        symlink(folder.0.join("nothing"), &link).unwrap();
        for (path, words) in [
            (file.clone(), "file is not a folder"),
            (file.join("below"), "file is not a folder"),
            (link.join("below"), "link is a symbolic link to something that does not exist"),
            (PathBuf::from("/proc/recordings"), "the folder /proc/recordings cannot be made in /proc: "),
            (PathBuf::from("/proc/self"), "cannot be written: "),
        ] {
            let fault = check_folder(&path).unwrap_err();
            assert!(fault.words.contains(words) && !fault.cure.is_empty(), "{path:?}: {fault}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_have_a_cure_for_each_reason() {
        let cure = |file: &str, kind: ErrorKind| file_cure(Path::new(file), &io::Error::from(kind));
        assert!(cure("/etc/cert.pem", ErrorKind::NotFound).contains("correct the path"));
        assert!(cure("cert.pem", ErrorKind::NotFound).contains("working directory"));
        assert!(cure("/etc/cert.pem", ErrorKind::PermissionDenied).contains("LoadCredential"));
    }

    #[test]
    fn addresses_that_cannot_be_listened_on_are_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let found = check_address("RTMP", Listen::One(address)).unwrap_err();
        assert!(found.in_use && found.fault.words.contains(&format!("RTMP cannot listen on {address}")), "{found:?}");
        assert!(found.fault.cure.contains(&format!("sport = :{}", address.port())), "{found:?}");
        let found = check_address("RTMP", "192.0.2.1:1935".parse().unwrap()).unwrap_err();
        assert!(!found.in_use && found.fault.cure.contains("no such address"), "{found:?}");
        drop(taken);
        assert_eq!(check_address("RTMP", Listen::One(address)), Ok(()));
        let twice = [("first", "RTMP", Listen::One(address)), ("second", "RTMPS", Listen::Any(address.port()))];
        let found = check_addresses(&twice);
        assert!(found.len() == 1 && found[0].0 == "second", "{found:?}");
        assert!(found[0].1.fault.words.ends_with("first listens there already"), "{found:?}");
        let denied = address_cure(Listen::Any(80), &io::Error::from(ErrorKind::PermissionDenied));
        assert!(denied.contains("CAP_NET_BIND_SERVICE"), "{denied}");
    }
}
