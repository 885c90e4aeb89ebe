//! Lists, a page at a time.

use fanfare::model::{
    CompanyId, Delivery, DeliveryId, DeliveryList, DeliverySort, Disabled, Endpoint, EndpointId,
    EndpointList, EndpointSort, Order, Page, Verdict, Window,
};
use fanfare::store::Store;

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, claim, claim_one, company, emit_some,
    endpoint, event, failed, history, listener, record,
};

fn of_deliveries(endpoint: &Endpoint) -> DeliveryList {
    DeliveryList {
        company: endpoint.company,
        endpoint: endpoint.id,
        search: None,
        sort: DeliverySort::CreatedAt,
        order: Order::Descending,
        window: Window { skip: 0, limit: 100 },
    }
}

fn of_endpoints(company: CompanyId) -> EndpointList {
    EndpointList {
        company,
        search: None,
        sort: EndpointSort::CreatedAt,
        order: Order::Descending,
        window: Window { skip: 0, limit: 100 },
    }
}

/// Every page has the total of all pages; a page past the end is empty.
pub async fn deliveries_come_in_pages(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    listener(store, company).await;
    let mut expected: Vec<_> =
        emit_some(store, company, 11).await.iter().map(|event| event.id).collect();
    expected.reverse();
    for (skip, limit, range) in [(0, 4, 0..4), (4, 4, 4..8), (8, 4, 8..11), (11, 4, 11..11)] {
        let mut list = of_deliveries(&endpoint);
        list.window = Window { skip, limit };
        let page = store.deliveries(&list).await.unwrap();
        let ids: Vec<_> = page.items.iter().map(|history| history.event.id).collect();
        assert_eq!((ids.as_slice(), page.total), (&expected[range], 11));
        list.search = Some("order.cr".to_owned());
        let searched = store.deliveries(&list).await.unwrap();
        assert_eq!((searched.items.len(), searched.total), (ids.len(), 11));
    }
    let mut list = of_deliveries(&endpoint);
    list.window.skip = u64::MAX;
    let page = store.deliveries(&list).await.unwrap();
    assert_eq!((page.items.len(), page.total), (0, 11));
}

/// Ties go by id, in the same direction.
pub async fn deliveries_are_sorted_by_every_key_both_ways(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 12).await;
    for round in 1..4u32 {
        let now = NOW.plus(LEASE * round);
        for (n, claim) in claim(store, &endpoint, 12, now).await.claims.iter().enumerate() {
            let verdict = match (n + round as usize) % 4 {
                0 => Verdict::Concluded,
                1 => failed("no"),
                _ => Verdict::RetryAt(now),
            };
            let back = if n.is_multiple_of(3) { SECOND * 3 } else { SECOND };
            assert!(record(store, claim, verdict, now.minus(back)).await);
        }
    }
    let all: Vec<Delivery> =
        history(store, &endpoint).await.into_iter().map(|history| history.delivery).collect();
    let key = |sort: DeliverySort, delivery: &Delivery| match sort {
        DeliverySort::CreatedAt => 0,
        DeliverySort::UpdatedAt => delivery.updated_at.0,
        DeliverySort::State => delivery.state as i64,
        DeliverySort::Errors => i64::from(delivery.errors()),
    };
    let sorts = [
        DeliverySort::CreatedAt,
        DeliverySort::UpdatedAt,
        DeliverySort::State,
        DeliverySort::Errors,
    ];
    for sort in sorts {
        let mut expected = all.clone();
        expected.sort_by_key(|delivery| (key(sort, delivery), delivery.id));
        for order in [Order::Ascending, Order::Descending] {
            let list = DeliveryList { sort, order, ..of_deliveries(&endpoint) };
            let page = store.deliveries(&list).await.unwrap();
            let read: Vec<DeliveryId> = page.items.iter().map(|item| item.delivery.id).collect();
            let ids: Vec<DeliveryId> = expected.iter().map(|delivery| delivery.id).collect();
            assert_eq!(read, ids, "{sort:?} {order:?}");
            expected.reverse();
        }
    }
}

async fn found(store: &dyn Store, endpoint: &Endpoint, search: &str) -> (Vec<DeliveryId>, u64) {
    let search = Some(search.to_owned());
    let list = DeliveryList { search, order: Order::Ascending, ..of_deliveries(endpoint) };
    let page = store.deliveries(&list).await.unwrap();
    (page.items.iter().map(|item| item.delivery.id).collect(), page.total)
}

/// Part of the type or URL in any case of letters, or a whole id. No wildcards, no surprises.
pub async fn deliveries_are_searched_by_literal_text_and_exact_id(store: &dyn Store) {
    let company = company();
    let mut heard = endpoint(company, &["*"]);
    heard.url = "https://Shop.example/Hooks%25/O'Brien".parse().unwrap();
    store.add_endpoint(&heard, &act(NOW)).await.unwrap();
    for event_type in ["order.status_changed", "order.created", "Custom.Thing"] {
        accept_none(store, &event(company, event_type, NOW)).await;
    }
    let mut all: Vec<_> = history(store, &heard).await;
    all.reverse();
    let [status, created, custom] = [0, 1, 2].map(|n: usize| all[n].delivery.id);
    let cases: &[(&str, &[DeliveryId])] = &[
        ("order.", &[status, created]),
        ("ORDER.cre", &[created]),
        ("custom.t", &[custom]),
        ("_", &[status]),
        ("r_c", &[]),
        ("shop.EXAMPLE", &[status, created, custom]),
        ("hooks%25/o'", &[status, created, custom]),
        ("%", &[status, created, custom]),
        ("%%", &[]),
        ("'", &[status, created, custom]),
        ("''", &[]),
        ("\\", &[]),
        ("\0", &[]),
        ("*", &[]),
        ("'; drop table deliveries; --", &[]),
        ("nothing", &[]),
    ];
    for (search, expected) in cases {
        let expected = (expected.to_vec(), expected.len() as u64);
        assert_eq!(found(store, &heard, search).await, expected, "{search:?}");
    }
    for item in &all {
        let (delivery, event) = (item.delivery.id, item.event.id.to_string());
        assert_eq!(found(store, &heard, &delivery.to_string()).await, (vec![delivery], 1));
        assert_eq!(found(store, &heard, &event).await, (vec![delivery], 1));
        assert_eq!(found(store, &heard, &event[1..]).await, (vec![], 0));
    }
    let again = store.replay(company, status, &act(NOW)).await.unwrap().unwrap();
    let event = all[0].event.id.to_string();
    assert_eq!(found(store, &heard, &event).await, (vec![status, again.id], 2));
    let other = listener(store, company).await;
    assert_eq!(found(store, &other, &event).await, (vec![], 0));
    assert_eq!(found(store, &other, &status.to_string()).await, (vec![], 0));
}

async fn total(store: &dyn Store, endpoint: &Endpoint) -> u64 {
    store.deliveries(&of_deliveries(endpoint)).await.unwrap().total
}

/// Whatever a delivery goes through, it is one of the list.
pub async fn totals_are_right_after_every_step(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    assert_eq!(total(store, &endpoint).await, 0);
    let claim = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert_eq!(total(store, &endpoint).await, 1);
    assert!(record(store, &claim, Verdict::RetryAt(NOW), NOW).await);
    assert_eq!(total(store, &endpoint).await, 1);
    let claim = claim_one(store, &endpoint, NOW).await;
    assert!(record(store, &claim, Verdict::Concluded, NOW).await);
    assert_eq!(total(store, &endpoint).await, 1);
    store.replay(company, claim.delivery, &act(NOW)).await.unwrap().unwrap();
    assert_eq!(total(store, &endpoint).await, 2);
    store.delete_endpoint(company, endpoint.id, &act(NOW)).await.unwrap();
    assert_eq!(store.bury(NOW, 10).await.unwrap(), 1);
    assert_eq!(total(store, &endpoint).await, 2);
    let after = history(store, &endpoint).await[0].delivery.id.made_at().plus(SECOND);
    while store.expire(after, None, 10).await.unwrap().rows > 0 {}
    assert_eq!(total(store, &endpoint).await, 0);
}

/// Every page has the total of all pages.
pub async fn endpoints_come_in_pages(store: &dyn Store) {
    let company = company();
    listener(store, super::fixtures::company()).await;
    let mut expected: Vec<EndpointId> = Vec::new();
    for _ in 0..5 {
        expected.insert(0, listener(store, company).await.id);
    }
    let deleted = listener(store, company).await;
    store.delete_endpoint(company, deleted.id, &act(NOW)).await.unwrap();
    for (skip, range) in [(0, 0..2), (2, 2..4), (4, 4..5), (6, 5..5), (u64::MAX, 5..5)] {
        let list = EndpointList { window: Window { skip, limit: 2 }, ..of_endpoints(company) };
        let page = store.endpoints(&list).await.unwrap();
        assert_eq!((ids(&page), page.total), (expected[range].to_vec(), 5));
    }
}

fn ids(page: &Page<Endpoint>) -> Vec<EndpointId> {
    page.items.iter().map(|endpoint| endpoint.id).collect()
}

/// Ties go by id, in the same direction; URLs as text, byte by byte.
pub async fn endpoints_are_sorted_by_every_key_both_ways(store: &dyn Store) {
    let company = company();
    let paths = ["b", "a", "B", "a/b", "a-b", "_", "b"];
    let mut all = Vec::new();
    for (n, path) in (0..).zip(paths) {
        let mut made = endpoint(company, &["*"]);
        made.url = format!("https://shop.example/{path}").parse().unwrap();
        made.max_retries = n % 3;
        made.created_at = NOW.plus(SECOND * (n % 2));
        made.updated_at = NOW.plus(SECOND * (10 - n / 2));
        made.disabled = (n % 2 == 0).then(|| Disabled { at: NOW, reason: "off".to_owned() });
        store.add_endpoint(&made, &act(NOW)).await.unwrap();
        all.push(made);
    }
    let key = |sort: EndpointSort, endpoint: &Endpoint| match sort {
        EndpointSort::CreatedAt => (endpoint.created_at.0, String::new()),
        EndpointSort::UpdatedAt => (endpoint.updated_at.0, String::new()),
        EndpointSort::Url => (0, endpoint.url.to_string()),
        EndpointSort::MaxRetries => (i64::from(endpoint.max_retries), String::new()),
        EndpointSort::Disabled => (i64::from(endpoint.disabled.is_some()), String::new()),
    };
    let sorts = [
        EndpointSort::CreatedAt,
        EndpointSort::UpdatedAt,
        EndpointSort::Url,
        EndpointSort::MaxRetries,
        EndpointSort::Disabled,
    ];
    for sort in sorts {
        let mut expected = all.clone();
        expected.sort_by_key(|endpoint| (key(sort, endpoint), endpoint.id));
        for order in [Order::Ascending, Order::Descending] {
            let list = EndpointList { sort, order, ..of_endpoints(company) };
            let read = ids(&store.endpoints(&list).await.unwrap());
            let ids: Vec<EndpointId> = expected.iter().map(|endpoint| endpoint.id).collect();
            assert_eq!(read, ids, "{sort:?} {order:?}");
            expected.reverse();
        }
    }
}

/// Part of the URL in any case of letters, and nothing but text.
pub async fn endpoints_are_searched_by_literal_text(store: &dyn Store) {
    let company = company();
    let mut made = Vec::new();
    for path in ["Plain", "per%25cent", "under_score", "o'brien", "caf%C3%A9"] {
        let mut endpoint = endpoint(company, &["*"]);
        endpoint.url = format!("https://shop.example/{path}").parse().unwrap();
        store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
        made.push(endpoint.id);
    }
    let cases: &[(&str, &[usize])] = &[
        ("pLAIN", &[0]),
        ("SHOP.example/", &[0, 1, 2, 3, 4]),
        ("per%25", &[1]),
        ("per%cent", &[]),
        ("_", &[2]),
        ("under.score", &[]),
        ("o'b", &[3]),
        ("%c3", &[4]),
        ("é", &[]),
        ("\\", &[]),
        ("\0", &[]),
        ("' or '1'='1", &[]),
    ];
    for (search, expected) in cases {
        let search_for = Some((*search).to_owned());
        let list =
            EndpointList { search: search_for, order: Order::Ascending, ..of_endpoints(company) };
        let page = store.endpoints(&list).await.unwrap();
        let expected: Vec<EndpointId> = expected.iter().map(|n| made[*n]).collect();
        assert_eq!((ids(&page), page.total), (expected.clone(), expected.len() as u64), "{search}");
    }
}
