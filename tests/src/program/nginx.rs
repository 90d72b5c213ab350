use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use super::{Process, free_address};
use crate::Folder;

/// The module that teaches nginx RTMP, where Debian puts it.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// A running nginx-rtmp with one application, `live`, on its own port.
#[derive(Debug)]
pub struct Nginx {
    /// The process, with its log.
    pub process: Process,
    address: SocketAddr,
    _folder: Folder,
}

impl Nginx {
    /// Starts one.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start() -> Self {
        // Times stay as they are sent, and no frame is dropped for a slow test.
        Nginx::with(|address| {
            format!(
                "rtmp {{ server {{ listen {address}; chunk_size 4096; out_queue 8192;\n\
                 application live {{ live on; sync 0; }} }} }}\n"
            )
        })
    }

    /// Starts one with another `rtmp` section, on the address that it is given.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn with(rtmp: impl FnOnce(SocketAddr) -> String) -> Self {
        assert!(Path::new(MODULE).exists(), "{MODULE} is missing (tests/run installs it)");
        let folder = Folder::new();
        // nginx does not tell which port it was given.
        let address = free_address();
        let file = folder.file("nginx.conf");
        // As one process in the foreground.
        let settings = format!(
            "load_module {MODULE};\n\
             daemon off;\n\
             master_process off;\n\
             pid {};\n\
             error_log stderr info;\n\
             events {{ worker_connections 64; }}\n{}",
            folder.file("nginx.pid").display(),
            rtmp(address),
        );
        fs::write(&file, settings).expect("the folder can be written");
        let [file, prefix] = [&file, folder.path()].map(|path| path.to_str().expect("paths of tests are UTF-8"));
        let process = Process::start("nginx", ["-e", "stderr", "-p", prefix, "-c", file]);
        process.wait_for("nginx on its port", || TcpStream::connect(address).ok());
        Nginx { process, address, _folder: folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a stream of the application `live`.
    pub fn url(&self, stream: &str) -> String {
        format!("rtmp://{}/live/{stream}", self.address)
    }
}
