use std::net::SocketAddr;

/// Where a client comes from and where it connects to. Made from the name of an application, it is the route of a
/// client without a known address to the host `sim.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The host in its `tcUrl`.
    pub host: String,
    /// The application.
    pub app: String,
    /// The page that embeds the client.
    pub page_url: Option<String>,
    /// Its address.
    pub address: Option<SocketAddr>,
}

impl Route {
    /// To an application of this host.
    pub fn to(host: &str, app: &str) -> Self {
        Route { host: host.into(), app: app.into(), page_url: None, address: None }
    }

    /// The same from this page.
    #[must_use]
    pub fn from_page(mut self, page_url: &str) -> Self {
        self.page_url = Some(page_url.into());
        self
    }

    /// The same from this address, of any port.
    ///
    /// # Panics
    /// If it is not an IP address.
    #[must_use]
    pub fn from_address(mut self, address: &str) -> Self {
        let address = address.parse().expect("the address is one");
        self.address = Some(SocketAddr::new(address, 50_000));
        self
    }
}

impl From<&str> for Route {
    fn from(app: &str) -> Self {
        Route::to("sim.example", app)
    }
}

impl From<&Route> for Route {
    fn from(route: &Route) -> Self {
        route.clone()
    }
}
