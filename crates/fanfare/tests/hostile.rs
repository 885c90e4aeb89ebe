//! Receivers that do harm. Each ends by its budget or its deadline, takes no more than that, and
//! leaves those beside it alone. The clock is the runtime's: it stands still while anything moves,
//! and jumps to the next deadline when nothing does.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test's own hands ends the test"
)]

mod receiver;

use std::sync::Arc;
use std::time::Duration;

use fanfare::model::{Answer, Outcome, Timestamp};
use fanfare::policy::retry;
use fanfare::send::guard::GuardPolicy;
use fanfare::send::{HttpTransport, Transport};
use fanfare_testkit::hostile::{BEFORE_TLS, Hostile, PLAIN, Receiver};
use receiver::{OK, answer, request};
use tokio::task::JoinSet;

/// How each of them ends: a status and what was wrong beside it, or why there was no answer.
const ENDS: &[(&str, &str)] = &[
    ("never accepts", "timeout: connecting took over 5s"),
    ("closes at once", CUT),
    ("resets at once", CUT),
    ("never answers", "timeout: waiting for the answer took over 6s"),
    ("closes without an answer", "protocol: connection closed before the answer was complete"),
    ("drips its head", "timeout: waiting for the answer took over 6s"),
    ("endless head", "budget: the answer has more than 100 headers, or 64 KiB of them"),
    ("endless header", "budget: the answer has more than 100 headers, or 64 KiB of them"),
    ("endless status line", "budget: the answer has more than 100 headers, or 64 KiB of them"),
    ("thousands of headers", "budget: the answer has more than 100 headers, or 64 KiB of them"),
    ("huge header", "budget: the answer has more than 100 headers, or 64 KiB of them"),
    ("floods of interim answers", "budget: more than 8 interim answers came before the answer"),
    ("endless interim answers", "budget: more than 64 KiB came before the answer"),
    ("nine interim answers", "budget: more than 8 interim answers came before the answer"),
    (
        "switches protocols",
        "protocol: the endpoint switched to another protocol (101), which nobody asked for",
    ),
    ("reset in its head", "protocol: connection reset before the answer was complete"),
    ("closes in its head", "protocol: connection closed before the answer was complete"),
    ("HTTP/0.9", "protocol: invalid HTTP version parsed"),
    ("HTTP/2 unasked", "protocol: invalid HTTP version parsed"),
    ("garbage", "protocol: invalid HTTP version parsed"),
    ("control bytes in a header", "protocol: invalid HTTP header parsed"),
    ("folded header", "protocol: invalid HTTP header parsed"),
    ("space before a colon", "protocol: invalid HTTP header parsed"),
    ("drips its body", "200; the body was cut at the deadline"),
    ("endless body", "200; the body was cut at 64 KiB"),
    ("endless chunks", "200; the body was cut at 64 KiB"),
    ("tiny chunks", "200; the body was cut, because it came in too many pieces"),
    ("chunk extensions", "200; the body breaks the rules of HTTP"),
    ("endless chunk extension", "200; the body breaks the rules of HTTP"),
    ("endless chunk size", "200; the body was cut, because too much came around it"),
    ("vast chunk", "200; the body was cut at 64 KiB"),
    ("negative chunk", "200; the body breaks the rules of HTTP"),
    ("endless trailers", "200; the body breaks the rules of HTTP"),
    ("drips its trailers", "200; the body was cut at the deadline"),
    ("gzip bomb", "200"),
    ("reset in its body", "200; the connection broke off within the body"),
    ("closes in its body", "200; the connection broke off within the body"),
    ("closes in a chunk", "200; the connection broke off within the body"),
    ("length too short", "200"),
    ("two lengths", "protocol: invalid content-length parsed"),
    ("negative length", "protocol: invalid content-length parsed"),
    ("length beyond numbers", "protocol: invalid content-length parsed"),
    ("vast length", "200; the body was cut at 64 KiB"),
    ("length and chunks", "200"),
    ("two encodings", "200"),
    ("smuggled answer", "200"),
    ("smuggled in chunks", "200"),
    ("endless answers", "200"),
    ("redirects with 301", "301"),
    ("redirects with 302", "302"),
    ("redirects with 303 to itself", "303"),
    ("redirects with 307", "307"),
    ("redirects with 308", "308"),
    ("wants to wait for ever", "503"),
    ("wants to wait backwards", "503"),
    ("wants to wait an age", "503"),
    ("wants to wait long ago", "503"),
    ("waits in words", "503"),
    ("sets cookies", "200"),
    ("tls: stalls", "timeout: the TLS handshake took over 5s"),
    ("tls: closes", "tls: handshake_cut: connection closed"),
    ("tls: resets", "tls: handshake_cut: connection reset"),
    ("tls: plain text", "tls: not_tls: the endpoint does not speak TLS at this port"),
    ("tls: zeros", "tls: not_tls: the endpoint does not speak TLS at this port"),
    ("tls: a record too large", "tls: not_tls: the endpoint does not speak TLS at this port"),
    ("tls: a message too large", "tls: not_tls: the endpoint does not speak TLS at this port"),
    ("tls: drips", "timeout: the TLS handshake took over 5s"),
    ("tls: alerts without end", "tls: handshake_failed: the endpoint broke the rules of TLS"),
    ("tls: cipher changes", "tls: handshake_failed: the endpoint broke the rules of TLS"),
];

/// How far the sender had come by then, and what it was told, is a matter of luck.
const CUT: &str = "cut";

/// The budget, and what the sockets' buffers hold of what is never read.
const TAKEN_MAX: u64 = 1024 * 1024;

/// As in production, and with the time that is the default there.
fn transport() -> Arc<HttpTransport> {
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let policy =
        GuardPolicy { allow_http: true, allow_networks: networks, ..GuardPolicy::default() };
    Arc::new(HttpTransport::new(policy, Duration::from_secs(6)))
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NoAnswer { reason } => reason.clone(),
        Outcome::Answered(Answer { status, flaw, .. }) => {
            let flaw = flaw.as_ref().map_or(String::new(), |flaw| format!("; {flaw}"));
            format!("{status}{flaw}")
        }
    }
}

#[tokio::test]
async fn a_hostile_receiver_ends_by_its_budget_or_deadline_and_harms_no_other() {
    let healthy = receiver::Receiver::answering(OK).await;
    let transport = transport();
    let mut attempts = JoinSet::new();
    for hostile in PLAIN.iter().chain(BEFORE_TLS) {
        let receiver = Receiver::start(hostile, None).await.unwrap();
        let transport = Arc::clone(&transport);
        attempts.spawn(async move {
            let scheme = if hostile.name.starts_with("tls: ") { "https" } else { "http" };
            let url = format!("{scheme}://{}/hook", receiver.address);
            (hostile.name, transport.send(request(&url)).await.outcome, receiver)
        });
    }
    for _ in 0..20 {
        let sent = transport.send(request(&healthy.url("/hook"))).await;
        assert_eq!(shown(&sent.outcome), "200");
    }
    let ended = attempts.join_all().await;
    drop(transport);
    let mut ends = Vec::new();
    for (name, outcome, receiver) in ended {
        receiver.until_left_alone().await;
        assert!(receiver.wrote() < TAKEN_MAX, "{name} could say {} bytes", receiver.wrote());
        assert!(receiver.connections() <= 1, "{name} was asked again");
        let end = shown(&outcome);
        let cut = name.ends_with(" at once") && end.contains(": connection ");
        ends.push((name, if cut { CUT.to_owned() } else { end }));
    }
    if ends.iter().any(|(name, end)| *name == "tls: stalls" && end.starts_with("tls: no_roots")) {
        // A bare machine has nothing to begin a handshake with.
        ends.retain(|(name, _)| !name.starts_with("tls: "));
    }
    ends.sort();
    let mut expected: Vec<_> = ENDS.iter().map(|(name, end)| (*name, (*end).to_owned())).collect();
    expected.retain(|(name, _)| ends.iter().any(|(ended, _)| ended == name));
    expected.sort();
    assert_eq!(ends, expected);
    assert!(ends.len() >= PLAIN.len());
}

/// An answer of this receiver, and how many connections it took to get it twice.
async fn twice(name: &str) -> (Answer, u64) {
    let receiver = Receiver::start(Hostile::named(name).unwrap(), None).await.unwrap();
    let transport = transport();
    let url = format!("http://{}/hook", receiver.address);
    let first = answer(transport.send(request(&url)).await.outcome);
    assert_eq!(answer(transport.send(request(&url)).await.outcome), first);
    (first, receiver.connections())
}

#[tokio::test]
async fn a_second_answer_that_nobody_asked_for_is_never_taken() {
    for name in [
        "smuggled answer",
        "smuggled in chunks",
        "endless answers",
        "length and chunks",
        "length too short",
    ] {
        let (answer, connections) = twice(name).await;
        assert_eq!((answer.status, connections), (200, 2), "{name}");
    }
}

#[tokio::test]
async fn what_is_packed_is_not_unpacked() {
    let (answer, _) = twice("gzip bomb").await;
    assert!(answer.body.starts_with(&[0x1f, 0x8b]), "{:?}", answer.body);
    assert_eq!(answer.headers.get("content-encoding"), Some("gzip"));
    let length = answer.headers.get("content-length").unwrap();
    assert_eq!(answer.body.len().to_string(), length);
}

#[tokio::test]
async fn a_hostile_wish_to_wait_is_granted_for_a_day_or_not_at_all() {
    const DAY: Option<Duration> = Some(Duration::from_secs(24 * 3600));
    let now = Timestamp(1_700_000_000_000);
    for (name, granted) in [
        ("wants to wait for ever", DAY),
        ("wants to wait an age", DAY),
        ("wants to wait backwards", None),
        ("wants to wait long ago", None),
        ("waits in words", None),
    ] {
        let (answer, _) = twice(name).await;
        let hold = retry::hold(&Outcome::Answered(answer), now);
        assert_eq!(hold.map(|until| until.since(now)), granted, "{name}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_even_to_where_it_came_from() {
    for status in [301, 302, 303, 307, 308] {
        let name = format!("redirects with {status}");
        let itself = format!("{name} to itself");
        let name = if Hostile::named(&name).is_some() { name } else { itself };
        assert_eq!(twice(&name).await.0.status, status);
    }
}
