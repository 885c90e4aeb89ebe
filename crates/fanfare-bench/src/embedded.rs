//! Emit from the library, in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use fanfare::engine::NewEvent;
use fanfare::{CompanyId, Engine, Fanfare, Options};

use crate::receiver::Receiver;
use crate::report::Report;
use crate::server::COMPANY;
use crate::{CONNECTIONS, ceiling, payload, runtime};

/// Emits `events` to one endpoint and reports the rate of deliveries.
pub(crate) fn emit(report: &mut Report, events: u64, target: f64) {
    let before = ceiling::measure();
    let receiver = Receiver::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fanfare.db");
    let runtime = runtime();
    let company: CompanyId = COMPANY.parse().unwrap();
    let fanfare = runtime.block_on(async {
        let mut options = Options::new(&format!("sqlite:{}", path.display()), [7; 32]);
        options.guard.allow_http = true;
        let port = receiver.address.port();
        options.guard.allow_networks = vec![format!("127.0.0.0/8:{port}").parse().unwrap()];
        let fanfare = Fanfare::open_with(options).await.unwrap();
        let url = format!("http://{}/hooks", receiver.address);
        fanfare.company(company).register(&url, &["*"]).await.unwrap();
        fanfare
    });
    let warm = 2_000;
    emit_all(&runtime, fanfare.engine(), warm);
    receiver.wait_for(warm);

    let start = Instant::now();
    emit_all(&runtime, fanfare.engine(), events);
    receiver.wait_for(warm + events);
    let rate = events as f64 / start.elapsed().as_secs_f64();
    runtime.block_on(fanfare.close());
    let beside = f64::midpoint(before, ceiling::measure());
    report.share("emit from the library to 1 endpoint", rate, ("the ceiling", beside), target);
}

fn emit_all(runtime: &tokio::runtime::Runtime, engine: &Engine, events: u64) {
    let left = Arc::new(AtomicI64::new(i64::try_from(events).unwrap()));
    let company: CompanyId = COMPANY.parse().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (engine, left) = (engine.clone(), Arc::clone(&left));
                let (payload, event_type) =
                    (Bytes::from(payload()), "ORDER_CREATED".parse().unwrap());
                let new = NewEvent::new(event_type, payload);
                tokio::spawn(async move {
                    while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                        engine.emit(company, new.clone()).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}
