//! The Anabranch RTMP server on blocking sockets and threads.
