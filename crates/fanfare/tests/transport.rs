//! The transport against receivers that behave, and many that do not, on real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test's own hands ends the test"
)]

mod receiver;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare::model::{CompanyId, Timestamp, Timing};
use fanfare::send::guard::GuardPolicy;
use fanfare::send::{HttpTransport, Transport};
use receiver::{
    OK, PATIENT, Receiver, SHORT, answer, policy, read_request, reason, request, send, transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_request_arrives_byte_for_byte_with_host_and_length_of_our_making() {
    let receiver = Receiver::echoing().await;
    let mut request = request(&receiver.url("/a%20b/ü?q=1&r=[]|"));
    request.headers.insert("host", "elsewhere.example".parse().unwrap());
    request.headers.insert("content-length", "9999".parse().unwrap());
    request.headers.insert("transfer-encoding", "chunked".parse().unwrap());
    request.body = Bytes::from("{\"price\":1.10,\"n\":12345678901234567890,\"s\":\"ü\"}");
    let sent = answer(transport(&receiver, PATIENT).send(request).await.outcome).body;
    let sent = String::from_utf8(sent.to_vec()).unwrap();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /a%20b/%C3%BC?q=1&r=[]| HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: 127.0.0.1:{}\r\n", receiver.port)), "{head}");
    assert!(head.contains("content-length: 48") && !head.contains("9999"), "{head}");
    assert!(!head.contains("transfer-encoding") && !head.contains("accept-encoding"), "{head}");
    assert_eq!(body, "{\"price\":1.10,\"n\":12345678901234567890,\"s\":\"ü\"}");
}

#[tokio::test]
async fn an_answer_is_kept_with_its_status_headers_and_body() {
    let receiver = Receiver::answering(
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
          HTTP/1.1 418 No\r\nX-Odd: a\xffb\r\ncontent-length: 6\r\n\r\nteapot",
    )
    .await;
    let answer = answer(send(&transport(&receiver, PATIENT), &receiver).await);
    assert_eq!((answer.status, &answer.body[..], answer.flaw), (418, &b"teapot"[..], None));
    let odd = answer.headers.get("x-odd").unwrap();
    assert_eq!(odd, "a\u{fffd}b");
}

#[tokio::test]
async fn a_connection_is_used_again_within_a_company_only() {
    let receiver = Receiver::answering(OK).await;
    let transport = transport(&receiver, PATIENT);
    for _ in 0..5 {
        assert_eq!(answer(send(&transport, &receiver).await).status, 200);
    }
    assert_eq!(receiver.connections(), 1);
    let mut other = request(&receiver.url("/hook"));
    other.company = CompanyId::new(Timestamp(1));
    assert_eq!(answer(transport.send(other).await.outcome).status, 200);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn chunked_empty_and_bodiless_answers_leave_the_connection_usable() {
    for shape in [
        &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
    ] {
        let receiver = Receiver::answering(shape).await;
        let transport = transport(&receiver, PATIENT);
        for _ in 0..3 {
            assert_eq!(answer(send(&transport, &receiver).await).flaw, None);
        }
        assert_eq!(receiver.connections(), 1, "{}", String::from_utf8_lossy(shape));
    }
}

#[tokio::test]
async fn many_at_once_get_an_answer_each() {
    let receiver = Receiver::answering(OK).await;
    let transport = Arc::new(transport(&receiver, PATIENT));
    for _ in 0..2 {
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (transport, url) = (Arc::clone(&transport), receiver.url("/hook"));
            senders
                .spawn(async move { answer(transport.send(request(&url)).await.outcome).status });
        }
        assert_eq!(senders.join_all().await, [200; 100]);
    }
    // What found no place in the pool the first time was made anew the second time.
    assert!(receiver.connections() <= 100 + 36, "{}", receiver.connections());
}

#[tokio::test]
async fn a_kept_connection_that_closes_instead_of_answering_is_replaced_at_once() {
    let receiver = Receiver::playing(|mut socket, number| async move {
        read_request(&mut socket).await;
        socket.write_all(OK).await.unwrap();
        read_request(&mut socket).await;
        if number > 1 {
            socket.write_all(OK).await.unwrap();
        }
    })
    .await;
    let transport = transport(&receiver, PATIENT);
    for _ in 0..2 {
        assert_eq!(answer(send(&transport, &receiver).await).status, 200);
    }
    assert_eq!((receiver.connections(), receiver.requests()), (2, 3));
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_used() {
    let receiver = Receiver::playing(|mut socket, _| async move {
        read_request(&mut socket).await;
        socket.write_all(OK).await.unwrap();
    })
    .await;
    let transport = transport(&receiver, PATIENT);
    for sent in 1..=3 {
        assert_eq!(answer(send(&transport, &receiver).await).status, 200);
        receiver.until_closed(sent).await;
    }
    assert_eq!((receiver.connections(), receiver.requests()), (3, 3));
}

#[tokio::test]
async fn an_answer_that_began_or_a_new_connection_is_never_asked_twice() {
    for begun in [&b""[..], b"HTTP/1.1 2"] {
        let receiver = Receiver::playing(move |mut socket, _| async move {
            if !begun.is_empty() {
                read_request(&mut socket).await;
                socket.write_all(OK).await.unwrap();
            }
            read_request(&mut socket).await;
            socket.write_all(begun).await.unwrap();
        })
        .await;
        let transport = transport(&receiver, PATIENT);
        if !begun.is_empty() {
            assert_eq!(answer(send(&transport, &receiver).await).status, 200);
        }
        let before = receiver.requests();
        let reason = reason(send(&transport, &receiver).await);
        assert!(reason.starts_with("protocol: connection closed"), "{reason}");
        assert_eq!((receiver.connections(), receiver.requests()), (1, before + 1));
    }
}

#[tokio::test]
async fn what_follows_an_answer_unasked_is_not_taken_for_the_next_one() {
    let receiver = Receiver::answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 Evil\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let transport = transport(&receiver, PATIENT);
    for _ in 0..2 {
        assert_eq!(answer(send(&transport, &receiver).await).status, 200);
    }
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn what_comes_while_a_connection_lies_idle_is_not_taken_for_the_next_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, gone) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let receiver = std::thread::spawn(move || {
        let answer_one = |mut socket: &std::net::TcpStream| {
            assert!(socket.read(&mut [0; 4096]).unwrap() > 0);
            socket.write_all(OK).unwrap();
        };
        let (first, _) = listener.accept().unwrap();
        answer_one(&first);
        go.1.recv().unwrap();
        (&first).write_all(b"HTTP/1.1 500 Evil\r\ncontent-length: 0\r\n\r\n").unwrap();
        gone.0.send(()).unwrap();
        answer_one(&listener.accept().unwrap().0);
    });
    let transport = HttpTransport::new(policy(&[port]), PATIENT);
    let url = format!("http://127.0.0.1:{port}/hook");
    assert_eq!(answer(transport.send(request(&url)).await.outcome).status, 200);
    go.0.send(()).unwrap();
    // Blocks the runtime: it cannot have noticed what lies in the socket now.
    gone.1.recv().unwrap();
    assert_eq!(answer(transport.send(request(&url)).await.outcome).status, 200);
    receiver.join().unwrap();
}

#[tokio::test]
async fn a_silent_receiver_costs_one_timeout() {
    let receiver = Receiver::playing(|mut socket, _| async move {
        read_request(&mut socket).await;
        socket.read_u8().await.ok();
    })
    .await;
    let reason = reason(send(&transport(&receiver, SHORT), &receiver).await);
    assert_eq!(reason, "timeout: waiting for the answer took over 300ms");
    receiver.until_closed(1).await;
}

#[tokio::test]
async fn an_endless_body_is_cut_and_the_status_counts() {
    let receiver = Receiver::playing(|mut socket, _| async move {
        read_request(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while socket.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let answer = answer(send(&transport(&receiver, PATIENT), &receiver).await);
    assert_eq!((answer.status, answer.body.len()), (200, 64 * 1024));
    assert_eq!(answer.flaw.as_deref(), Some("the body was cut at 64 KiB"));
    receiver.until_closed(1).await;
}

#[tokio::test]
async fn a_body_of_64_kib_is_read_whole_and_its_connection_kept() {
    let mut whole = b"HTTP/1.1 200 OK\r\ncontent-length: 65536\r\n\r\n".to_vec();
    whole.resize(whole.len() + 65536, b'x');
    let receiver = Receiver::answering(whole.leak()).await;
    let transport = transport(&receiver, PATIENT);
    for _ in 0..2 {
        let answer = answer(send(&transport, &receiver).await);
        assert_eq!((answer.body.len(), answer.flaw), (64 * 1024, None));
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_dripping_body_after_200_is_a_success_cut_at_its_deadline() {
    let receiver = Receiver::playing(|mut socket, _| async move {
        read_request(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n").await.unwrap();
        while socket.write_all(b".").await.is_ok() {
            receiver::pause(Duration::from_millis(20)).await;
        }
    })
    .await;
    let answer = answer(send(&transport(&receiver, SHORT), &receiver).await);
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with(b".") && answer.body.len() < 100, "{:?}", answer.body);
    assert_eq!(answer.flaw.as_deref(), Some("the body was cut at the deadline"));
}

#[tokio::test]
async fn a_head_without_end_is_refused_and_a_large_one_is_kept_in_part() {
    let receiver = Receiver::playing(|mut socket, _| async move {
        read_request(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        while socket.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let reason = reason(send(&transport(&receiver, PATIENT), &receiver).await);
    assert!(reason.starts_with("budget: "), "{reason}");
    receiver.until_closed(1).await;

    let line = format!("x: {}\r\n", "y".repeat(1000));
    let large = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", line.repeat(40));
    let receiver = Receiver::answering(large.leak().as_bytes()).await;
    let answer = answer(send(&transport(&receiver, PATIENT), &receiver).await);
    let kept: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(kept > 15 * 1024 && kept <= 16 * 1024, "{kept}");
}

#[tokio::test]
async fn what_is_not_http_is_said_to_be_so() {
    for noise in [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], b"\x00\x01\x02\x03", b"HTTP/1.1 abc\r\n\r\n"] {
        let receiver = Receiver::answering(noise).await;
        let reason = reason(send(&transport(&receiver, PATIENT), &receiver).await);
        assert!(reason.starts_with("protocol: "), "{reason}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let aim = Receiver::answering(OK).await;
    let head =
        format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", aim.url("/"));
    let receiver = Receiver::answering(head.leak().as_bytes()).await;
    let transport = HttpTransport::new(policy(&[receiver.port, aim.port]), PATIENT);
    assert_eq!(answer(send(&transport, &receiver).await).status, 302);
    assert_eq!(aim.connections(), 0);
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let transport = HttpTransport::new(policy(&[port]), PATIENT);
    let outcome = transport.send(request(&format!("http://127.0.0.1:{port}/"))).await.outcome;
    assert_eq!(reason(outcome), "connect: connection refused");
}

#[tokio::test]
async fn a_reset_before_the_head_ends_is_no_answer_and_a_broken_body_a_flaw() {
    let receiver = Receiver::playing(|mut socket, _| async move {
        read_request(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nx-").await.unwrap();
        socket.set_zero_linger().unwrap();
    })
    .await;
    let reason = reason(send(&transport(&receiver, PATIENT), &receiver).await);
    assert!(reason.starts_with("protocol: connection "), "{reason}");

    let receiver = Receiver::playing(|mut socket, _| async move {
        read_request(&mut socket).await;
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        socket.write_all(half).await.unwrap();
    })
    .await;
    let answer = answer(send(&transport(&receiver, PATIENT), &receiver).await);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"half"[..]));
    assert_eq!(answer.flaw.as_deref(), Some("the connection broke off within the body"));
}

#[tokio::test]
async fn what_is_forbidden_sees_no_connection() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.port;
    let closed = GuardPolicy { allow_http: true, ..GuardPolicy::default() };
    let named = GuardPolicy { allow_hosts: vec!["localhost".parse().unwrap()], ..closed.clone() };
    let elsewhere = policy(&[port.wrapping_add(1).max(1)]);
    for (policy, host, rule) in [
        (&closed, "127.0.0.1", "address_not_public"),
        (&closed, "2130706433", "address_not_public"),
        (&closed, "[::ffff:127.0.0.1]", "address_embedded"),
        (&closed, "localhost", "local_name"),
        (&closed, "me@127.0.0.1", "user_info"),
        (&named, "localhost", "address_not_public"), // as the name resolves
        (&elsewhere, "127.0.0.1", "address_not_public"),
    ] {
        let transport = HttpTransport::new(policy.clone(), PATIENT);
        // Planted: parsed by nobody who judges.
        let outcome = transport.send(request(&format!("http://{host}:{port}/hook"))).await.outcome;
        let reason = reason(outcome);
        assert!(reason.starts_with(&format!("refused: {rule}: ")), "{host}: {reason}");
        assert!(!reason.contains("127.") && !reason.contains("::1"), "{reason}");
    }
    let https_only = HttpTransport::new(GuardPolicy::default(), PATIENT);
    let outcome = https_only.send(request(&receiver.url("/hook"))).await.outcome;
    assert!(reason(outcome).starts_with("refused: plain_http: "));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_is_resolved_judged_and_reached() {
    let receiver = Receiver::answering(OK).await;
    let mut policy = policy(&[receiver.port]);
    policy.allow_networks.push(format!("[::1]/128:{}", receiver.port).parse().unwrap());
    policy.allow_hosts.push("localhost".parse().unwrap());
    let transport = HttpTransport::new(policy, PATIENT);
    let url = format!("http://localhost:{}/hook", receiver.port);
    for _ in 0..2 {
        assert_eq!(answer(transport.send(request(&url)).await.outcome).status, 200);
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_a_tls_failure() {
    let receiver = receiver::self_signed().await;
    let url = format!("https://127.0.0.1:{}/hook", receiver.port);
    let reason = reason(transport(&receiver, PATIENT).send(request(&url)).await.outcome);
    let words = ["tls: unknown_issuer: ", "tls: no_roots: "]; // the latter on a bare machine
    assert!(words.iter().any(|word| reason.starts_with(word)), "{reason}");
    assert_eq!(receiver.requests(), 0);
}

#[tokio::test]
async fn an_abandoned_attempt_closes_its_connection() {
    let receiver = Receiver::playing(|mut socket, _| async move {
        read_request(&mut socket).await;
        socket.read_u8().await.ok();
    })
    .await;
    let transport = transport(&receiver, PATIENT);
    tokio::select! {
        outcome = send(&transport, &receiver) => panic!("{outcome:?}"),
        () = receiver.until_asked(1) => {}
    }
    receiver.until_closed(1).await;
}

#[tokio::test]
async fn the_time_goes_to_the_steps_that_were_needed() {
    let receiver = Receiver::answering(OK).await;
    let mut policy = policy(&[receiver.port]);
    policy.allow_networks.push(format!("[::1]/128:{}", receiver.port).parse().unwrap());
    policy.allow_hosts.push("localhost".parse().unwrap());
    let transport = HttpTransport::new(policy, PATIENT);
    let by_name = format!("http://localhost:{}/hook", receiver.port);
    let steps = async |url: &str| {
        let Timing { queue, dns, connect, tls, first_byte } =
            transport.send(request(url)).await.timing;
        [queue, dns, connect, tls, first_byte].map(|step| step.is_some())
    };
    assert_eq!(steps(&by_name).await, [false, true, true, false, true], "a new connection");
    assert_eq!(steps(&by_name).await, [false, true, false, false, true], "one that was kept");
    let by_address = receiver.url("/hook");
    assert_eq!(steps(&by_address).await, [false, false, true, false, true], "no name");
}

#[tokio::test]
async fn a_step_that_used_up_the_time_shows_it_and_what_was_not_reached_shows_none() {
    let receiver = Receiver::playing(|mut socket, _| async move {
        // Takes the greeting, and says nothing until the sender goes away.
        while socket.read_u8().await.is_ok() {}
    })
    .await;
    let url = format!("https://127.0.0.1:{}/hook", receiver.port);
    let sent = transport(&receiver, SHORT).send(request(&url)).await;
    let reason = reason(sent.outcome);
    if reason.starts_with("tls: no_roots: ") {
        return; // A bare machine has nothing to begin a handshake with.
    }
    assert!(reason.starts_with("timeout: "), "{reason}");
    assert!(sent.timing.connect.is_some() && sent.timing.tls.is_some(), "{:?}", sent.timing);
    assert_eq!(sent.timing.first_byte, None);
}
