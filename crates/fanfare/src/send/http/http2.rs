//! Tests over HTTP/2. They need an authority that only the crate itself can trust.

use std::sync::Mutex;

use fanfare_testkit::authority::Authority;
use fanfare_testkit::hostile::{HTTP2, Receiver};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::model::{CompanyId, Outcome};
use crate::send::tls::Tls;

/// How each of them ends: a status and what was wrong beside it, or why there was no answer.
const ENDS: &[(&str, &str)] = &[
    ("h2: never answers", "timeout: waiting for the answer took over 6s"),
    ("h2: never says a word", "timeout: waiting for the answer took over 6s"),
    ("h2: no window for a body", "timeout: waiting for the answer took over 6s"),
    (
        "h2: answers like HTTP/1.1",
        "protocol: the endpoint broke the rules of HTTP/2 (FRAME_SIZE_ERROR)",
    ),
    ("h2: closes without an answer", "protocol: connection closed before the answer was complete"),
    ("h2: settings", "budget: more than 64 KiB came before the answer"),
    (
        "h2: settings that were not asked for",
        "protocol: the endpoint broke the rules of HTTP/2 (PROTOCOL_ERROR)",
    ),
    ("h2: pings", "budget: more than 64 KiB came before the answer"),
    ("h2: windows", "budget: more than 64 KiB came before the answer"),
    (
        "h2: overflowing windows",
        "protocol: the endpoint broke the rules of HTTP/2 (FLOW_CONTROL_ERROR)",
    ),
    ("h2: priorities", "budget: more than 64 KiB came before the answer"),
    ("h2: frames of no known kind", "budget: more than 64 KiB came before the answer"),
    ("h2: interim answers", "budget: more than 8 interim answers came before the answer"),
    ("h2: resets of what is open", "protocol: the endpoint reset the HTTP/2 stream (CANCEL)"),
    (
        "h2: resets of what never was",
        "protocol: the endpoint broke the rules of HTTP/2 (PROTOCOL_ERROR)",
    ),
    ("h2: farewells", "budget: more than 64 KiB came before the answer"),
    ("h2: endless head", "budget: too many HTTP/2 frames or headers came"),
    ("h2: head of empty frames", "budget: too many HTTP/2 frames or headers came"),
    ("h2: header bomb", "budget: too many HTTP/2 frames or headers came"),
    ("h2: bombs of interim answers", "budget: more than 8 interim answers came before the answer"),
    ("h2: promises", "protocol: the endpoint broke the rules of HTTP/2 (PROTOCOL_ERROR)"),
    (
        "h2: a stream that nobody opened",
        "protocol: the endpoint broke the rules of HTTP/2 (PROTOCOL_ERROR)",
    ),
    (
        "h2: a header of HTTP/1.1",
        "protocol: the endpoint broke the rules of HTTP/2 (PROTOCOL_ERROR)",
    ),
    (
        "h2: a header in capitals",
        "protocol: the endpoint broke the rules of HTTP/2 (PROTOCOL_ERROR)",
    ),
    ("h2: no status", "protocol: the endpoint broke the rules of HTTP/2 (PROTOCOL_ERROR)"),
    (
        "h2: an index of nothing",
        "protocol: the endpoint broke the rules of HTTP/2 (PROTOCOL_ERROR)",
    ),
    (
        "h2: a frame too large",
        "protocol: the endpoint broke the rules of HTTP/2 (FRAME_SIZE_ERROR)",
    ),
    ("h2: reset", "protocol: the endpoint reset the HTTP/2 stream (CANCEL)"),
    ("h2: refused", "protocol: the endpoint reset the HTTP/2 stream (REFUSED_STREAM)"),
    ("h2: farewell", "protocol: the endpoint ended the HTTP/2 connection (NO_ERROR)"),
    ("h2: endless body", "200; the body was cut at 64 KiB"),
    ("h2: drips its body", "200; the body was cut at the deadline"),
    ("h2: body of nothing", "200; the body breaks the rules of HTTP"),
    ("h2: body of crumbs", "200; the body breaks the rules of HTTP"),
    ("h2: body of padding", "200; the body breaks the rules of HTTP"),
    ("h2: pings in its body", "200; the body was cut, because too much came around it"),
    ("h2: endless trailers", "200; the body breaks the rules of HTTP"),
    ("h2: reset in its body", "200; the connection broke off within the body"),
    ("h2: wrong length", "200; the body breaks the rules of HTTP"),
];

/// What a socket's buffers can hold of what is never read, and the budget for what is.
const TAKEN_MAX: u64 = 1024 * 1024;

type Connection = h2::server::Connection<TlsStream<TcpStream>, Bytes>;

fn transport(authority: &Authority) -> Arc<HttpTransport> {
    let policy = GuardPolicy {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..GuardPolicy::default()
    };
    let connector = Connector::trusting(policy.clone(), Tls::trusting(authority));
    let whole = Duration::from_secs(6);
    Arc::new(HttpTransport { connector, ..HttpTransport::new(policy, whole) })
}

fn request(port: u16, body: Bytes) -> Request {
    Request {
        company: CompanyId::from_uuid(uuid::Uuid::nil()),
        method: Method::POST,
        url: format!("https://127.0.0.1:{port}/hook?a=b").parse().unwrap(),
        headers: HeaderMap::new(),
        identity: None,
        body,
    }
}

fn shown(outcome: Outcome) -> String {
    match outcome {
        Outcome::NoAnswer { reason } => reason,
        Outcome::Answered(answer) => {
            let flaw = answer.flaw.map_or(String::new(), |flaw| format!("; {flaw}"));
            format!("{}{flaw}", answer.status)
        }
    }
}

/// A server that speaks HTTP/2, and does this with each connection.
async fn served<F>(
    authority: &Authority,
    serve: impl Fn(Connection, usize) -> F + Send + 'static,
) -> (u16, AbortOnDropHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = authority.issue("127.0.0.1", 2999).acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        for number in 1.. {
            let (socket, _) = listener.accept().await.unwrap();
            let session = acceptor.accept(socket).await.unwrap();
            let connection = h2::server::handshake(session).await.unwrap();
            tokio::spawn(serve(connection, number));
        }
    });
    (port, AbortOnDropHandle::new(task))
}

fn answer(mut respond: h2::server::SendResponse<Bytes>, text: &'static str) {
    let head = Response::builder().status(StatusCode::OK).body(()).unwrap();
    let mut body = respond.send_response(head, false).unwrap();
    body.send_data(Bytes::from_static(text.as_bytes()), true).unwrap();
}

#[tokio::test]
async fn a_request_over_http2_names_its_authority_and_the_connection_is_used_again() {
    let authority = Authority::new("ours");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let (port, _serving) = served(&authority, move |mut connection, number| {
        let heard = Arc::clone(&hears);
        async move {
            while let Some(Ok((request, respond))) = connection.accept().await {
                let (head, mut body) = request.into_parts();
                let mut length = 0;
                let read = async {
                    while let Some(Ok(piece)) = body.data().await {
                        length += piece.len();
                        body.flow_control().release_capacity(piece.len()).unwrap();
                    }
                };
                tokio::select! {
                    () = read => {}
                    _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => return,
                }
                heard.lock().unwrap().push((number, head, length));
                answer(respond, "ok");
            }
        }
    })
    .await;
    let transport = transport(&authority);
    for _ in 0..3 {
        let mut request = request(port, Bytes::from(vec![b'x'; 200_000]));
        for (name, value) in [("connection", "close"), ("host", "elsewhere"), ("te", "trailers")] {
            request.headers.insert(name, value.parse().unwrap());
        }
        let Outcome::Answered(answer) = transport.send(request).await.outcome else { panic!() };
        assert_eq!((answer.status, &answer.body[..], answer.flaw), (200, &b"ok"[..], None));
    }
    for (number, head, length) in heard.lock().unwrap().iter() {
        assert_eq!((*number, *length, head.version), (1, 200_000, Version::HTTP_2));
        assert_eq!(head.uri, *format!("https://127.0.0.1:{port}/hook?a=b"));
        let names: Vec<&str> = head.headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["content-length"]);
    }
    assert_eq!(heard.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_kept_connection_that_refuses_or_says_goodbye_is_replaced_at_once() {
    for refuses in [true, false] {
        let authority = Authority::new("ours");
        let (port, _serving) = served(&authority, move |mut connection, number| async move {
            let mut taken = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                taken += 1;
                match (number, taken, refuses) {
                    (1, 2, true) => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    (1, 2, false) => return,
                    _ => answer(respond, "ok"),
                }
            }
        })
        .await;
        let transport = transport(&authority);
        for number in 1..=3 {
            let sent = transport.send(request(port, Bytes::from_static(b"{}"))).await;
            assert_eq!(shown(sent.outcome), "200", "{number}, refuses: {refuses}");
        }
    }
}

#[tokio::test]
async fn a_hostile_receiver_over_http2_ends_by_its_budget_and_harms_no_other() {
    let authority = Authority::new("ours");
    let (healthy, _serving) = served(&authority, |mut connection, _| async move {
        while let Some(Ok((_, respond))) = connection.accept().await {
            answer(respond, "ok");
        }
    })
    .await;
    let transport = transport(&authority);
    let mut attempts = JoinSet::new();
    for hostile in HTTP2 {
        let acceptor = authority.issue("127.0.0.1", 2999).acceptor();
        let receiver = Receiver::start(hostile, Some(acceptor)).await.unwrap();
        let transport = Arc::clone(&transport);
        attempts.spawn(async move {
            // More than the window that every stream has at first.
            let request = request(receiver.address.port(), Bytes::from(vec![b'x'; 100_000]));
            (hostile.name, shown(transport.send(request).await.outcome), receiver)
        });
    }
    for _ in 0..20 {
        let sent = transport.send(request(healthy, Bytes::from_static(b"{}"))).await;
        assert_eq!(shown(sent.outcome), "200");
    }
    let ended = attempts.join_all().await;
    drop(transport);
    let mut ends = Vec::new();
    for (name, end, receiver) in ended {
        receiver.until_left_alone().await;
        assert!(receiver.wrote() < TAKEN_MAX, "{name} could say {} bytes", receiver.wrote());
        assert_eq!(receiver.connections(), 1, "{name} was asked again");
        ends.push((name, end));
    }
    ends.sort();
    let mut expected: Vec<_> = ENDS.iter().map(|(name, end)| (*name, (*end).to_owned())).collect();
    expected.sort();
    assert_eq!(ends, expected);
}
