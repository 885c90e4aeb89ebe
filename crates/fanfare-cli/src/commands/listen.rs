//! `fanfare listen`: a local receiver that verifies and prints.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use fanfare::clock::{Clock, SystemClock};
use fanfare::sign::Secret;
use hyper::StatusCode;

use crate::failure::{Failure, Result};
use crate::receiver::{Arrival, Receiver};
use crate::signals::Signals;
use crate::verify::{Finding, verify};
use crate::{out, runtime};

pub(super) fn command() -> Command {
    Command::new("listen")
        .about("Receives webhooks on this machine, verifies and prints them")
        .arg(
            Arg::new("port")
                .long("port")
                .default_value("4000")
                .value_parser(value_parser!(u16))
                .help("Where to listen on 127.0.0.1; 0 for any free port"),
        )
        .arg(
            Arg::new("secret")
                .long("secret")
                .value_name("whsec_…")
                .action(ArgAction::Append)
                .help("Signing secret of an endpoint; can be given several times"),
        )
        .arg(
            Arg::new("status")
                .long("status")
                .default_value("200")
                .value_parser(value_parser!(u16).range(200..=599))
                .help("What to answer: 500 shows how failures are retried"),
        )
        .arg(
            Arg::new("bodies")
                .long("bodies")
                .action(ArgAction::SetTrue)
                .help("Also print the bodies"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let secrets = matches.get_many::<String>("secret").into_iter().flatten();
    let secrets = secrets.filter(|text| !text.is_empty()).map(|text| text.parse::<Secret>());
    let secrets = secrets.collect::<std::result::Result<Vec<_>, _>>();
    let secrets = secrets.map_err(|reason| Failure::Usage(format!("--secret: {reason}")))?;
    let number = |name: &str| matches.get_one::<u16>(name).copied().unwrap_or_default();
    let status = StatusCode::from_u16(number("status"))
        .map_err(|error| Failure::Usage(format!("--status: {error}")))?;
    let with_bodies = matches.get_flag("bodies");
    runtime::on_one_thread(async move {
        let mut signals = Signals::catch()?;
        let receiver = Receiver::bind(number("port")).await?;
        out::say(&format!("Listening on http://{} and answering {status}", receiver.address));
        let look = move |arrival: Arrival| show(&arrival, &secrets, with_bodies);
        tokio::select! {
            () = receiver.run(status, look) => {}
            () = signals.next() => {}
        }
        Ok(())
    })
}

fn show(arrival: &Arrival, secrets: &[Secret], with_bodies: bool) {
    let event_type = arrival.event_type().map_or("-".to_owned(), |known| known.to_string());
    let id = arrival.header("webhook-id").unwrap_or("-");
    let finding = match verify(arrival, secrets, SystemClock.now()) {
        Finding::Verified => "verified".to_owned(),
        Finding::NotVerified(why) => format!("NOT VERIFIED: {why}"),
        Finding::NoSecret => "not verified: no --secret was given".to_owned(),
    };
    out::say(&format!("{event_type}  {id}  {finding}"));
    if with_bodies {
        out::say(&out::tame(&String::from_utf8_lossy(&arrival.body)));
    }
}
