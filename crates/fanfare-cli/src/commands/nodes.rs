//! `fanfare nodes`: who shares the store, and who has what of it.

use clap::{ArgMatches, Command};
use fanfare::store::{self, Node};

use crate::failure::Result;
use crate::settings::{Settings, flags};
use crate::{out, runtime};

/// The settings that say where the store is.
const SETTINGS: [&str; 2] = ["data_dir", "database_url"];

pub(super) fn command() -> Command {
    Command::new("nodes")
        .about("Shows the nodes that share a PostgreSQL store, and who has which shards of it")
        .after_help(
            "A shard is a group of endpoints, by their ids: 64 in all. One node at a time sends to \
             the endpoints of a shard; every node takes events for all of them.",
        )
        .args(flags(|setting| SETTINGS.contains(&setting)))
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let settings = Settings::load(matches)?;
    if settings.database_url.path().is_some() {
        return out::answer("the embedded store is one process's alone: there are no nodes");
    }
    let nodes = runtime::on_one_thread(async {
        let store = store::open_read_only(settings.database_url.reveal()).await?;
        Ok(store.nodes().await?)
    })?;
    out::answer(&out::tame(&table(&nodes)))
}

fn table(nodes: &[Node]) -> String {
    let mut lines = vec![line(["NODE", "VERSION", "SINCE", "LEASE", "SHARDS", "WHICH"])];
    for node in nodes {
        let lease = match node.lease_left.as_secs() {
            0 if node.lease_left.is_zero() => "run out".to_owned(),
            secs => format!("{secs} s"),
        };
        let name = if node.card.leaving {
            format!("{} (leaving)", node.card.name)
        } else {
            node.card.name.clone()
        };
        let (since, count) = (node.joined_at.to_string(), node.shards.len().to_string());
        let which = ranges(node);
        lines.push(line([&name, &node.card.version, &since, &lease, &count, &which]));
    }
    let free = 64 - nodes.iter().map(|node| node.shards.len()).sum::<u32>().min(64);
    if free > 0 {
        lines.push(format!("{free} shards are nobody's"));
    }
    lines.join("\n")
}

fn line(cells: [&str; 6]) -> String {
    let [name, version, since, lease, count, which] = cells;
    format!("{name:<28} {version:<8} {since:<24} {lease:<8} {count:<6} {which}")
        .trim_end()
        .to_owned()
}

/// `0-20,33`.
fn ranges(node: &Node) -> String {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for shard in node.shards.iter() {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == shard => *last = shard,
            _ => ranges.push((shard, shard)),
        }
    }
    let text = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    text.collect::<Vec<_>>().join(",")
}
