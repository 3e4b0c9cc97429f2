//! `cache`: what bakes remember.

use std::time::Duration;

use bakery_events::{Event, Reporter as _, exit};
use bakery_store::mirror::{self, Copied};
use bakery_store::{Key, Store};
use serde_json::json;

use super::{Outcome, bake};
use crate::cli::CacheVerb;
use crate::terminal::{self, Terminal};

pub(crate) fn cache(verb: &CacheVerb, terminal: &Terminal) -> Outcome {
    if !matches!(verb, CacheVerb::Ls) {
        super::as_root()?;
    }
    match verb {
        CacheVerb::Ls => list(terminal),
        CacheVerb::Why(args) => bake::why(args, terminal),
        CacheVerb::Prune { older, all } => {
            let age = if *all { Duration::ZERO } else { Duration::from_hours(24 * older) };
            let pruned = Store::open()?.prune(age)?;
            let data = json!({ "layers": pruned.layers, "bytes": pruned.bytes, "records": pruned.records, "disks": pruned.disks, "downloads": pruned.downloads });
            say(terminal, "cache prune", data, || {
                format!(
                    "removed {} layers ({}), {} records, {} disks and {} downloads",
                    pruned.layers,
                    size(pruned.bytes),
                    pruned.records,
                    pruned.disks,
                    pruned.downloads
                )
            })
        }
        CacheVerb::Verify => verify(terminal),
        CacheVerb::Push { mirror } => {
            copied(terminal, "push", Store::open()?.push(mirror::at(mirror)?.as_ref())?, mirror)
        }
        CacheVerb::Pull { mirror } => {
            copied(terminal, "pull", Store::open()?.pull(mirror::at(mirror)?.as_ref())?, mirror)
        }
    }
}

/// Says what went to a mirror, or came from it.
fn copied(terminal: &Terminal, verb: &str, copied: Copied, mirror: &str) -> Outcome {
    let Copied { layers, records } = copied;
    let way = if verb == "push" { "to" } else { "from" };
    let data = json!({ "layers": layers, "records": records });
    say(terminal, &format!("cache {verb}"), data, || {
        format!("copied {layers} layers and {records} records {way} {mirror}")
    })
}

fn say(terminal: &Terminal, verb: &str, data: serde_json::Value, text: impl Fn() -> String) -> Outcome {
    if terminal.is_json() {
        terminal.event(&Event::Result { verb: verb.into(), data });
    } else {
        terminal::say(&text());
    }
    Ok(exit::OK)
}

fn size(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn list(terminal: &Terminal) -> Outcome {
    let store = Store::open()?;
    let mut layers = store.layers()?;
    layers.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
    let images = store.layers_of_images()?;
    let users = |id: &Key| images.get(id).copied().unwrap_or(0);
    let data = layers.iter().map(|l| {
        json!({ "id": l.id, "parent": l.parent, "made_by": l.made_by, "created": l.created, "bytes": l.bytes, "paths": l.paths, "images": users(&l.id) })
    });
    let data: Vec<_> = data.collect();
    if terminal.is_json() {
        terminal.event(&Event::Result { verb: "cache ls".into(), data: data.into() });
        return Ok(exit::OK);
    }
    let short = |id: &str| id[..12].to_owned();
    let mut rows =
        vec![["ID", "OVER", "CREATED", "SIZE", "PATHS", "IMAGES", "MADE BY"].map(str::to_owned).to_vec()];
    rows.extend(layers.iter().map(|l| {
        vec![
            short(l.id.as_str()),
            l.parent.as_ref().map_or_else(|| "-".into(), |p| short(p.as_str())),
            l.created.clone(),
            size(l.bytes),
            l.paths.to_string(),
            users(&l.id).to_string(),
            l.made_by.clone(),
        ]
    }));
    terminal::table(&rows);
    let total = layers.iter().map(|l| l.bytes).sum();
    terminal::say(&format!("\n{} layers, {}", layers.len(), size(total)));
    Ok(exit::OK)
}

fn verify(terminal: &Terminal) -> Outcome {
    let store = Store::open()?;
    let mut damaged = Vec::new();
    let layers = store.layers()?;
    for layer in &layers {
        if !store.verify_layer(layer)? {
            damaged.push(layer.id.as_str().to_owned());
        }
    }
    for id in &damaged {
        terminal.warn(&format!("the layer {id} was damaged and is dropped; the next bake makes it anew"));
    }
    let data = json!({ "layers": layers.len(), "damaged": damaged });
    say(terminal, "cache verify", data, || format!("{} layers read, {} damaged", layers.len(), damaged.len()))
}
