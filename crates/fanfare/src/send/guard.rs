//! stub
use url::Url;
/// stub
#[derive(Debug, Clone, Default)]
pub struct GuardPolicy {
    /// stub
    pub allow_http: bool,
}
impl GuardPolicy {
    /// stub
    pub fn parse_url(&self, text: &str) -> Result<Url, String> {
        Url::parse(text).map_err(|e| e.to_string())
    }
}

/// stub
pub struct HttpTransport;
impl HttpTransport {
    /// stub
    pub fn new(_: GuardPolicy, _: std::time::Duration) -> Self {
        HttpTransport
    }
}
#[async_trait::async_trait]
impl crate::send::Transport for HttpTransport {
    async fn send(&self, _: crate::send::Request) -> crate::model::Outcome {
        crate::model::Outcome::NoAnswer { reason: String::new() }
    }
}
