//! What an endpoint wants for its requests beyond what all requests have.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::OwnHeaders;
use crate::send::Identity;

/// What goes with every request to one endpoint. Nothing, for most.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Headers, which ours stand above.
    pub headers: Option<Arc<HeaderMap>>,
    /// Certificates.
    pub identity: Option<Arc<Identity>>,
}

/// Headers in the form in which they are sent. Their values are sensitive: `Debug` and the history
/// do not show them.
pub fn own_headers(headers: &OwnHeaders) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(headers.iter().count());
    for (name, value) in headers.iter() {
        let unsendable = || format!("`{name}` is no header that can be sent");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| unsendable())?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(map)
}
