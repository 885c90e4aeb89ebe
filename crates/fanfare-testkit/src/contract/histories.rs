//! What is remembered.

use std::time::Duration;

use bytes::Bytes;
use fanfare::model::{
    Answer, Attempt, DeliveryId, DeliveryList, DeliverySort, EndpointChange, EndpointId, Headers,
    Outcome, Timing, Verdict, Window,
};
use fanfare::store::Store;

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, act, admission, attempt, claim_one, company, emit_some, event,
    failed, history, listener, new, plain, result,
};

/// Whatever JSON it is.
pub async fn bytes_in_are_bytes_out(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let long = format!(r#""{}""#, "é".repeat(100 * 1024));
    let payloads = [
        r#"{"price":1.10,"n":12345678901234567890,"e":1E+2}"#,
        r#" { "a" : 1 , "a" : 2 } "#,
        r#""\u0000 \ud83d\ude00 \/ 😀 e\u0301 é""#,
        "null",
        "",
        &long,
    ];
    for payload in payloads {
        let mut event = event(company, "a", NOW);
        event.payload = Bytes::copy_from_slice(payload.as_bytes());
        let (claims, _) = new(store.accept(plain(&event), &admission(true)).await.unwrap());
        assert_eq!(claims[0].event.payload, event.payload);
        let read = store.delivery(company, claims[0].delivery).await.unwrap().unwrap();
        assert_eq!(read.event.payload, event.payload);
        assert_eq!(read.event.event_type, event.event_type);
        assert_eq!((read.event.id, read.event.created_at), (event.id, NOW));
        assert_eq!(history(store, &endpoint).await[0].event.payload, event.payload);
        let again = claim_one(store, &endpoint, NOW.plus(LEASE)).await;
        assert_eq!(again.event.payload, event.payload);
        store.record(result(&again, Verdict::Concluded, NOW)).await.unwrap();
    }
}

/// Headers, bodies that are no text, reasons, flaws.
pub async fn attempts_are_kept_whole_and_in_order(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let mut claim = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let outcomes = [
        Outcome::NoAnswer { reason: "timeout: 'no' answer in 15 s — ärgerlich".to_owned() },
        Outcome::Answered(Answer {
            status: 503,
            headers: [("set-cookie", "a=1"), ("set-cookie", "b=\"2\"\\ é"), ("x-empty", "")]
                .into_iter()
                .collect(),
            body: Bytes::from((0..=255u8).cycle().take(16 * 1024).collect::<Vec<u8>>()),
            flaw: Some("cut at 64 KiB".to_owned()),
        }),
        Outcome::Answered(Answer {
            status: 204,
            headers: Headers::default(),
            body: Bytes::new(),
            flaw: None,
        }),
    ];
    let mut expected: Vec<Attempt> = Vec::new();
    for (outcome, after) in outcomes.into_iter().zip(1..) {
        let at = NOW.plus(LEASE * after);
        let mut record = result(&claim, Verdict::RetryAt(at), at);
        let attempt = Attempt {
            url: format!("https://shop.example/{after}?q='%27"),
            duration: Duration::from_millis(u64::from(after) * 1_001),
            timing: Timing {
                queue: Some(Duration::from_micros(3)),
                dns: None,
                connect: Some(Duration::from_micros(u64::from(after))),
                tls: Some(Duration::ZERO),
                first_byte: Some(Duration::from_secs(1)),
            },
            probe: after == 2,
            headers: [("authorization", "***"), ("b", "ü")].into_iter().collect(),
            outcome,
            ..(*record.attempt).clone()
        };
        record.attempt = attempt.clone().into();
        expected.push(attempt);
        assert!(store.record(record).await.unwrap().applied);
        assert_eq!(store.attempts(company, claim.delivery).await.unwrap(), expected);
        claim = claim_one(store, &endpoint, at).await;
    }
    let numbers: Vec<u32> = expected.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

/// `last` is the last one, in every way of asking.
pub async fn history_shows_the_newest_attempt(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let first = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(history(store, &endpoint).await[0].last.is_none());
    let at = NOW.plus(SECOND);
    store.record(result(&first, Verdict::RetryAt(at), NOW)).await.unwrap();
    let second = claim_one(store, &endpoint, at).await;
    store.record(result(&second, failed("no"), at)).await.unwrap();
    let expected = Some(attempt(&second, at, 500));
    let list = DeliveryList {
        company,
        endpoint: endpoint.id,
        search: None,
        sort: DeliverySort::default(),
        order: fanfare::model::Order::default(),
        window: Window { skip: 0, limit: 10 },
    };
    let one = store.delivery(company, first.delivery).await.unwrap().unwrap();
    let page = store.deliveries(&list).await.unwrap();
    assert_eq!(one.last, expected);
    assert_eq!(history(store, &endpoint).await[0].last, expected);
    assert_eq!(page.items[0].last, expected);
    assert_eq!(page.items[0].delivery, one.delivery);
}

/// Newest first, below the one named.
pub async fn history_is_read_on_by_cursor(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    listener(store, company).await;
    let events = emit_some(store, company, 7).await;
    let mut expected: Vec<_> = events.iter().map(|event| event.id).collect();
    expected.reverse();
    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let some = store.deliveries_before(company, endpoint.id, before, 3).await.unwrap();
        let Some(last) = some.last() else { break };
        assert!(some.len() <= 3);
        before = Some(last.id());
        read.extend(some.iter().map(|history| history.event.id));
    }
    assert_eq!(read, expected);
}

/// Not found, the same as what does not exist.
pub async fn another_companys_ids_are_not_found(store: &dyn Store) {
    let (ours, theirs) = (company(), company());
    let endpoint = listener(store, theirs).await;
    listener(store, ours).await;
    let born = accept_all(store, &event(theirs, "a", NOW)).await.remove(0);
    store.record(result(&born, Verdict::RetryAt(NOW), NOW)).await.unwrap();
    let change = EndpointChange { max_retries: Some(0), ..Default::default() };
    let nobody = company();
    for other in [ours, nobody] {
        assert!(store.endpoint(other, endpoint.id).await.unwrap().is_none());
        let changed = store.change_endpoint(other, endpoint.id, &change, &act(NOW)).await.unwrap();
        assert!(changed.is_none());
        assert!(!store.delete_endpoint(other, endpoint.id, &act(NOW)).await.unwrap());
        assert!(store.delivery(other, born.delivery).await.unwrap().is_none());
        assert!(store.attempts(other, born.delivery).await.unwrap().is_empty());
        let list = DeliveryList {
            company: other,
            endpoint: endpoint.id,
            search: None,
            sort: DeliverySort::default(),
            order: fanfare::model::Order::default(),
            window: Window { skip: 0, limit: 10 },
        };
        let page = store.deliveries(&list).await.unwrap();
        assert_eq!((page.items.len(), page.total), (0, 0));
        let read = store.deliveries_before(other, endpoint.id, None, 10).await.unwrap();
        assert!(read.is_empty());
        let mut wanted = super::fixtures::wanted(&endpoint, 9);
        wanted.key.company = other;
        let claimed = store.claim(&[wanted], NOW.plus(LEASE), LEASE).await.unwrap();
        assert!(claimed[0].claims.is_empty() && claimed[0].next_due.is_none());
    }
    assert!(store.company(nobody).await.unwrap().is_none());
    assert_eq!(store.endpoint(theirs, endpoint.id).await.unwrap(), Some(endpoint.clone()));
    assert!(store.endpoint(theirs, EndpointId::new(NOW)).await.unwrap().is_none());
    assert!(store.delivery(theirs, DeliveryId::new(NOW)).await.unwrap().is_none());
    let kept = claim_one(store, &endpoint, NOW).await;
    assert_eq!(kept.delivery, born.delivery);
}
