//! What a request's head may not say although it can be parsed: whom it is for in two ways, or in
//! none.

use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Version};

/// What is wrong with a head, if anything is.
pub(super) fn flaw(head: &Parts) -> Option<&'static str> {
    let host = one(head, &HOST);
    match head.uri.scheme_str() {
        // A path, as servers are asked; `*` and `name:port` are for others.
        None if head.uri.path().starts_with('/') && head.uri.authority().is_none() => {}
        // A whole URL, as proxies are asked, if it leaves no doubt who is meant.
        Some("http" | "https") if host.is_ok_and(|host| names(host, head.uri.authority())) => {}
        _ => return Some("the request's target must be a path that begins with /"),
    }
    let sound = match host {
        Ok(None) => head.version == Version::HTTP_10,
        Ok(Some(host)) => authority(host).is_some(),
        Err(Twice) => false,
    };
    (!sound).then_some("Host: must be given once, as a name or address with or without port")
}

/// A header was given more than once.
#[derive(Clone, Copy)]
struct Twice;

fn one<'a>(head: &'a Parts, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Twice> {
    let mut given = head.headers.get_all(name).iter();
    let first = given.next();
    if given.next().is_some() { Err(Twice) } else { Ok(first) }
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    let host = host.to_str().ok().filter(|host| !host.contains('@'))?;
    host.parse().ok()
}

fn names(host: Option<&HeaderValue>, named: Option<&Authority>) -> bool {
    host.and_then(authority).as_ref() == named
}
