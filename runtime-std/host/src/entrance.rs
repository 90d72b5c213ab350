use anabranch_core::conn::Accepts;

use crate::Carrier;

/// What the connections of a listening socket are: how they are carried, and which protocols they may speak.
#[derive(Debug, Clone, Default)]
pub struct Entrance {
    /// How they are carried.
    pub carrier: Carrier,
    /// The protocols: by default RTMP only.
    pub accepts: Accepts,
}

impl Entrance {
    /// For HTTP.
    pub fn web(carrier: Carrier) -> Self {
        Entrance { carrier, accepts: Accepts::Web }
    }

    /// For RTMP and HTTP: the first bytes of a connection decide.
    pub fn either(carrier: Carrier) -> Self {
        Entrance { carrier, accepts: Accepts::Either }
    }
}

/// For RTMP.
impl From<Carrier> for Entrance {
    fn from(carrier: Carrier) -> Self {
        Entrance { carrier, accepts: Accepts::Rtmp }
    }
}
